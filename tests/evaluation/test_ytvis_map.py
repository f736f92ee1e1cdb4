"""The YouTube-VIS score: equal to the official evaluator, streamed, and clear about bad input."""

import copy
import json
import pickle

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from golden import golden_folder
from ifc_hf.data.records import TrackRecord
from ifc_hf.evaluation import EvaluationSettings, YtvisAccumulator, evaluate_ytvis
from ifc_hf.evaluation.track_iou import track_ious
from ifc_hf.model.rle import measure_rles

CASES = golden_folder() / "ytvis_eval"
OVERRIDES = {
    "iouThrs": "iou_thresholds",
    "recThrs": "recall_thresholds",
    "maxDets": "max_detections",
    "areaRng": "area_ranges",
    "useCats": "use_categories",
    "vidIds": "video_ids",
    "catIds": "category_ids",
}
# What the official evaluator refuses, or accepts without a word although it is wrong.
ERRORS = {
    "error_gt_polygon_4_numbers": r"gt\.json: video 1, annotation 1, frame 0: a polygon needs at least 3 points",
    "error_missing_score": r"preds\.json: prediction 1 \(video 1\): score: expected a finite number, got None",
    "error_preds_not_a_list": r"preds\.json: expected a list of predictions, got a dict",
    "error_unknown_video": r"preds\.json: prediction 1: video 12345 is not in .*gt\.json",
}
TOLERATED = {
    "categories_coverage": r"gt\.json: video 1, annotation 8: category_id is 99, the categories have ids .*left out",
    "corner_length_mismatch": r"preds\.json: prediction 0 \(video 1\): 6 segmentations for 12 frames",
    "corner_size_mismatch": r"preds\.json: prediction 0 .*frame 0: RLE is 60x40 .* the frame is 40x56",
}


def case_names():
    return sorted(path.parent.name for path in CASES.glob("*/expected.json"))


def read_case(name):
    expected = json.loads((CASES / name / "expected.json").read_text())
    overrides = expected["params_overrides"]
    parameters = {OVERRIDES[key]: value for key, value in overrides.items() if key in OVERRIDES}
    alternative = expected["status"] != "ok"
    arrays = CASES / name / ("expected_alt.npz" if alternative else "expected.npz")
    return (expected.get("alt") if alternative else expected), arrays, parameters


@pytest.mark.filterwarnings("ignore:scored as the official evaluator")
@pytest.mark.parametrize("name", [name for name in case_names() if name not in {*ERRORS, "error_bbox_iou_type"}])
def test_equal_to_the_official_evaluator(name):
    expected, arrays, parameters = read_case(name)
    result = evaluate_ytvis(CASES / name / "gt.json", CASES / name / "preds.json", **parameters)
    np.testing.assert_allclose(result["stats"], expected["stats"], rtol=0, atol=1e-9)
    with np.load(arrays) as recorded:
        np.testing.assert_array_equal(result["precision"], recorded["precision"])
        np.testing.assert_array_equal(result["recall"], recorded["recall"])
        assert result["category_ids"] == recorded["cat_ids"].tolist()
    assert list(result)[:12] == expected["stats_labels"]
    assert [result[key] for key in expected["stats_labels"]] == result["stats"]
    for ours, theirs in zip(result["per_category"], expected["per_category"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in ERRORS if name in case_names()])
def test_what_the_official_evaluator_refuses_is_an_error(name):
    with pytest.raises(ValueError, match=ERRORS[name]):
        evaluate_ytvis(CASES / name / "gt.json", CASES / name / "preds.json")


def test_boxes_cannot_be_scored():
    with pytest.raises(TypeError, match="iou_type"):
        evaluate_ytvis(CASES / "error_bbox_iou_type" / "gt.json", [], iou_type="bbox")


@pytest.mark.parametrize("name", TOLERATED)
def test_what_the_official_evaluator_tolerates_is_told_or_refused(name):
    files = CASES / name / "gt.json", CASES / name / "preds.json"
    with pytest.warns(UserWarning, match=TOLERATED[name]):
        evaluate_ytvis(*files)
    with pytest.raises(ValueError, match=TOLERATED[name]):
        evaluate_ytvis(*files, strict=True)


# A small case of our own: 2 videos, 2 categories.


def square(top, left, edge, size=(20, 30)):
    mask = np.zeros(size, np.uint8, order="F")
    mask[top : top + edge, left : left + edge] = 1
    rle = coco_mask.encode(mask)
    return {"size": list(size), "counts": rle["counts"].decode()}


@pytest.fixture
def truth():
    def annotation(number, video_id, category_id, masks):
        return {"id": number, "video_id": video_id, "category_id": category_id, "iscrowd": 0, "segmentations": masks}

    return {
        "videos": [{"id": i, "height": 20, "width": 30, "length": 3} for i in (1, 2)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            annotation(1, 1, 1, [square(0, 0, 10), square(1, 1, 10), None]),
            annotation(2, 1, 2, [None, square(5, 15, 8), square(5, 16, 8)]),
            annotation(3, 2, 1, [square(2, 2, 6)] * 3),
        ],
    }


@pytest.fixture
def results():
    def prediction(video_id, category_id, score, masks):
        return {"video_id": video_id, "category_id": category_id, "score": score, "segmentations": masks}

    return [
        prediction(1, 1, 0.9, [square(0, 0, 10), square(1, 1, 10), None]),
        prediction(1, 2, 0.8, [None, square(5, 15, 8), None]),
        prediction(2, 1, 0.7, [square(12, 12, 6)] * 3),
    ]


def test_literal_numbers(truth, results):
    result = evaluate_ytvis(truth, results)
    # Cat: one of two found. Dog: IoU 0.5, right at the first of ten thresholds only.
    assert result["per_category"][0]["AP"] == pytest.approx(51 / 101)
    assert result["per_category"][1]["AP"] == pytest.approx(0.1)
    assert result["AP50"] == pytest.approx((51 / 101 + 1) / 2)
    assert result["AR100"] == pytest.approx((0.5 + 0.1) / 2)
    assert result["APl"] == -1


def test_input_stays_as_it_is_and_paths_equal_parsed_json(truth, results, tmp_path):
    before = copy.deepcopy((truth, results))
    parsed = evaluate_ytvis(truth, results)
    assert (truth, results) == before
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "preds.json").write_text(json.dumps(results))
    from_files = evaluate_ytvis(tmp_path / "gt.json", str(tmp_path / "preds.json"))
    assert from_files["stats"] == parsed["stats"]


def test_area_ranges_by_name_or_in_order(truth, results):
    ranges = {"large": (81, 1e10), "all": (0, 1e10), "small": (0, 40), "medium": (40, 81)}
    by_name = evaluate_ytvis(truth, results, area_ranges=ranges)
    in_order = evaluate_ytvis(
        truth, results, area_ranges=[ranges[name] for name in ("all", "small", "medium", "large")]
    )
    assert by_name["stats"] == in_order["stats"]
    assert by_name["APl"] > 0  # the cat of 100 pixels


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_streamed_videos_and_merged_processes_equal_the_whole(truth, results, order):
    whole = evaluate_ytvis(truth, results)
    parts = []
    for video_id in order:
        part = YtvisAccumulator(truth["categories"])
        part.update(
            video_id,
            [entry for entry in truth["annotations"] if entry["video_id"] == video_id],
            [entry for entry in results if entry["video_id"] == video_id],
        )
        parts.append(pickle.loads(pickle.dumps(part)))
    first, second = parts
    first.merge(second)
    first.merge(second)  # a video that was sampled twice counts once
    assert first.video_ids == [1, 2]
    merged = first.compute()
    assert merged["stats"] == whole["stats"]
    np.testing.assert_array_equal(merged["precision"], whole["precision"])


def test_what_is_kept_does_not_grow_with_the_video(truth, results):
    def kept_bytes(repeats):
        accumulator = YtvisAccumulator({1: "cat"})
        masks = results[0]["segmentations"] * repeats
        accumulator.update(
            1, [{**truth["annotations"][0], "segmentations": masks}], [{**results[0], "segmentations": masks}]
        )
        return len(pickle.dumps(accumulator))

    assert kept_bytes(50) == kept_bytes(1)


def test_refuses_the_same_video_twice_and_other_categories(truth, results):
    accumulator = YtvisAccumulator({1: "cat"})
    accumulator.update(1, truth["annotations"][:1], results[:1])
    with pytest.raises(ValueError, match="video 1 was added before"):
        accumulator.update(1, truth["annotations"][:1], results[:1])
    with pytest.raises(ValueError, match="cannot merge"):
        accumulator.merge(YtvisAccumulator({2: "dog"}))


def test_polygons_in_an_update_need_the_size(truth, results):
    accumulator = YtvisAccumulator({1: "cat"})
    annotation = {"id": 1, "category_id": 1, "segmentations": [[[0, 0, 10, 0, 10, 10, 0, 10]], None, None]}
    with pytest.raises(ValueError, match="video 1, annotation 1, frame 0: polygons need the height and width"):
        accumulator.update(1, [annotation], [])
    accumulator.update(1, [annotation], results[:1], height=20, width=30, length=3)
    assert accumulator.compute()["per_category"][0]["num_dt"] == 1


def test_track_ious_equal_dense_masks():
    random = np.random.default_rng(0)

    def tracks(count):
        masks = random.random((count, 6, 12, 14)) < 0.4
        masks[random.random((count, 6)) < 0.3] = False
        drawn = []
        for number, frames in enumerate(masks):
            rles = [coco_mask.encode(np.asfortranarray(frame, np.uint8)) if frame.any() else None for frame in frames]
            drawn.append(TrackRecord(number + 1, 1, rles, frames.sum(axis=(1, 2))))
        return drawn, masks.reshape(count, -1)

    (predicted, first), (annotated, second) = tracks(5), tracks(4)
    shared = (first[:, None] & second[None]).sum(-1)
    expected = shared / (first[:, None] | second[None]).sum(-1)
    np.testing.assert_array_equal(track_ious(predicted, annotated), expected)


def test_measuring_decodes_what_pycocotools_encodes():
    random = np.random.default_rng(0)
    masks = [
        random.random((h, w)) < p
        for h, w, p in ((1, 1, 0), (1, 1, 1), (7, 9, 0.5), (300, 400, 0.01), (200, 300, 0.98))
    ]
    rles = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    assert measure_rles(rles).areas.tolist() == [mask.sum() for mask in masks]
    assert measure_rles([]).areas.tolist() == []


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ("", r"sum to 0, expected 2\*2"),
        ("04\x7f", "a wrong character"),
        ("P", "it is cut off"),
        ("05", "sum to 5"),
        ("23O", "negative run length"),
        ("é", "not a valid"),
    ],
)
def test_measuring_refuses_what_would_crash_pycocotools(counts, reason):
    good = {"size": [2, 2], "counts": "13"}
    with pytest.raises(ValueError, match=reason):
        measure_rles([good, {"size": [2, 2], "counts": counts}, good])


# Bad input.


BAD_TRUTH = {
    "duplicate annotation id": (
        lambda t: t["annotations"][1].update(id=1),
        "ground truth, video 1, annotation 1: annotation id is there twice",
    ),
    "duplicate video id": (lambda t: t["videos"][1].update(id=1), "ground truth, video 1: video id 1 is there twice"),
    "duplicate category id": (lambda t: t["categories"][1].update(id=1), "ground truth: category id 1 is there twice"),
    "video of length 0": (
        lambda t: t["videos"][1].update(length=0),
        "ground truth, video 2: video of length 0: it has no frames",
    ),
    "video without length": (
        lambda t: t["videos"][1].pop("length"),
        "ground truth, video 2: file_names: .* got nothing",
    ),
    "video without height": (
        lambda t: t["videos"][0].update(height=None),
        "video 1: height: expected an integer of 1 or more, in pixels, got None",
    ),
    "unknown video": (
        lambda t: t["annotations"][2].update(video_id=9),
        "ground truth, annotation 3: there is no video with id 9",
    ),
    "missing key": (
        lambda t: t.pop("videos"),
        "ground truth: expected a YouTube-VIS file with lists 'videos', 'categories' and 'annotations', found",
    ),
    "None for an annotation": (
        lambda t: t["annotations"].insert(0, None),
        r"ground truth: annotations\[0\]: expected a dict, got NoneType",
    ),
    "None for segmentations": (
        lambda t: t["annotations"][1].update(segmentations=None),
        "video 1, annotation 2: segmentations: expected a list, got NoneType",
    ),
    "None for a category": (
        lambda t: t["annotations"][1].update(category_id=None),
        "annotation 2: category_id.*got None",
    ),
    "None for areas": (lambda t: t["annotations"][1].update(areas=None), "annotation 2: areas: expected a list of 3"),
    "NaN area": (lambda t: t["annotations"][1].update(areas=[1, float("nan"), 2]), "annotation 2, frame 1: area.*nan"),
    "wrong number of segmentations": (
        lambda t: t["annotations"][2]["segmentations"].pop(),
        "video 2, annotation 3: 2 segmentations for 3 frames",
    ),
    "RLE of another size": (
        lambda t: t["annotations"][2].update(segmentations=[None, None, square(0, 0, 3, (10, 12))]),
        r"video 2, annotation 3, frame 2: RLE is 10x12 \(height x width\), the frame is 20x30",
    ),
    "RLE that ends early": (
        lambda t: t["annotations"][2].update(segmentations=[None, {"size": [20, 30], "counts": "12"}, None]),
        r"video 2, annotation 3, frame 1: RLE counts sum to 3, expected 20\*30 = 600 pixels",
    ),
    "plain RLE with a wrong sum": (
        lambda t: t["annotations"][2].update(segmentations=[{"size": [20, 30], "counts": [1, 2]}, None, None]),
        "video 2, annotation 3, frame 0: RLE counts sum to 3",
    ),
    "RLE without counts": (
        lambda t: t["annotations"][2].update(segmentations=[{"size": [20, 30]}, None, None]),
        "annotation 3, frame 0: an RLE needs the keys 'size' and 'counts'",
    ),
    "RLE size that is no size": (
        lambda t: t["annotations"][2].update(segmentations=[{"size": [20, None], "counts": "1"}, None, None]),
        "annotation 3, frame 0: RLE size: expected",
    ),
    "counts of None": (
        lambda t: t["annotations"][2].update(segmentations=[{"size": [20, 30], "counts": None}, None, None]),
        "annotation 3, frame 0: RLE counts: expected a string or a list",
    ),
    "strange iscrowd": (
        lambda t: t["annotations"][0].update(iscrowd=2),
        "annotation 1: iscrowd: expected 0 or 1, got 2",
    ),
}

BAD_RESULTS = {
    "NaN score": (lambda r: r[1].update(score=float("nan")), r"prediction 1 \(video 1\): score.*got nan"),
    "None score": (lambda r: r[1].update(score=None), r"prediction 1 \(video 1\): score.*got None"),
    "None for a prediction": (lambda r: r.insert(1, None), "prediction 1: expected a dict, got NoneType"),
    "unknown video": (lambda r: r[2].update(video_id=7), "prediction 2: video 7 is not in ground truth"),
    "video id as text": (lambda r: r[2].update(video_id="2"), "prediction 2: video_id: expected an integer, got '2'"),
    "no category": (lambda r: r[2].pop("category_id"), r"prediction 2 \(video 2\): category_id.*got nothing"),
    "None for segmentations": (
        lambda r: r[2].update(segmentations=None),
        "prediction 2.*segmentations: expected a list",
    ),
    "broken RLE": (
        lambda r: r[2].update(segmentations=[None, None, {"size": [20, 30], "counts": "??"}]),
        r"prediction 2 \(video 2\), frame 2: RLE counts",
    ),
}


@pytest.mark.parametrize("mistake", BAD_TRUTH)
def test_bad_ground_truth_is_one_clear_error(truth, results, mistake):
    spoil, message = BAD_TRUTH[mistake]
    spoil(truth)
    with pytest.raises(ValueError, match=message):
        evaluate_ytvis(truth, results)


@pytest.mark.parametrize("mistake", BAD_RESULTS)
def test_bad_predictions_are_one_clear_error(truth, results, mistake):
    spoil, message = BAD_RESULTS[mistake]
    spoil(results)
    with pytest.raises(ValueError, match=message):
        evaluate_ytvis(truth, results)


def test_missing_and_broken_files_are_named(truth, tmp_path):
    (tmp_path / "broken.json").write_text('{"videos": [')
    with pytest.raises(ValueError, match=r"nowhere\.json: no such file \(ground truth\)"):
        evaluate_ytvis(tmp_path / "nowhere.json", [])
    with pytest.raises(ValueError, match=r"broken\.json: not valid JSON: .*column 13 \(ground truth\)"):
        evaluate_ytvis(tmp_path / "broken.json", [])
    with pytest.raises(ValueError, match=r"broken\.json: not valid JSON: .* \(predictions\)"):
        evaluate_ytvis(truth, tmp_path / "broken.json")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"iou_thresholds": [0.5, 1.5]}, "iou_thresholds"),
        ({"recall_thresholds": [0.5, 0.2]}, "recall_thresholds"),
        ({"max_detections": (1, 100)}, "max_detections: expected three"),
        ({"area_ranges": [(0, 1)]}, "area_ranges"),
        ({"area_ranges": {"all": (0, 1)}}, "area_ranges: expected the keys"),
    ],
)
def test_bad_settings(parameters, message):
    with pytest.raises(ValueError, match=message):
        EvaluationSettings.create(**parameters)


def test_unknown_selections_are_refused(truth, results):
    with pytest.raises(ValueError, match=r"video_ids: \[5\] are not among \[1, 2\]"):
        evaluate_ytvis(truth, results, video_ids=[1, 5])
    with pytest.raises(ValueError, match=r"category_ids: \[3\]"):
        evaluate_ytvis(truth, results, category_ids=[3])

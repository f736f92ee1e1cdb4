"""COCO mask AP, HOTA, the `evaluate` metric, and the benchmark of the score."""

import contextlib
import copy
import importlib.util
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from golden import golden_folder
from ifc_hf.evaluation import evaluate_coco, evaluate_hota, evaluate_ytvis
from paths import ROOT

CASES = golden_folder() / "ytvis_eval"
needs_trackeval = pytest.mark.skipif(
    importlib.util.find_spec("trackeval") is None, reason="TrackEval (the extra `hota`) is not installed"
)
needs_evaluate = pytest.mark.skipif(
    importlib.util.find_spec("evaluate") is None, reason="the library evaluate (the extra `eval`) is not installed"
)


def square(top, left, edge, size=(40, 50)):
    mask = np.zeros(size, np.uint8, order="F")
    mask[top : top + edge, left : left + edge] = 1
    return {"size": list(size), "counts": coco_mask.encode(mask)["counts"].decode()}


# COCO.


@pytest.fixture
def images():
    def annotation(number, image_id, category_id, rle, iscrowd=0):
        area = int(coco_mask.area(rle))
        box = coco_mask.toBbox(rle).tolist()
        return {
            "id": number,
            "image_id": image_id,
            "category_id": category_id,
            "iscrowd": iscrowd,
            "segmentation": rle,
            "area": area,
            "bbox": box,
        }

    truth = {
        "images": [{"id": i, "height": 40, "width": 50, "file_name": f"{i}.jpg"} for i in (1, 2)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            annotation(1, 1, 1, square(0, 0, 20)),
            annotation(2, 1, 3, square(10, 20, 15)),
            annotation(3, 2, 1, square(5, 5, 35)),
            annotation(4, 2, 3, square(0, 30, 12), iscrowd=1),
        ],
    }
    predictions = [
        {"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": square(1, 0, 20)},
        {"image_id": 1, "category_id": 3, "score": 0.8, "segmentation": square(12, 22, 15)},
        {"image_id": 2, "category_id": 1, "score": 0.7, "segmentation": square(5, 5, 34)},
        {"image_id": 2, "category_id": 3, "score": 0.6, "segmentation": square(0, 30, 12)},
    ]
    return truth, predictions


def test_coco_equals_pycocotools_on_files(images, tmp_path):
    truth, predictions = images
    before = copy.deepcopy(images)
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "preds.json").write_text(json.dumps(predictions))
    ours = evaluate_coco(tmp_path / "gt.json", tmp_path / "preds.json")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "gt.json"))
        evaluator = COCOeval(coco, coco.loadRes(str(tmp_path / "preds.json")), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    assert ours["stats"] == evaluator.stats.tolist()
    assert ours["AP50"] == evaluator.stats[1] > 0
    assert evaluate_coco(truth, predictions)["stats"] == ours["stats"]
    assert (truth, predictions) == before


def test_coco_without_predictions_is_zero(images, capsys):
    assert evaluate_coco(images[0], [])["AP"] == 0
    assert capsys.readouterr().out == ""


def test_coco_takes_polygons_and_plain_rle(images):
    truth, _ = images
    polygon = [[0, 0, 20, 0, 20, 20, 0, 20]]
    plain = {"size": [40, 50], "counts": [0, 20] + [20, 20] * 19 + [1220]}
    scores = [
        evaluate_coco(truth, [{"image_id": 1, "category_id": 1, "score": 1, "segmentation": segmentation}])["AP"]
        for segmentation in (polygon, plain, square(0, 0, 20))
    ]
    assert scores[0] == scores[1] == scores[2] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 9}, "prediction 0: image 9 is not in ground truth"),
        ({"score": float("nan")}, "prediction 0 .*: score: expected a finite number, got nan"),
        (
            {"segmentation": None},
            r"prediction 0 \(image 1\): segmentation: expected an RLE or polygons, got nothing",
        ),
        (
            {"segmentation": square(0, 0, 3, (9, 9))},
            r"prediction 0 \(image 1\), frame 0: RLE is 9x9 .* the frame is 40x50",
        ),
        ({"segmentation": {"size": [40, 50], "counts": "12"}}, "RLE counts sum to 3"),
    ],
)
def test_coco_bad_predictions(images, changes, message):
    truth, predictions = images
    with pytest.raises(ValueError, match=message):
        evaluate_coco(truth, [{**predictions[0], **changes}])


def test_coco_bad_files(images, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.json: no such file"):
        evaluate_coco(tmp_path / "nowhere.json", [])
    with pytest.raises(ValueError, match="expected a COCO file with lists 'images', 'categories' and 'annotations'"):
        evaluate_coco({"annotations": []}, [])
    with pytest.raises(ValueError, match="expected a list of predictions, got a dict"):
        evaluate_coco(images[0], {})


# HOTA.


@pytest.fixture
def crossing():
    """Two objects over 4 frames; the predictions swap them in the middle."""
    first, second = square(0, 0, 10), square(20, 20, 10)
    truth = {
        "videos": [{"id": 1, "height": 40, "width": 50, "length": 4}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": i, "video_id": 1, "category_id": 1, "segmentations": [rle] * 4}
            for i, rle in ((1, first), (2, second))
        ],
    }
    swapped = [
        {"video_id": 1, "category_id": 1, "score": 0.9, "segmentations": [first] * 2 + [second] * 2},
        {"video_id": 1, "category_id": 1, "score": 0.8, "segmentations": [second] * 2 + [first] * 2},
    ]
    return truth, swapped


@needs_trackeval
def test_hota_tells_finding_from_holding_together(crossing):
    truth, swapped = crossing
    result = evaluate_hota(truth, swapped)
    # All is found; every pair of tracks agrees in 2 of 6 of their frames.
    assert result["DetA"] == pytest.approx(1)
    assert result["AssA"] == pytest.approx(1 / 3)
    assert result["HOTA"] == pytest.approx(np.sqrt(1 / 3))
    assert [row["name"] for row in result["per_category"]] == ["cat"]


@needs_trackeval
def test_hota_of_perfect_and_of_weak_tracks(crossing):
    truth, _ = crossing
    perfect = [{**entry, "score": 0.9} for entry in truth["annotations"]]
    weak = {**perfect[0], "score": 0.1, "segmentations": [square(0, 20, 9)] * 4}
    assert evaluate_hota(truth, perfect)["HOTA"] == pytest.approx(1)
    assert evaluate_hota(truth, [*perfect, weak])["HOTA"] == pytest.approx(1)
    assert evaluate_hota(truth, [*perfect, weak], score_threshold=0)["DetA"] == pytest.approx(8 / 12)
    assert evaluate_hota(truth, [])["HOTA"] == 0


@needs_trackeval
def test_hota_leaves_crowds_out(crossing):
    truth, _ = crossing
    perfect = [{**entry, "score": 0.9} for entry in truth["annotations"][:1]]
    truth["annotations"][1]["iscrowd"] = 1
    assert evaluate_hota(truth, perfect)["HOTA"] == pytest.approx(1)


def test_hota_without_trackeval_says_what_to_install(crossing, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackeval", None)
    with pytest.raises(ImportError, match=r'pip install "ifc_hf\[hota\]"'):
        evaluate_hota(*crossing)


# The metric of the library `evaluate`.


@needs_evaluate
@pytest.mark.parametrize("name", ["basic_mixed", "missing_frames", "area_from_file"])
def test_metric_equals_the_function(name, tmp_path):
    from ifc_hf.evaluation import YtvisMap

    truth = json.loads((CASES / name / "gt.json").read_text())
    results = json.loads((CASES / name / "preds.json").read_text())
    for entry in truth["annotations"]:  # tables hold compressed RLE only
        entry["segmentations"] = [rle and compressed(rle) for rle in entry["segmentations"]]
    metric = YtvisMap(cache_dir=str(tmp_path))
    for video in truth["videos"]:
        rows = [
            {"video_id": video["id"], "tracks": [entry for entry in entries if entry["video_id"] == video["id"]]}
            for entries in (results, truth["annotations"])
        ]
        metric.add(prediction=rows[0], reference=rows[1])
    scored = metric.compute(categories=truth["categories"])
    whole = evaluate_ytvis(truth, results)
    assert scored["stats"] == whole["stats"]
    np.testing.assert_array_equal(scored["precision"], whole["precision"])


def compressed(rle):
    if isinstance(rle["counts"], str):
        return rle
    packed = coco_mask.frPyObjects(rle, *rle["size"])
    return {"size": rle["size"], "counts": packed["counts"].decode()}


@needs_evaluate
def test_metric_refuses_rows_that_do_not_belong_together(tmp_path):
    from ifc_hf.evaluation import YtvisMap

    metric = YtvisMap(cache_dir=str(tmp_path))
    rows = {"predictions": [{"video_id": 1, "tracks": []}], "references": [{"video_id": 2, "tracks": []}]}
    with pytest.raises(ValueError, match="a prediction of video 1 came with the reference 2"):
        metric.compute(**rows)
    bad = {"video_id": 1, "tracks": [{"category_id": 1, "score": 0.5, "segmentations": None}]}
    with pytest.raises(ValueError, match=r"video 1, tracks\[0\]: segmentations: expected a list, got None"):
        metric.compute(predictions=[bad], references=rows["references"])


def test_scoring_imports_neither_evaluate_nor_trackeval():
    code = "import sys, ifc_hf.evaluation; print([name for name in ('evaluate', 'trackeval') if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_benchmark_runs_and_both_sides_agree(tmp_path):
    sizes = ["--videos", "3", "--frames", "4", "--tracks", "3", "--predictions", "6", "--repeats", "2"]
    output = tmp_path / "results" / "benchmark.json"
    command = [
        sys.executable,
        str(ROOT / "scripts" / "benchmark_evaluation.py"),
        *sizes,
        "--output",
        str(output),
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ours / plain" in printed.stdout
    report = json.loads(output.read_text())
    assert set(report["ratio"]) == {"load", "iou", "accumulate", "total", "load_and_iou"}
    assert len(report["ours"]["runs"]) == 2
    assert report["AP"] > 0

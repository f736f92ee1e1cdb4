"""Every value of annotation and result files replaced by something odd: read as it is, or one clear error."""

import copy
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from ifc_hf import load_coco, load_ytvis
from ifc_hf.data import frames
from ifc_hf.data.check import check_split
from ifc_hf.data.labels import id2label
from ifc_hf.data.parse import coco_as_ytvis, parse_ytvis
from ifc_hf.data.problems import DataSetError
from ifc_hf.data.synthetic import write_synthetic_coco, write_synthetic_ytvis
from ifc_hf.evaluation import evaluate_coco, evaluate_ytvis
from ifc_hf.model.masks import decode_segmentation

RLE = {"size": [8, 6], "counts": [10, 5, 33]}
POLYGON = [[1.0, 1.0, 5.0, 1.0, 5.0, 6.0]]


def deep(levels: int = 900) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


ODD = [
    None, True, False, 0, -1, 1.0, 1.5, float("nan"), float("inf"), 2**31, 2**63, 2**64 + 1, 10**400, "", "1", "\0",
    "\ud800", "../x", [], [[]], [None], [-1], ["x"], [1e308] * 8, {}, {"size": [8, 6]},
    {"size": [2**32, 8], "counts": "0"}, deep(),
]  # fmt: skip


def ytvis() -> dict:
    annotation = {"id": 1, "video_id": 1, "category_id": 1, "iscrowd": 0, "segmentations": [RLE, POLYGON, None],
                  "bboxes": [[1, 2, 1, 5], [1, 1, 4, 5], None], "areas": [5.0, 10.0, None]}  # fmt: skip
    video = {"id": 1, "height": 8, "width": 6, "length": 3, "file_names": ["v/0.jpg", "v/1.jpg", "v/2.jpg"]}
    return copy.deepcopy({"videos": [video], "categories": [{"id": 1, "name": "cat"}], "annotations": [annotation]})


def results() -> list:
    return copy.deepcopy([{"video_id": 1, "category_id": 1, "score": 0.5, "segmentations": [RLE, POLYGON, None]}])


def coco() -> dict:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": POLYGON,
                  "bbox": [1, 1, 4, 5], "area": 10.0}  # fmt: skip
    image = {"id": 1, "height": 8, "width": 6, "file_name": "0.jpg"}
    return copy.deepcopy({"images": [image], "categories": [{"id": 1, "name": "cat"}], "annotations": [annotation]})


def coco_results() -> list:
    return copy.deepcopy([{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": RLE}])


def places(value, path=()):
    """Every place in a JSON value, the value itself included."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def variants(make):
    """The content with one value replaced, removed or repeated."""
    for path in places(make()):
        for odd in ODD:
            content = make()
            if not path:
                yield odd
                continue
            parent = content
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = odd
            yield content
        if path:
            for change in ("remove", "repeat"):
                content = make()
                parent = content
                for key in path[:-1]:
                    parent = parent[key]
                if change == "remove":
                    del parent[path[-1]]
                elif isinstance(parent, list):
                    parent.append(copy.deepcopy(parent[path[-1]]))
                yield content


READERS = {
    "YouTube-VIS for training": (ytvis, lambda content: parse_ytvis(content, "file.json")),
    "COCO for training": (
        coco,
        lambda content: parse_ytvis(coco_as_ytvis(content, "file.json"), "file.json", "image"),
    ),
    "YouTube-VIS for scoring": (ytvis, lambda content: evaluate_ytvis(content, results())),
    "results": (results, lambda content: evaluate_ytvis(ytvis(), content)),
    "COCO for scoring": (coco, lambda content: evaluate_coco(content, coco_results())),
    "COCO results": (coco_results, lambda content: evaluate_coco(coco(), content)),
}


@pytest.mark.filterwarnings("ignore:scored as the official evaluator")
@pytest.mark.parametrize("reader", READERS)
def test_every_value_replaced(reader):
    make, read = READERS[reader]
    read(make())
    refused = 0
    for content in variants(make):
        if isinstance(content, str):  # a path
            continue
        try:
            read(content)
        except ValueError as error:
            assert len(str(error)) < 1500
            refused += 1
    assert refused > 100 or "training" in reader


@pytest.mark.parametrize("value", ["1", None, 1.0, True, [], 2**63, -(2**63) - 1, 2**70])
@pytest.mark.parametrize("place", ["videos", "categories", "annotations"])
def test_ids_that_are_no_integers_of_64_bits_are_named(place, value):
    content = ytvis()
    content[place][0]["id"] = value
    problems = [str(problem) for problem in parse_ytvis(content, "train.json").problems]
    assert any(problem.startswith(f"train.json: {place}[0]: expected") for problem in problems)


@pytest.mark.parametrize("height", [2**31, 2**62, 2**64, 10**400, 0, -8, 8.0, "8", None])
def test_absurd_sizes_are_named_with_file_and_video(height):
    content = ytvis()
    content["videos"][0]["height"] = height
    problems = [str(problem) for problem in parse_ytvis(content, "train.json").problems]
    assert problems and all(problem.startswith("train.json, video 1 (v): ") for problem in problems)
    with pytest.raises(ValueError, match="ground truth, video 1"):
        evaluate_ytvis(content, [])


def test_annotation_id_zero_is_warned_of():
    content = ytvis()
    content["annotations"][0]["id"] = 0
    split = parse_ytvis(content, "train.json")
    assert [problem.kind for problem in split.problems if not problem.fatal] == ["annotation id 0"]
    assert len(split.videos[0].tracks) == 1
    with pytest.warns(UserWarning, match="annotation 0: the official evaluators count .* as unmatched"):
        evaluate_ytvis(content, [])


def test_an_empty_list_or_no_box_stands_for_an_absent_object():
    content = ytvis()
    content["annotations"][0].update(segmentations=[RLE, [], None], bboxes=[[1, 2, 1, 5], [], [0, 0, 0, 0]],
                                     areas=[5, 0, None], iscrowd=None)  # fmt: skip
    split = parse_ytvis(content, "train.json")
    assert not split.problems
    (track,) = split.videos[0].tracks
    assert track.segmentations[1:] == track.boxes_xywh[1:] == track.areas[1:] == [None, None]


def test_sizes_are_checked_image_by_image():
    content = coco()
    content["images"].append({"id": 2, "height": 6, "width": 8, "file_name": "1.jpg"})
    content["annotations"].append({**content["annotations"][0], "id": 2, "image_id": 2, "segmentation": RLE})
    problems = [str(problem) for problem in parse_ytvis(coco_as_ytvis(content, "f"), "f", "image").problems]
    assert problems == ["f, image 2 (1.jpg), annotation 2, frame 0: RLE is 8x6 (height x width), the frame is 6x8"]


@pytest.mark.parametrize("missing", ["iscrowd", "area", "bbox"])
def test_coco_annotations_may_lack_what_the_mask_says(missing):
    content = coco()
    del content["annotations"][0][missing]
    (image,) = parse_ytvis(coco_as_ytvis(content, "f"), "f", "image").videos
    area = 10.0 if missing != "area" else float(decode_segmentation(POLYGON, 8, 6).sum())
    assert (image.tracks[0].is_crowd, image.tracks[0].areas) == (False, [area])


def roboflow(tmp_path: Path, names: list[str]) -> Path:
    """The layout of Roboflow: the JSON beside the images, and a first class that is none."""
    root = write_synthetic_coco(tmp_path / "coco", num_images=2, size_hw=(32, 48), max_instances=1)
    (root / "train2017").rename(root / "train")
    content = json.loads((root / "annotations/instances_train2017.json").read_text())
    real = [{"id": index + 1, "name": name, "supercategory": names[0]} for index, name in enumerate(names[1:])]
    content["categories"] = [{"id": 0, "name": names[0], "supercategory": "none"}, *real]
    for annotation in content["annotations"]:
        annotation["category_id"] = 1
    (root / "train/_annotations.coco.json").write_text(json.dumps(content), encoding="utf-8-sig")
    return root


@pytest.mark.parametrize("names", [["fish", "fish"], ["animals", "fish", "cat"]])
def test_exports_of_roboflow(tmp_path, names):
    root = roboflow(tmp_path, names)
    rows = load_coco(root, "train", cache_dir=tmp_path / "cache")
    assert list(id2label(rows).values()) == names[1:]
    assert not [problem for problem in check_split(root, "coco", "train") if problem.fatal]


def test_coco_files_elsewhere(tmp_path):
    root = roboflow(tmp_path, ["animals", "fish"])
    (root / "train/_annotations.coco.json").rename(tmp_path / "mine.json")
    (root / "train").rename(tmp_path / "pictures")
    rows = load_coco("nowhere", annotation_file=tmp_path / "mine.json", image_folder=tmp_path / "pictures",
                     cache_dir=tmp_path / "cache")  # fmt: skip
    assert Path(rows[0]["image"]["path"]).parent == tmp_path / "pictures"


# --- frames stay below their folder --------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path) -> Path:
    """One video of two frames, and a secret picture and a pipe beside the data set."""
    root = write_synthetic_ytvis(tmp_path / "set", num_videos=1, num_frames=2, size_hw=(32, 48), num_valid_videos=1)
    Image.new("RGB", (48, 32)).save(tmp_path / "secret.jpg")
    os.mkfifo(root / "train/JPEGImages/train_0000/pipe.jpg")
    (root / "train/JPEGImages/train_0000/link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "train/JPEGImages/away").symlink_to(tmp_path)
    return root


def name_frame(root: Path, name: str) -> None:
    content = json.loads((root / "train.json").read_text())
    content["videos"][0]["file_names"][1] = name
    (root / "train.json").write_text(json.dumps(content))


OUTSIDE = ["../../../secret.jpg", "{outside}/secret.jpg", "train_0000/link.jpg", "away/secret.jpg"]
NEVER = ["/dev/zero", "train_0000/pipe.jpg", "train_0000/0\0.jpg", "x" * 5000, "train_0000", "http://127.0.0.1/x.jpg"]


@pytest.mark.parametrize("name", [*OUTSIDE, *NEVER])
def test_frames_outside_and_devices_are_refused(root, tmp_path, name):
    name_frame(root, name.format(outside=tmp_path))
    with pytest.raises(DataSetError, match=r"train\.json, video 1 \(train_0000\), frame 1: "):
        load_ytvis(root, cache_dir=tmp_path / "cache")
    assert [problem.frame for problem in check_split(root) if problem.fatal] == [1]


@pytest.mark.parametrize("name", OUTSIDE)
def test_frames_outside_are_read_on_purpose(root, tmp_path, name):
    name_frame(root, name.format(outside=tmp_path))
    assert len(load_ytvis(root, cache_dir=tmp_path / "cache", allow_outside=True)) == 1
    with pytest.raises(DataSetError, match="must stay below"):  # the cached rows as well
        load_ytvis(root, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("name", NEVER)
def test_devices_are_refused_on_purpose_too(root, name):
    name_frame(root, name)
    assert [problem.frame for problem in check_split(root, allow_outside=True) if problem.fatal] == [1]


@pytest.mark.parametrize("content", [b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40), b""])
def test_damaged_pictures_are_one_clear_error(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png can't be read"):
        frames.picture_size_hw(path)


def test_a_picture_beyond_the_limits_is_refused_before_its_pixels_are_read(tmp_path, monkeypatch):
    Image.new("RGB", (48, 32)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # half of what Pillow takes for an attack
    with pytest.raises(ValueError, match=r"a\.png can't be read as a picture: .*decompression bomb"):
        frames.picture_size_hw(tmp_path / "a.png")

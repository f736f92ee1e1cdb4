"""`load_ytvis`: layouts, splits, rows, cache, streaming, sharing, and every kind of bad input."""

import json
import logging
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from full_disk import files_up_to
from ifc_hf import load_ytvis
from ifc_hf.data import builder
from ifc_hf.data.embedding import embed_frames, without_decoding
from ifc_hf.data.labels import _fill_in, category_ids, has_annotations, id2label, map_labels
from ifc_hf.data.layout import is_held_out
from ifc_hf.data.problems import DataSetError
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.model.masks import decode_rle, decode_segmentation

SIZE_HW = (32, 48)


@pytest.fixture
def root(tmp_path) -> Path:
    """A data set of 6 + 2 videos in the folder that it usually has."""
    write_synthetic_ytvis(tmp_path / "ytvis_2019", num_videos=6, num_frames=4, size_hw=SIZE_HW, num_valid_videos=2)
    return tmp_path


@pytest.fixture
def load(tmp_path):
    """`load_ytvis` with a cache of its own."""
    return lambda root, *args, **kwargs: load_ytvis(root, *args, cache_dir=tmp_path / "cache", **kwargs)


def edit(root: Path, change, split: str = "train") -> Path:
    """Change the JSON of a split in place."""
    json_file = root / "ytvis_2019" / f"{split}.json"
    content = json.loads(json_file.read_text())
    change(content)
    json_file.write_text(json.dumps(content))
    return json_file


def test_rows_say_what_the_json_says(root, load):
    content = json.loads((root / "ytvis_2019/train.json").read_text())
    dataset = load(root, version="2019")
    assert isinstance(dataset, datasets.Dataset)
    assert id2label(dataset) == {0: "circle", 1: "square", 2: "triangle"}
    assert category_ids(dataset) == [1, 2, 3]
    for row, video in zip(dataset, content["videos"], strict=True):
        assert (row["video_id"], row["height"], row["width"], row["length"]) == (video["id"], *SIZE_HW, 4)
        assert [Path(frame["path"]).relative_to(root / "ytvis_2019/train/JPEGImages").as_posix()
                for frame in row["frames"]] == video["file_names"]  # fmt: skip
        assert all(frame["bytes"] is None for frame in row["frames"])  # nothing was read, let alone decoded
        expected = [a for a in content["annotations"] if a["video_id"] == video["id"]]
        for track, annotation in zip(row["objects"], expected, strict=True):
            assert track["category"] == annotation["category_id"] - 1
            for name in ("id", "category_id", "iscrowd", "segmentations", "bboxes", "areas"):
                assert track[name] == annotation[name]


def test_polygons_and_plain_runs_become_the_same_compressed_masks(root, load):
    polygon = [[4.0, 4.0, 20.0, 4.0, 20.0, 16.0]]
    plain = {"size": list(SIZE_HW), "counts": [10, 5, SIZE_HW[0] * SIZE_HW[1] - 15]}

    def change(content):
        annotation = content["annotations"][0]
        annotation["segmentations"] = [polygon, plain, polygon[0], None]
        del annotation["bboxes"], annotation["areas"]

    edit(root, change)
    track = next(row["objects"][0] for row in load(root, version="2019") if row["objects"])
    masks = [None if rle is None else decode_rle(rle) for rle in track["segmentations"]]
    assert all(isinstance(rle["counts"], str) for rle in track["segmentations"][:3])
    np.testing.assert_array_equal(masks[0], decode_segmentation(polygon, *SIZE_HW))
    np.testing.assert_array_equal(masks[1], decode_rle(plain))
    np.testing.assert_array_equal(masks[2], masks[0])
    assert track["bboxes"][1] == [0.0, 10.0, 1.0, 5.0] and track["areas"][1] == 5.0  # computed from the mask
    assert track["bboxes"][3] is None and track["areas"][3] is None


@pytest.mark.parametrize("move", [
    {"train.json": "annotations/train.json"},
    {"train.json": "train/instances.json"},
    {"train.json": "annotations_train.json", "train/JPEGImages": "moved", "train": "gone"},
    {"train.json": "annotations/annotations_train.json", "train/JPEGImages": "Images/train", "train": "gone"},
])  # fmt: skip
def test_layouts_of_2021_and_ovis(root, load, move):
    folder = root / "ytvis_2019"
    for source, target in move.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / source).rename(folder / target)
    if "moved" in move.values():  # OVIS has the videos right in the split's folder
        (folder / "moved").rename(folder / "train")
    assert len(load(folder, version="ovis")) == len(load(folder)) == 6


def test_a_full_disk_is_an_error_of_the_system(root, load):
    with files_up_to(500), pytest.raises(OSError, match="too large"):
        load(root, version="2019")


def test_split_without_annotations(root, load):
    edit(root, lambda content: content.update(annotations=None), split="valid")
    dataset = load(root, version="2019", split="val")
    assert [row["objects"] for row in dataset] == [[], []]
    assert not has_annotations(dataset) and has_annotations(load(root, version="2019"))


def test_held_out_split_is_a_fixed_tenth(tmp_path, load):
    held_out = [video_id for video_id in range(1, 2239) if is_held_out(video_id)]
    assert held_out[:6] == [4, 21, 25, 44, 48, 51]
    assert len(held_out) == pytest.approx(223.8, abs=25)
    write_synthetic_ytvis(tmp_path, num_videos=25, num_frames=1, size_hw=(16, 16), num_valid_videos=1)
    train, held = (load(tmp_path, split=split)["video_id"] for split in ("train_sub", "val_sub"))
    assert list(held) == [4, 21, 25]
    assert sorted([*train, *held]) == list(range(1, 26))
    with pytest.raises(DataSetError, match=r"valid\.json: of 1 videos none belongs to 'long'"):
        load(tmp_path, split="valid_long")


@pytest.mark.parametrize(
    ("ids", "unused", "expected"),
    [
        ([1, 2, 3], "square", [1, 2, 3]),
        ([1, 2, 3], "triangle", [1, 2, 3]),
        ([1, 2, 3], "circle", [1, 2, 3]),
        ([0, 1, 2], "circle", [0, 1, 2]),
        ([1, 5, 9], None, [1, 5, 9]),
    ],
)
def test_a_class_without_objects_survives_parquet(tmp_path, load, ids, unused, expected):
    write_synthetic_ytvis(tmp_path, num_videos=12, num_frames=1, size_hw=(16, 16), num_valid_videos=1)
    content = json.loads((tmp_path / "train.json").read_text())
    unused_id = [category["id"] for category in content["categories"] if category["name"] == unused]
    content["annotations"] = [track for track in content["annotations"] if track["category_id"] not in unused_id]
    for entry in (*content["categories"], *content["annotations"]):
        name = "id" if "name" in entry else "category_id"
        entry[name] = ids[entry[name] - 1]
    (tmp_path / "train.json").write_text(json.dumps(content))
    load(tmp_path).to_parquet(tmp_path / "rows.parquet")
    rows = datasets.Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))
    assert category_ids(rows) == expected and list(id2label(rows).values()) == ["circle", "square", "triangle"]


def test_an_id_that_could_be_several_is_asked_for():
    assert _fill_in({0: 1, 2: 3, 3: 9}, ["a", "b", "c", "d"]) == [1, 2, 3, 9]
    with pytest.raises(ValueError, match=r"no row tells the category id of \['b'\]"):
        _fill_in({0: 1, 2: 9}, ["a", "b", "c"])
    with pytest.raises(ValueError, match="no row tells the category id"):
        _fill_in({}, ["a"])


@pytest.mark.parametrize("own", ["train_sub", "val_sub"])
def test_files_of_a_division_are_honoured(tmp_path, load, own):
    """The authors' `instances_train_sub.json` lies beside train.json, its frames in `train`."""
    write_synthetic_ytvis(tmp_path, num_videos=25, num_frames=1, size_hw=(16, 16), num_valid_videos=1)
    content = json.loads((tmp_path / "train.json").read_text())
    content["videos"] = [video for video in content["videos"] if video["id"] in (4, 5, 6)]
    content["annotations"] = [track for track in content["annotations"] if track["video_id"] in (4, 5, 6)]
    held_out = list(load(tmp_path, split="val_sub")["video_id"])
    (tmp_path / f"instances_{own}.json").write_text(json.dumps(content))
    other = {"train_sub": "val_sub", "val_sub": "train_sub"}[own]
    assert sorted(load(tmp_path, split=own)["video_id"]) == [4, 5, 6] != held_out
    assert sorted(load(tmp_path, split=other)["video_id"]) == [i for i in range(1, 26) if i not in (4, 5, 6)]
    content["videos"], content["annotations"] = content["videos"][:1], []
    (tmp_path / f"instances_{own}.json").write_text(json.dumps(content))
    assert len(load(tmp_path, split=other)) == 24, "the cache knows the file that is left out"
    (tmp_path / f"instances_{other}.json").write_text(json.dumps(content))
    assert len(load(tmp_path, split=other)) == 1


def test_long_videos_of_2022(tmp_path, load):
    write_synthetic_ytvis(tmp_path, num_videos=1, num_frames=38, size_hw=(16, 16), num_valid_videos=2)

    def shorten(content):
        content["videos"][0].update(length=36, file_names=content["videos"][0]["file_names"][:36])
        content["annotations"] = None

    json_file = tmp_path / "valid.json"
    content = json.loads(json_file.read_text())
    shorten(content)
    json_file.write_text(json.dumps(content))
    assert list(load(tmp_path, version="2022", split="valid_long")["video_id"]) == [2]
    assert list(load(tmp_path, version="2022", split="valid_short")["video_id"]) == [1]


def test_cache_follows_the_content_of_the_json(root, load, monkeypatch):
    load(root, version="2019")
    parse = builder.AnnotationBuilder._split_generators
    calls = []
    monkeypatch.setattr(builder.AnnotationBuilder, "_split_generators", lambda *a: calls.append(1) or parse(*a))
    load(root, version="2019")
    assert not calls  # the JSON was not even parsed
    edit(root, lambda content: content["categories"][0].update(name="disc"))
    assert id2label(load(root, version="2019"))[0] == "disc"
    assert calls


def test_a_relative_folder_is_found_from_elsewhere_later(root, load, tmp_path, monkeypatch):
    monkeypatch.chdir(root.parent)
    load(root.name, version="2019")
    monkeypatch.chdir(tmp_path)
    assert Path(load(root, version="2019")[0]["frames"][0]["path"]).is_file()


def test_streaming_shards_cover_every_video_once(root, load):
    stream = load(root, version="2019", streaming=True, num_shards=3)
    assert isinstance(stream, datasets.IterableDataset) and stream.num_shards == 3
    shards = [[row["video_id"] for row in stream.shard(3, index)] for index in range(3)]
    assert sorted(sum(shards, [])) == [1, 2, 3, 4, 5, 6] and all(shards)
    assert category_ids(stream) == [1, 2, 3]
    assert next(iter(stream))["objects"] == load(root, version="2019")[0]["objects"]


def test_embedded_frames_survive_without_the_files(root, load, tmp_path):
    dataset = load(root, version="2019")
    jpeg = Path(dataset[0]["frames"][1]["path"]).read_bytes()
    embedded = embed_frames(dataset)
    embedded.to_parquet(tmp_path / "train.parquet")
    embedded.save_to_disk(tmp_path / "disk")
    (root / "ytvis_2019/train").rename(root / "gone")
    parquet = datasets.load_dataset("parquet", data_files=str(tmp_path / "train.parquet"), split="train",
                                    cache_dir=str(tmp_path / "cache"))  # fmt: skip
    for loaded in (parquet, datasets.load_from_disk(tmp_path / "disk")):
        assert np.asarray(loaded[0]["frames"][1]).shape == (*SIZE_HW, 3)
        assert without_decoding(loaded)[0]["frames"][1] == {"bytes": jpeg, "path": "00001.jpg"}
        assert loaded[0]["objects"] == dataset[0]["objects"]
        assert category_ids(loaded) == [1, 2, 3] and has_annotations(loaded)
    assert id2label(map_labels(without_decoding(parquet), {"circle": "ball"})) == {0: "ball"}


def test_map_labels(root, load, tmp_path):
    dataset = load(root, version="2019")
    mapping = tmp_path / "labels.json"
    mapping.write_text(json.dumps({"square": "box", "triangle": "box", "circle": None}))
    mapped = map_labels(dataset, mapping, label_names=["ball", "box"])
    assert id2label(mapped) == {0: "ball", 1: "box"} and category_ids(mapped) == [1, 2]
    for before, after in zip(dataset, mapped, strict=True):
        kept = [track for track in before["objects"] if track["category"] != 0]
        assert [track["id"] for track in after["objects"]] == [track["id"] for track in kept]
        assert all((track["category"], track["category_id"]) == (1, 2) for track in after["objects"])
    with pytest.raises(ValueError, match="no class \\['hexagon'\\]"):
        map_labels(dataset, {"hexagon": "box"})
    with pytest.raises(ValueError, match="\\['box'\\] is not among the classes wanted"):
        map_labels(dataset, {"square": "box"}, label_names=["ball"])


def write_palette_pngs(folder: Path, name: str, values: list[np.ndarray]) -> None:
    for index, numbers in enumerate(values):
        picture = Image.fromarray(numbers.astype(np.uint8), mode="P")
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        (folder / name).mkdir(parents=True, exist_ok=True)
        picture.save(folder / name / f"{index * 5:05d}.png")


def test_palette_folders(tmp_path, load):
    numbers = np.zeros((3, *SIZE_HW), dtype=np.uint8)
    numbers[0, 2:6, 3:9], numbers[2, 4:8, 3:9], numbers[1, 10:20, 10:20] = 1, 1, 2
    vos = tmp_path / "vos/train"
    davis = tmp_path / "davis"
    for frames, masks in (
        (vos / "JPEGImages", vos / "Annotations"),
        (davis / "JPEGImages/480p", davis / "Annotations/480p"),
    ):
        write_palette_pngs(masks, "swan", list(numbers))
        (frames / "swan").mkdir(parents=True)
        for index in range(11):  # YouTube-VOS has frames between the annotated ones
            Image.new("RGB", SIZE_HW[::-1]).save(frames / "swan" / f"{index:05d}.jpg")
    meta = {"videos": {"swan": {"objects": {"1": {"category": "swan"}, "2": {"category": "boat"}}}}}
    (vos / "meta.json").write_text(json.dumps(meta))
    (davis / "ImageSets/2017").mkdir(parents=True)
    (davis / "ImageSets/2017/train.txt").write_text("swan\n")
    for root, names in ((tmp_path / "vos", {0: "boat", 1: "swan"}), (davis, {0: "object"})):
        dataset = load(root)
        assert id2label(dataset) == names
        assert [Path(frame["path"]).name for frame in dataset[0]["frames"]] == ["00000.jpg", "00005.jpg", "00010.jpg"]
        first, second = dataset[0]["objects"]
        np.testing.assert_array_equal(decode_rle(first["segmentations"][2]), numbers[2] == 1)
        assert first["segmentations"][1] is None and second["areas"] == [None, 100.0, None]
        assert names[first["category"]] in ("swan", "object")


# --- bad input -------------------------------------------------------------------------------------------------------


def first_annotation(content: dict) -> dict:
    """One whose object is visible in frame 0."""
    return next(a for a in content["annotations"] if a["segmentations"][0] is not None)


def set_first(**values):
    return lambda content: first_annotation(content).update(values)


def set_frame(column: str, value):
    def change(content):
        first_annotation(content)[column][0] = value

    return change


def no_mask(content):
    first_annotation(content).update({column: [None] * 4 for column in ("segmentations", "bboxes", "areas")})


def repeat_annotation(content):
    content["annotations"].insert(1, dict(content["annotations"][0]))


WRONG_SIZE_RLE = {"size": [10, 10], "counts": [100]}
SHORT_RLE = {"size": list(SIZE_HW), "counts": [5, 5]}
TRACK = r"train\.json, video \d+ \(train_\d+\), annotation \d+"
BAD_INPUT = {
    "RLE of another size": (set_frame("segmentations", WRONG_SIZE_RLE), TRACK + ", frame 0: RLE is 10x10 .* 32x48"),
    "RLE too short": (
        set_frame("segmentations", SHORT_RLE), TRACK + r", frame 0: RLE counts sum to 10, expected 32\*48 = 1536"),
    "invalid polygon": (set_frame("segmentations", [[1, 2, 3, 4]]), TRACK + ", frame 0: .*at least 3 points, got 2"),
    "NaN polygon": (set_frame("segmentations", [[1, 2, 3, 4, 5, float("nan")]]), TRACK + ", frame 0: .*NaN"),
    "NaN box": (set_frame("bboxes", [1, 2, float("nan"), 4]), TRACK + ", frame 0: box has a NaN"),
    "negative box": (set_frame("bboxes", [1, 2, -3, 4]), TRACK + ", frame 0: box has a negative width"),
    "None box": (set_frame("bboxes", None), TRACK + ", frame 0: the box is None, but there is a segmentation"),
    "None mask": (set_frame("segmentations", None), TRACK + ", frame 0: the segmentation is None, but the box is"),
    "None masks": (set_first(segmentations=None), TRACK + ": segmentations: expected a list"),
    "too few masks": (set_first(segmentations=[None]), TRACK + ": 1 segmentations for 4 frames"),
    "unknown category": (set_first(category_id=9), TRACK + r": category_id is 9, the categories have ids \[1, 2, 3\]"),
    "track with no mask": (no_mask, TRACK + ": track with no mask: all of its 4 segmentations are None"),
    "duplicate annotation": (repeat_annotation, r"train\.json, video \d+, annotation 1: annotation id is there twice"),
    "unknown video": (set_first(video_id=99), r"train\.json, annotation \d+: there is no video with id 99"),
    "duplicate video": (lambda c: c["videos"][1].update(id=1), r"video 1 \(train_0001\): video id 1 is there twice"),
    "video of length 0": (
        lambda c: c["videos"][2].update(length=0, file_names=[]), r"train\.json, video 3: video of length 0"),
    "wrong length": (lambda c: c["videos"][2].update(length=7), r"video 3 \(train_0002\): length is 7, .* 4 file"),
    "None as size": (lambda c: c["videos"][2].update(width=None), r"video 3 \(train_0002\): width: .* got None"),
    "wrong size": (
        lambda c: (c["videos"][0].update(width=50), c.update(annotations=[])),
        r"train\.json, video 1 \(train_0000\), frame 0: .*00000\.jpg is 32x48 .* the video is 32x50"),
    "duplicate category": (lambda c: c["categories"][1].update(id=1), r"train\.json: category id 1 is there twice"),
    "no videos": (lambda c: c.pop("videos"), r"train\.json: expected a YouTube-VIS file with lists 'videos'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_annotations(root, load, name):
    change, message = BAD_INPUT[name]
    edit(root, change)
    with pytest.raises(DataSetError, match=message):
        load(root, version="2019")


def test_missing_json(root, load):
    with pytest.raises(DataSetError, match=r"ytvis_2019: no annotation file of split 'test'; looked for test\.json, "):
        load(root, version="2019", split="test")
    with pytest.raises(DataSetError, match="nowhere: no such folder"):
        load(root / "nowhere")
    with pytest.raises(DataSetError, match="2022 has no training split of its own"):
        load(root, version="2022")
    with pytest.raises(ValueError, match="version: expected one of"):
        load(root, version="2020")


def test_broken_json(root, load):
    (root / "ytvis_2019/train.json").write_text('{"videos": [1, 2')
    with pytest.raises(DataSetError, match=r"train\.json: not valid JSON: .* at line 1, column 17"):
        load(root, version="2019")


@pytest.mark.parametrize("cached", [False, True])
def test_missing_frames_are_found_at_the_start_and_counted(root, load, cached):
    if cached:
        load(root, version="2019")
    frames = root / "ytvis_2019/train/JPEGImages"
    for name in ("train_0001/00002.jpg", "train_0001/00003.jpg", "train_0004/00000.jpg"):
        (frames / name).unlink()
    counted = "3 of 24 frames are missing" if cached else r"2 of 4 frames are missing \(3 in all\)"
    with pytest.raises(DataSetError, match=rf"train\.json, video 2.*: {counted}, first .*train_0001/00002\.jpg"):
        load(root, version="2019")


def test_all_problems_are_kept_and_counted(root, load):
    edit(root, lambda c: [track.update(category_id=7) for track in c["annotations"]])
    with pytest.raises(DataSetError, match=r"and \d+ more problems") as caught:
        load(root, version="2019")
    assert {problem.kind for problem in caught.value.problems} == {"unknown category"}
    assert len(caught.value.problems) >= 6


def all_present(content):
    """Annotation 1 is visible on every frame."""
    track = content["annotations"][0]
    for values in (track["segmentations"], track["bboxes"], track["areas"]):
        shown = next(value for value in values if value is not None)
        values[:] = [shown] * 4


def two_points(content):
    segmentation = [[1.0, 1.0, 9.0, 1.0, 1.0, 9.0], [2.0, 2.0, 3.0, 3.0]]
    content["annotations"][0]["segmentations"][1] = segmentation


INVALID = {  # what to do, frames of annotation 1 that stay, what the list says
    "nothing": (lambda content: None, [0, 1, 2, 3], None),
    "NaN box": (set_frame("bboxes", [1, 2, float("nan"), 4]), [1, 2, 3], "NaN"),
    "box without mask": (set_frame("segmentations", None), [1, 2, 3], "the segmentation is None, but the box is"),
    "mask without box": (set_frame("bboxes", None), [1, 2, 3], "the box is None"),
    "a polygon of two points": (two_points, [0, 1, 2, 3], "a polygon needs at least 3 points"),
    "nothing but polygons of two points": (
        set_frame("segmentations", [[1.0, 1.0, 2.0, 2.0]]), [1, 2, 3], "a polygon needs at least 3 points"),
    "RLE of another size": (set_frame("segmentations", {"size": [3, 3], "counts": [9]}), [1, 2, 3], "RLE is 3x3"),
    "no mask": (no_mask, None, "track with no mask"),
    "too few masks": (set_first(segmentations=[None]), None, "1 segmentations for 4 frames"),
    "unknown category": (set_first(category_id=9), None, "category_id is 9"),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_what_is_invalid_is_dropped_counted_and_listed(root, load, caplog, name):
    """The reference skips it without a word."""
    change, kept, listed = INVALID[name]
    edit(root, all_present)
    number = sum(len(row["objects"]) for row in load(root, version="2019"))
    edit(root, change)
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            dataset = load(root, version="2019", invalid_annotations="drop")
        tracks = {track["id"]: track for row in dataset for track in row["objects"]}
        assert len(tracks) == number - (kept is None)
        if kept is not None:
            present = [i for i, segmentation in enumerate(tracks[1]["segmentations"]) if segmentation is not None]
            assert present == kept and [i for i, box in enumerate(tracks[1]["bboxes"]) if box is not None] == kept
        if listed is None:
            assert not caplog.text
        else:
            assert "train.json: 1 annotations dropped" in caplog.text and listed in caplog.text
            assert caplog.text.count("annotation 1") == 1
    with pytest.raises(ValueError, match='expected "error" or "drop"'):
        load(root, version="2019", invalid_annotations="ignore")


def test_a_long_list_of_what_was_dropped_is_cut(root, load, caplog):
    edit(root, lambda c: [track.update(bboxes=["x"] * 4) for track in c["annotations"]])
    with caplog.at_level(logging.WARNING):
        dataset = load(root, version="2019", invalid_annotations="drop")
    assert not any(row["objects"] for row in dataset)
    number = len(json.loads((root / "ytvis_2019/train.json").read_text())["annotations"])
    assert f"{number} annotations dropped" in caplog.text and "more; `ifc-hf dataset check` lists all" in caplog.text
    assert len(caplog.text.splitlines()) == 22


def test_two_thousand_videos(tmp_path, load):
    """They share their frames' files, so that the test writes few."""
    write_synthetic_ytvis(tmp_path, num_videos=1, num_frames=2, size_hw=(16, 16), num_valid_videos=1)
    json_file = tmp_path / "train.json"
    content = json.loads(json_file.read_text())
    video, track = content["videos"][0], content["annotations"][0]
    content["videos"] = [{**video, "id": index} for index in range(2000)]
    content["annotations"] = [{**track, "id": index, "video_id": index // 2} for index in range(4000)]
    json_file.write_text(json.dumps(content))
    dataset = load(tmp_path)
    assert len(dataset) == 2000 and all(len(objects) == 2 for objects in dataset["objects"])

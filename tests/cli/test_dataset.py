"""`ifc-hf dataset`: the report names every problem, and the exit code says whether the split can be used."""

import json

import numpy as np
import pytest
from PIL import Image

from annotation_files import cvat, cvat_polygon, cvat_xml, labelme
from ifc_hf.cli.main import main
from ifc_hf.data.check import read_split
from ifc_hf.data.stats import describe_split
from ifc_hf.data.synthetic import write_synthetic_coco, write_synthetic_ytvis


@pytest.fixture
def root(tmp_path):
    return write_synthetic_ytvis(tmp_path / "set", num_videos=6, num_frames=4, size_hw=(32, 48))


def test_check_finds_nothing_wrong(root, capsys):
    assert main(["dataset", "check", str(root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 errors, 0 warnings"


def test_check_reports_every_problem_at_once(root, capsys):
    json_file = root / "train.json"
    content = json.loads(json_file.read_text())
    first, second, third, fourth = [a for a in content["annotations"] if a["segmentations"][0] is not None][:4]
    first["segmentations"][0] = {"size": [1, 1], "counts": [1]}
    second["bboxes"][0] = [0, 0, 48, 32]
    third["category_id"] = 9
    fourth.update(segmentations=[None] * 4, bboxes=[None] * 4, areas=[None] * 4)
    content["annotations"].append(content["annotations"][-1])
    content["categories"].append({"id": 12, "name": "hexagon"})
    json_file.write_text(json.dumps(content))
    frames = root / "train/JPEGImages"
    (frames / "train_0003/00001.jpg").unlink()
    Image.new("RGB", (20, 20)).save(frames / "train_0004/00002.jpg")
    (frames / "train_0005/00003.jpg").write_bytes(b"no picture")
    assert main(["dataset", "check", str(root)]) == 1
    captured = capsys.readouterr()
    for line in (
        f"error: wrong RLE size: {json_file}, video",
        f"warning: box off: {json_file}, video",
        f"error: unknown category: {json_file}, video",
        f"error: empty track: {json_file}, video",
        f"error: duplicate id: {json_file}, video",
        f"error: missing frame: {json_file}, video 4 (train_0003), frame 1: 1 of 4 frames are missing (1 in all)",
        f"error: wrong size: {json_file}, video 5 (train_0004), frame 2:",
        f"error: unreadable frame: {json_file}, video 6 (train_0005), frame 3:",
        f"warning: unused class: {json_file}: 1 of 4 classes never occur: hexagon",
        "7 errors, 2 warnings",
    ):
        assert line in captured.out
    assert captured.err == f"error: split 'train' of {root} can't be used: 7 errors\n"
    assert main(["dataset", "check", str(root), "--first-frames"]) == 1
    assert "wrong size" not in capsys.readouterr().out  # frame 2 was not looked at


def test_check_of_what_is_not_there(tmp_path, capsys):
    assert main(["dataset", "check", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().out


def test_stats_count_by_hand(root, tmp_path, capsys):
    content = json.loads((root / "train.json").read_text())
    stats = describe_split(read_split(root)[1])
    assert (stats.videos, stats.frames, stats.lengths) == (6, 24, (4, 4, 4))
    assert stats.sizes_hw == [((32, 48), 6)]
    assert sum(entry.tracks for entry in stats.classes) == len(content["annotations"])
    for entry in stats.classes:
        category_id = {"circle": 1, "square": 2, "triangle": 3}[entry.name]
        areas = [a["areas"] for a in content["annotations"] if a["category_id"] == category_id]
        assert entry.tracks == len(areas)
        shares = [np.mean([area is not None for area in track]) for track in areas]
        assert entry.visible_share == pytest.approx(np.mean(shares) if shares else 0)
    assert main(["dataset", "stats", str(root), "--picture", str(tmp_path / "stats.png"), "--num-frames", "5"]) == 0
    assert "6 videos, 24 frames" in capsys.readouterr().out
    sheet = np.asarray(Image.open(tmp_path / "stats.png"))
    assert sheet.shape == (480, 1440, 3) and sheet[:240, :240].std() > 0


def test_coco_has_numbers_too(tmp_path, capsys):
    write_synthetic_coco(tmp_path, num_images=3, size_hw=(32, 48))
    assert main(["dataset", "stats", str(tmp_path), "--version", "coco", "--split", "train2017"]) == 0
    assert "3 videos, 3 frames" in capsys.readouterr().out


def test_convert(root, tmp_path, capsys):
    frames = tmp_path / "clip"
    frames.mkdir()
    Image.new("RGB", (48, 32)).save(frames / "0.png")
    shape = {"label": "cat", "shape_type": "polygon", "points": [[1, 1], [20, 1], [20, 20]]}
    (frames / "0.json").write_text(json.dumps({"shapes": [shape]}))
    assert (
        main(["dataset", "convert", str(frames), str(tmp_path / "out"), "--from", "labelme", "--split", "valid"]) == 0
    )
    assert capsys.readouterr().out == f"{tmp_path / 'out/valid.json'}: 1 videos, 1 tracks, 1 classes\n"
    assert main(["dataset", "check", str(tmp_path / "out"), "--split", "valid"]) == 0


def test_wrong_usage_and_failure(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["dataset", "convert", str(tmp_path), str(tmp_path / "out"), "--from", "vott"])
    assert caught.value.code == 2
    capsys.readouterr()
    assert main(["dataset", "convert", str(tmp_path), str(tmp_path / "out"), "--from", "labelme"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_left_out_is_listed_and_counted(tmp_path, capsys):
    source = cvat(tmp_path / "in", cvat_xml(cvat_polygon(0) + cvat_polygon(2)))
    assert main(["dataset", "convert", str(source), str(tmp_path / "set"), "--from", "cvat"]) == 0
    xml = source / "annotations.xml"
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'set/train.json'}: 1 videos, 1 tracks, 2 classes",
        f"left out: gap: {xml}, video my clip, annotation 7, frame 2: no shape on the 1 frames before, and no "
        "'outside': absent there",
        "       1 gap",
    ]


def test_merge_and_classes(tmp_path, capsys):
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    for name in ("one", "two"):
        labelme(tmp_path / "in" / name)
        command = ["dataset", "convert", str(tmp_path / "in" / name), str(tmp_path / name), "--from", "labelme"]
        assert main([*command, "--classes", str(tmp_path / "classes.txt")]) == 0
    assert main(["dataset", "merge", str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "all")]) == 0
    line = f"{tmp_path / 'all/train.json'}: 2 videos, 2 tracks, 2 classes"
    assert capsys.readouterr().out.splitlines()[-1] == line
    assert main(["dataset", "merge", str(tmp_path / "one"), str(tmp_path / "nowhere"), str(tmp_path / "x")]) == 1
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "x").exists()

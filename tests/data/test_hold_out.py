"""A validation split of a small set that has every class."""

import json

import pytest

from ifc_hf.cli.main import main
from ifc_hf.data import load_ytvis
from ifc_hf.data.check import read_split
from ifc_hf.data.labels import classes_without_tracks
from ifc_hf.data.layout import is_held_out
from ifc_hf.data.stats import propose_held_out
from ifc_hf.data.synthetic import write_synthetic_ytvis


@pytest.fixture
def data(tmp_path):
    """16 videos; of the four classes, one is in two videos and one in a single one."""
    root = write_synthetic_ytvis(tmp_path, num_videos=16, num_frames=1, size_hw=(32, 48))
    content = json.loads((root / "train.json").read_text())
    content["categories"] = [{"id": number, "name": f"class {number}"} for number in (1, 2, 3, 4)]
    for annotation in content["annotations"]:
        video = annotation["video_id"]
        annotation["category_id"] = 4 if video == 3 else 3 if video in (5, 6) else 1 + video % 2
    (root / "train.json").write_text(json.dumps(content))
    return root


def test_every_class_that_can_be_is_on_both_sides(data):
    _, split = read_split(data)
    chosen = set(propose_held_out(split))
    classes = {video.id: {split.labels[track.category_id] for track in video.tracks} for video in split.videos}
    held_out = set().union(*(classes[video] for video in chosen))
    trained = set().union(*(found for video, found in classes.items() if video not in chosen))
    assert held_out == {0, 1, 2} and trained == {0, 1, 2, 3}
    assert {video for video in classes if is_held_out(video)} - {3} <= chosen, "those of val_sub stay"
    assert len(chosen) < len(classes) / 2


def test_hold_out_writes_a_split_that_has_them(data, capsys):
    before = load_ytvis(data, split="val_sub", cache_dir=data / "cache")
    assert "class 3" in classes_without_tracks(before)
    assert main(["dataset", "hold-out", str(data)]) == 0
    assert "val_sub.json" in capsys.readouterr().out
    content = json.loads((data / "val_sub.json").read_text())
    numbers = {annotation["category_id"] for annotation in content["annotations"]}
    assert numbers == {1, 2, 3}
    assert {annotation["video_id"] for annotation in content["annotations"]} <= {v["id"] for v in content["videos"]}

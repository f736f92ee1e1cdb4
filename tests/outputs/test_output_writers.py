"""The writers of results one by one: what is left after an error, times, names, drawing styles, the file of tracks."""

import os

import numpy as np
import pytest
from PIL import Image

from ifc_hf.model.masks import encode_rle
from ifc_hf.model.tracks import Track
from ifc_hf.outputs.drawing import DrawingStyle, TrackDrawer
from ifc_hf.outputs.instances import track_caption, track_color
from ifc_hf.outputs.labels import draw_legend
from ifc_hf.outputs.pictures import Animation, ContactSheet, Cutouts, IdMaps
from ifc_hf.outputs.prediction import Fingerprints, Prediction, TrackSettings
from ifc_hf.outputs.shots import Shot
from ifc_hf.outputs.timeline import write_timeline

FULL = np.ones((1, 8, 8), bool)


def shot(index: int, masks: np.ndarray, track_ids: list[int], frame: np.ndarray | None = None) -> Shot:
    frame = np.full((*masks.shape[1:], 3), 90, np.uint8) if frame is None else frame
    return Shot(index, index / 10, frame, frame, track_ids, ["a/b"] * len(masks), masks)


@pytest.mark.parametrize(
    "make", [IdMaps, Cutouts, lambda path: ContactSheet(path, 2), lambda path: Animation(path, 2, 10)]
)
def test_nothing_is_left_after_an_error(tmp_path, make):
    path = tmp_path / "result.png"
    with pytest.raises(RuntimeError), make(path) as writer:
        writer.add(shot(0, np.ones((1, 8, 8), bool), [0]))
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_cutout_of_a_label_that_is_no_file_name(tmp_path):
    with Cutouts(tmp_path / "cutouts") as cutouts:
        cutouts.add(shot(0, np.ones((1, 8, 8), bool), [70000]))
    assert os.listdir(tmp_path / "cutouts") == ["track_70000_a_b.png"]


@pytest.mark.parametrize("label", ["x" * 300, "größe" * 50, "../../etc", "a\nb", "$\\frac{$", "<img src=x>|`", ""])
def test_odd_class_names_harm_no_output(tmp_path, label):
    pytest.importorskip("matplotlib", reason="the timeline is the extra `draw`")
    with Cutouts(tmp_path / "cutouts") as cutouts:
        cutouts.add(Shot(0, 0.0, np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), [1], [label], FULL))
    (name,) = os.listdir(tmp_path / "cutouts")
    assert name.startswith("track_001_") and name.endswith(".png") and len(os.fsencode(name)) < 200
    track = Track(1, 0, label, 0.5, [encode_rle(FULL[0])], [[0.0, 0.0, 8.0, 8.0]], [0.5])
    settings = TrackSettings("model", None, 1, 0.3, False, None, None, None)
    prediction = Prediction("a.mp4", 8, 8, 10.0, 1, [0.0], True, None, settings, Fingerprints(None, None), [track])
    write_timeline(prediction, tmp_path / "timeline.png")
    assert sorted(os.listdir(tmp_path)) == ["cutouts", "timeline.png"]
    assert "\n" not in track_caption(track)


def test_animation_keeps_the_time_and_bounds_its_length(tmp_path):
    masks = np.zeros((0, 30, 40), bool)
    with Animation(tmp_path / "a.gif", 1000, 10) as animation:
        for index in range(1000):
            animation.add(shot(index, masks, [], np.full((30, 40, 3), index % 200, np.uint8)))
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 200
        durations = []
        for frame in range(picture.n_frames):
            picture.seek(frame)
            durations.append(picture.info["duration"])
    assert sum(durations) == pytest.approx(100_000, abs=100)


def test_trails_legend_and_labels_can_be_left_out():
    pytest.importorskip("supervision", reason="drawing is the extra `draw`")
    frame = np.full((200, 300, 3), 60, np.uint8)

    def last_frame(**style: bool) -> np.ndarray:
        drawer = TrackDrawer(DrawingStyle(**{"labels": False, "trails": False, "legend": False, **style}))
        for left in (150, 180, 210):
            mask = np.zeros((1, 200, 300), bool)
            mask[0, 120:140, left : left + 20] = True
            drawn = drawer.draw(frame, mask, [4], ["#4 cat 0.90"], {4: "#4 cat 0.90", 9: "#9 dog 0.50"})
        return drawn

    plain = last_frame()
    color = track_color(4)
    assert (plain[130, 170] == 60).all() and (last_frame(trails=True)[130, 170] == color).all(), "where it came from"
    legend = last_frame(legend=True)
    assert (legend[:60, :120] == color).all(-1).any() and (legend[:60, :120] == track_color(9)).all(-1).any()
    assert not np.array_equal(last_frame(labels=True), plain)
    assert (frame == 60).all(), "the input must not change"


@pytest.mark.parametrize("height", [300, 400])
def test_a_legend_leaves_half_of_a_low_frame(height):
    frame = np.full((height, 320, 3), 200, np.uint8)
    drawn = frame.copy()
    legend = {track: f"#{track} cat 0.90" for track in range(20)}
    area = draw_legend(drawn, legend, {track: track_color(track) for track in legend})
    assert area.num_pixels <= frame[..., 0].size / 20
    changed = (drawn != frame).any(axis=(1, 2))
    assert changed.any() and not changed[height // 2 + 1 :].any()

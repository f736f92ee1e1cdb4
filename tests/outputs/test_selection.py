"""What predict's drawing leaves out: near copies, short tracks, and lives across cuts; and how these are found."""

import numpy as np
import pytest

from ifc_hf.model.masks import encode_rle
from ifc_hf.model.tracks import Track
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.cuts import CutDetector
from ifc_hf.outputs.drawing import DrawingStyle
from ifc_hf.outputs.duplicates import find_duplicates
from ifc_hf.outputs.prediction import Fingerprints, Prediction, TrackSettings
from ifc_hf.outputs.selection import drawn_in_frame, tracks_to_draw
from ifc_hf.samples import sample_clip

SIZE_HW = (20, 30)


def square(left: int, width: int = 10) -> np.ndarray:
    mask = np.zeros(SIZE_HW, bool)
    mask[5:15, left : left + width] = True
    return mask


def make_track(track_id: int, masks: list, label_id: int = 0, score: float = 0.9, with_boxes: bool = True) -> Track:
    rles = [None if mask is None else encode_rle(mask) for mask in masks]
    boxes = None
    if with_boxes:
        columns = [None if mask is None else np.flatnonzero(mask.any(0)) for mask in masks]
        boxes = [None if at is None else [float(at[0]), 5.0, float(at[-1] + 1), 15.0] for at in columns]
    return Track(track_id, label_id, f"class{label_id}", score, rles, boxes, [score] * len(masks))


@pytest.mark.parametrize("with_boxes", [True, False])
def test_near_copies_of_one_class_are_found(with_boxes):
    def track(track_id, lefts, label_id=0):
        return make_track(
            track_id, [None if left is None else square(left) for left in lefts], label_id, with_boxes=with_boxes
        )

    best = track(4, [0, 2, 4])
    tracks = [
        best,
        track(1, [0, 2, 4]),  # the same
        track(2, [1, 2, 4]),  # (90 + 100 + 100) / (110 + 100 + 100) = 0.94
        track(3, [0, 2, 4], label_id=1),  # another class
        track(5, [0, None, None]),  # IoU 1 in its only frame, 1/3 over both lives
        track(6, [2, 4, 6]),  # 240 / 360
        track(7, [20, 20, 20]),
    ]
    assert find_duplicates(tracks) == {1: 4, 2: 4}


def test_a_track_under_two_labels_is_no_copy_of_itself():
    assert find_duplicates([make_track(0, [square(0)]), make_track(0, [square(0)], label_id=1, score=0.5)]) == {}


def make_prediction(tracks: list, num_frames: int, cuts: list, duplicates: dict) -> Prediction:
    settings = TrackSettings("model", None, 1, 0.3, False, None, None, None)
    times = [index / 10 for index in range(num_frames)]
    values = dict(video="a.mp4", height=20, width=30, fps=10.0, num_frames=num_frames, frame_times_seconds=times)
    state = dict(complete=True, problem=None, settings=settings, fingerprints=Fingerprints(None, None), tracks=tracks)
    prediction = Prediction(**values, **state, bad_packets=0, sample_aspect_ratio="1:1")
    prediction.cuts, prediction.duplicates = cuts, duplicates
    return prediction


def test_no_drawn_track_lives_across_a_cut_and_none_is_short_or_doubled():
    tracks = [
        make_track(0, [square(0)] * 10),
        make_track(1, [square(0)] * 10, score=0.8),
        make_track(2, [None] * 8 + [square(20)] * 2, label_id=1, score=0.7),
        make_track(5, [square(20)] * 3 + [None] * 7, label_id=1, score=0.6),
    ]
    prediction = make_prediction(tracks, 10, [6], {1: 0})
    everything = tracks_to_draw(prediction, DrawingStyle())
    assert [(drawn.track_id, drawn.frames) for drawn in everything] == [(track, range(10)) for track in (0, 1, 2, 5)]
    drawn = tracks_to_draw(prediction, DrawingStyle(min_frames=3, hide_duplicates=True, split_at_cuts=True))
    assert [(part.track_id, part.drawn_id, part.caption, part.frames) for part in drawn] == [
        (0, 0, "#0 class0 0.90", range(6)),
        (0, 6, "#0.2 class0 0.90", range(6, 10)),
        (5, 5, "#5 class1 0.60", range(6)),
    ]
    assert [(place, part.drawn_id) for place, part in drawn_in_frame(drawn, 6, [2, 0])] == [(1, 6)]


def test_a_picture_shows_its_only_frame():
    prediction = make_prediction([make_track(0, [square(0)])], 1, [], {})
    assert len(tracks_to_draw(prediction, DrawingStyle(min_frames=3))) == 1


def cuts_of(frames: list) -> list[int]:
    detector = CutDetector()
    for frame in frames:
        detector.add(frame)
    return detector.cuts


def test_cuts_are_found_where_shots_meet_and_nowhere_else():
    rabbit, owls = (list(read_frames(sample_clip(name)))[:24] for name in ("bunny", "generated"))
    assert cuts_of(rabbit) == cuts_of(owls) == []
    assert cuts_of(rabbit[:12] + owls[:9] + rabbit[12:]) == [12, 21]
    flash = [np.full_like(rabbit[0], 255)] * 2
    assert cuts_of(rabbit[:10] + flash + rabbit[12:]) == []
    assert cuts_of(flash + rabbit[:10]) == [2]


def test_fades_and_noise_are_no_cuts():
    random = np.random.default_rng(0)
    assert cuts_of([np.full((40, 60, 3), 4 * level, np.uint8) for level in range(60)]) == []
    assert cuts_of(list(random.integers(0, 255, (12, 40, 60, 3), dtype=np.uint8))) == []

"""`tracks.json` as it is read again: every content that no run has written counts as absent, none is an error."""

import copy
import json

import numpy as np
import pytest

from ifc_hf.model.masks import encode_rle
from ifc_hf.model.tracks import Track
from ifc_hf.outputs.prediction import Fingerprints, Prediction, TrackSettings

SETTINGS = TrackSettings("model", None, 1, 0.3, False, None, None, None)


def make_track(track_id: int, label: str, score: float, frame_scores: list, label_id: int = 0) -> Track:
    rles = [encode_rle(np.eye(4, dtype=bool)) for _ in frame_scores]
    return Track(track_id, label_id, label, score, rles, [[0.0, 0.0, 4.0, 4.0]] * len(rles), frame_scores)


def make_prediction(*tracks: Track, settings: TrackSettings = SETTINGS, others: tuple = ()) -> Prediction:
    return Prediction(
        "a.mp4", 4, 4, 10.0, 2, [0.0, 0.1], True, None, settings, Fingerprints("v", "m"), list(tracks), list(others)
    )


def test_what_was_written_is_read(tmp_path):
    prediction = make_prediction(make_track(0, "cat", 0.5, [0.4, None]))
    prediction.duplicates, prediction.written = {3: 0}, {"video": {"labels": True, "min_frames": 3}, "masks": None}
    prediction.save(tmp_path / "tracks.json")
    assert Prediction.load(tmp_path / "tracks.json") == prediction


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{", b"", b"\xff\xfe\x00bad", b"null", b'{"video": "a.mp4", "tracks": []}', b"[" * 100_000, b"9" * 5000],
)
def test_other_content_counts_as_absent(tmp_path, content):
    assert Prediction.load(tmp_path / "tracks.json") is None
    (tmp_path / "tracks.json").write_bytes(content)
    assert Prediction.load(tmp_path / "tracks.json") is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("written",), []),
        (("written",), {"video": 5}),
        (("tracks",), 5),
        (("tracks",), [5]),
        (("tracks",), {}),
        (("video",), None),
        (("height",), "4"),
        (("height",), 0),
        (("height",), True),
        (("fps",), 0),
        (("fps",), float("inf")),
        (("num_frames",), 3),
        (("frame_times_seconds",), [0.1, 0.0]),
        (("frame_times_seconds",), [0.0, None]),
        (("complete",), 1),
        (("settings",), {}),
        (("settings", "classes"), "cat"),
        (("settings", "threshold"), "0.3"),
        (("fingerprints",), None),
        (("cuts",), [2]),
        (("cuts",), [1, 1]),
        (("duplicates",), {"a": 1}),
        (("tracks", 0, "track_id"), -1),
        (("tracks", 0, "track_id"), 2.5),
        (("tracks", 0, "score"), float("nan")),
        (("tracks", 0, "score"), 2),
        (("tracks", 0, "label"), None),
        (("tracks", 0, "unknown"), 1),
        (("tracks", 0, "segmentations"), None),
        (("tracks", 0, "segmentations", 0), "PPP"),
        (("tracks", 0, "segmentations", 0), None),
        (("tracks", 0, "segmentations", 0, "size"), [4, 5]),
        (("tracks", 0, "segmentations", 0, "size"), [10**9, 10**9]),
        (("tracks", 0, "segmentations", 0, "counts"), [0, 16]),
        (("tracks", 0, "segmentations", 0, "counts"), "!"),
        (("tracks", 0, "segmentations", 0, "counts"), "5"),
        (("tracks", 0, "segmentations", 0, "counts"), ""),
        (("tracks", 0, "boxes", 0), [0, 1]),
        (("tracks", 0, "boxes", 0), None),
        (("tracks", 0, "boxes"), []),
        (("tracks", 0, "frame_scores"), [0.5]),
        (("tracks", 0, "frame_scores", 1), "x"),
    ],
)
def test_odd_values_count_as_absent(tmp_path, path, value):
    file = tmp_path / "tracks.json"
    make_prediction(make_track(0, "cat", 0.5, [0.4, None])).save(file)
    content = json.loads(file.read_text())
    changed = copy.deepcopy(content)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file.write_text(json.dumps(changed))
    assert Prediction.load(file) is None
    file.write_text(json.dumps(content))
    assert Prediction.load(file) is not None


def test_higher_threshold_and_other_classes_choose_among_known_tracks():
    cat, dog = make_track(0, "cat", 0.8, [0.4, 0.7]), make_track(1, "dog", 0.6, [0.6, 0.5], 1)
    weak = make_track(2, "cat", 0.35, [None, 0.35])
    prediction = make_prediction(cat, dog, weak)
    assert prediction.narrowed(SETTINGS) is prediction
    higher = prediction.narrowed(TrackSettings("elsewhere", None, 1, 0.5, False, None, None, None))
    assert [(track.label, track.frame_scores) for track in higher.tracks] == [
        ("cat", [None, 0.7]),
        ("dog", [0.6, None]),
    ]
    assert higher.settings.threshold == 0.5 and cat.frame_scores == [0.4, 0.7]
    dogs = prediction.narrowed(TrackSettings("model", None, 1, 0.3, False, ["dog"], None, None))
    assert dogs.tracks == [dog] and dogs.other_tracks == [cat, weak]
    assert dogs.narrowed(SETTINGS).tracks == [cat, dog, weak], "the others are not forgotten"


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 0.2},
        {"threshold": 0.50001},  # finer than the scores over time
        {"num_frames": 3},
        {"clip_stride": 2},
        {"multi_label": True},
        {"frames": [0, 1]},
        {"fps": 5.0},
    ],
)
def test_other_settings_need_the_model(changes):
    values = {**SETTINGS.__dict__, **changes}
    assert make_prediction(make_track(0, "cat", 0.8, [0.4, 0.7])).narrowed(TrackSettings(**values)) is None

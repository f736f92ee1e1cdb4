"""Tracks and frames of a result: by attribute, by key, as JSON, as Detections."""

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ifc_hf.model.masks import encode_rle
from ifc_hf.model.tracks import FrameResult, Track, tracks_to_detections, tracks_to_json

MASK = np.zeros((4, 6), dtype=bool)
MASK[1:3, 2:5] = True
RLE = encode_rle(MASK)
CONTENT = {
    "track_id": 3, "label_id": 1, "label": "dog", "score": 0.75, "segmentations": [RLE, None],
    "boxes": [[2.0, 1.0, 5.0, 3.0], None],
}  # fmt: skip


def test_a_track_answers_by_attribute_and_by_key():
    track = Track(**CONTENT)
    assert track == CONTENT and dict(track) == CONTENT
    track["score"] = 0.5
    assert track.score == 0.5
    track.label = "cat"
    assert track["label"] == "cat"


def test_what_was_not_kept_is_no_key():
    track = Track(3, 1, "dog", 0.75)
    assert set(track) == {"track_id", "label_id", "label", "score"}
    assert track.segmentations is None and track.boxes is None
    assert "segmentations" not in replace(Track(**CONTENT), segmentations=None)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda track: pickle.loads(pickle.dumps(track))])
def test_copies_are_tracks(copied):
    track = copied(Track(**CONTENT))
    assert type(track) is Track and track == CONTENT
    track.score = 0.25
    assert track["score"] == 0.25


def test_json():
    tracks = [Track(**CONTENT)]
    assert json.loads(tracks[0].to_json()) == CONTENT
    assert json.loads(tracks_to_json(tracks)) == json.loads(json.dumps(tracks)) == [CONTENT]


@pytest.mark.parametrize("mask", [MASK, torch.from_numpy(MASK), Image.fromarray(MASK)], ids=["array", "tensor", "pil"])
def test_masks_of_any_form_become_rle(mask):
    track = replace(Track(**CONTENT), segmentations=[mask, None])
    assert track.to_dict() == CONTENT


def frame_result() -> FrameResult:
    masks = torch.stack([torch.from_numpy(MASK), ~torch.from_numpy(MASK)])
    return FrameResult(7, [0, 3], masks, torch.tensor([0.5, 0.75]), torch.tensor([0, 1]), ["cat", "dog"])


def test_a_frame_as_json():
    content = json.loads(frame_result().to_json())
    assert content["frame_index"] == 7 and len(content["objects"]) == 2
    assert content["objects"][0] == {
        "track_id": 0, "label_id": 0, "label": "cat", "score": 0.5, "segmentation": RLE, "box": [2.0, 1.0, 5.0, 3.0],
    }  # fmt: skip


def test_selecting_tracks_of_a_frame():
    chosen = frame_result().select([1])
    assert (chosen.track_ids, chosen.label_names, chosen.scores.tolist()) == ([3], ["dog"], [0.75])
    assert chosen.masks.shape == (1, 4, 6)
    nothing = frame_result().select([])
    assert nothing.masks.shape == (0, 4, 6) and nothing.to_dict() == {"frame_index": 7, "objects": []}


def test_detections():
    pytest.importorskip("supervision", reason="the extra `draw` is not installed")
    detections = frame_result().to_detections()
    assert detections.tracker_id.tolist() == [0, 3] and detections.class_id.tolist() == [0, 1]
    assert detections.xyxy[0].tolist() == [2.0, 1.0, 5.0, 3.0] and (detections.mask[0] == MASK).all()
    assert detections.data["class_name"].tolist() == ["cat", "dog"]
    of_tracks = tracks_to_detections([Track(**CONTENT)], 0)
    assert of_tracks.tracker_id.tolist() == [3] and of_tracks.confidence.tolist() == [0.75]
    assert len(tracks_to_detections([Track(**CONTENT)], 1)) == 0
    with pytest.raises(ValueError, match="track 3: has masks of 2 frames, asked for frame 2"):
        tracks_to_detections([Track(**CONTENT)], 2)

"""What is found in a video: its tracks, and what is known of one frame.

Letters: L frames of a video, n tracks that are visible in a frame, (H0, W0) size of the masks in pixels.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .masks import decode_rle, encode_rle, encode_rles, masks_to_boxes_xyxy
from .rle import Rle


@dataclass(eq=False)
class Track(dict[str, Any]):
    """One object of a video under one class.

    A track answers by attribute and by key (`track.label`, `track["label"]`), equals a dict of the same content, and
    goes through `json.dumps` as long as its masks are RLEs.

    Attributes:
        track_id: The object's number, the same in every frame.
        label_id: Index of the class.
        label: Name of the class.
        score: Mean probability of the class over the windows.
        segmentations: L masks, None where the track isn't visible: COCO RLEs, unless another form was asked for. The
            key is missing if no masks were kept.
        boxes: L boxes, x0, y0, x1, y1 in pixels, or None; missing likewise.
        frame_scores: L scores as they were known when each frame was finished; missing unless they were noted.
    """

    track_id: int
    label_id: int
    label: str
    score: float
    segmentations: list[Any] | None = None
    boxes: list[list[float] | None] | None = None
    frame_scores: list[float | None] | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> "Track":
        """Makes attributes and items one store, so that the two can't differ."""
        track = super().__new__(cls)
        track.__dict__ = track
        return track

    def __post_init__(self) -> None:
        for name in [name for name, value in self.items() if value is None]:
            del self[name]

    def to_dict(self) -> dict[str, Any]:
        """The track as a plain dict that JSON holds; masks in other forms become RLEs."""
        plain = dict(self)
        if self.segmentations is not None:
            plain["segmentations"] = [as_rle(segmentation) for segmentation in self.segmentations]
        return plain

    def to_json(self) -> str:
        """The track as JSON text."""
        return json.dumps(self.to_dict())


@dataclass
class FrameResult:
    """What is known of one frame once no later window can change its masks.

    Attributes:
        frame_index: Position in the video, from 0.
        track_ids: n tracks that have a mask here, ascending.
        masks: (n, H0, W0) bool, on the CPU.
        scores: (n,) best class probability of each track, a mean over the windows so far.
        labels: (n,) index of the class it belongs to.
        label_names: n names of these classes.
    """

    frame_index: int
    track_ids: list[int]
    masks: Tensor
    scores: Tensor
    labels: Tensor
    label_names: list[str] = field(default_factory=list)

    def select(self, positions: Sequence[int]) -> "FrameResult":
        """The frame with some of its tracks, by their positions in `track_ids`, in the given order."""
        chosen = list(positions)
        return replace(
            self,
            track_ids=[self.track_ids[position] for position in chosen],
            masks=self.masks[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            label_names=[self.label_names[position] for position in chosen],
        )

    def to_dict(self) -> dict[str, Any]:
        """The frame as a dict that JSON holds.

        Returns:
            `frame_index`, and `objects`: for every track `track_id`, `label_id`, `label`, `score`, `segmentation`
            (COCO RLE) and `box` (x0, y0, x1, y1 in pixels).
        """
        rows = zip(
            self.track_ids,
            self.labels.tolist(),
            self.label_names,
            self.scores.tolist(),
            encode_rles(self.masks) if self.track_ids else [],
            masks_to_boxes_xyxy(self.masks).tolist(),
            strict=True,
        )
        names = ("track_id", "label_id", "label", "score", "segmentation", "box")
        return {"frame_index": self.frame_index, "objects": [dict(zip(names, row, strict=True)) for row in rows]}

    def to_json(self) -> str:
        """The frame as one line of JSON."""
        return json.dumps(self.to_dict())

    def to_detections(self) -> Any:
        """The frame as `supervision.Detections`, for the tools of that library.

        Raises:
            ImportError: If supervision is not installed.
        """
        return make_detections(self.masks.numpy(), self.track_ids, self.labels, self.scores, self.label_names)


def tracks_to_json(tracks: Sequence[Track]) -> str:
    """A list of tracks as JSON text."""
    return json.dumps([track.to_dict() for track in tracks])


def tracks_to_detections(tracks: Sequence[Track], frame_index: int) -> Any:
    """What is visible in one frame as `supervision.Detections`.

    Args:
        tracks: Of a whole video, with masks in any form.
        frame_index: Which frame.

    Raises:
        ValueError: If a track has no masks, or none for this frame.
        ImportError: If supervision is not installed.
    """
    visible, masks = [], []
    for track in tracks:
        if track.segmentations is None or not 0 <= frame_index < len(track.segmentations):
            length = 0 if track.segmentations is None else len(track.segmentations)
            raise ValueError(f"track {track.track_id}: has masks of {length} frames, asked for frame {frame_index}")
        rle = as_rle(track.segmentations[frame_index])
        if rle is not None:
            visible.append(track)
            masks.append(decode_rle(rle))
    return make_detections(
        np.stack(masks) if masks else np.zeros((0, 1, 1), dtype=bool),
        [track.track_id for track in visible],
        [track.label_id for track in visible],
        [track.score for track in visible],
        [track.label for track in visible],
    )


def make_detections(
    masks: np.ndarray, track_ids: Sequence[int], label_ids: Any, scores: Any, label_names: Sequence[str]
) -> Any:
    """`supervision.Detections` of n masks (n, H0, W0); the names of the classes are its data `class_name`."""
    try:
        import supervision
    except ImportError as error:
        raise ImportError('Detections come from supervision: pip install "ifc_hf[draw]"') from error
    return supervision.Detections(
        xyxy=masks_to_boxes_xyxy(masks).numpy(),
        mask=masks,
        class_id=np.asarray(label_ids, dtype=int),
        confidence=np.asarray(scores, dtype=float),
        tracker_id=np.asarray(track_ids, dtype=int),
        data={"class_name": np.asarray(label_names, dtype=str)},
    )


def as_rle(segmentation: Any) -> Rle | None:
    """A mask in any form (RLE, (H0, W0) array, picture) as COCO RLE; None stays None."""
    if segmentation is None or isinstance(segmentation, dict):
        return segmentation
    return encode_rle(segmentation if isinstance(segmentation, Tensor) else np.asarray(segmentation))


def no_result(frame_index: int, size_hw: tuple[int, int]) -> FrameResult:
    """The result of a frame in which nothing is visible."""
    no_masks = torch.zeros(0, *size_hw, dtype=torch.bool)
    return FrameResult(frame_index, [], no_masks, torch.zeros(0), torch.zeros(0, dtype=torch.long))


__all__ = ["FrameResult", "Track", "tracks_to_detections", "tracks_to_json"]

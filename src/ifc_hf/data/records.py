"""What annotation and result files hold, once it is read: videos, and the tracks of objects in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..model.rle import IntArray, Rle


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """An annotated or predicted object with its mask on every frame of a video. L frames.

    Attributes:
        id: The annotation's id; a prediction's position in its file, from 1.
        category_id: As in the file.
        segmentations: L compressed RLEs; None where the object is absent.
        mask_areas: (L,) pixels of the masks, 0 where the object is absent.
        is_crowd: Whether the annotation stands for a group.
        score: 1 for annotations.
        areas: L areas as the file states them, in pixels; None if it states none.
        boxes_xywh: L boxes in pixels, None where the object is absent; None if they were not read.
        polygons: L lists of polygons `[x0, y0, x1, y1, ...]` in pixels, None where the file has no polygons; None if
            they were not read.
    """

    id: int
    category_id: int
    segmentations: list[Rle | None]
    mask_areas: IntArray
    is_crowd: bool = False
    score: float = 1.0
    areas: list[float | None] | None = None
    boxes_xywh: list[list[float] | None] | None = None
    polygons: list[list[list[float]] | None] | None = None

    @property
    def average_area(self) -> float:
        """Mean of the frames' areas that are not 0, of the file if it states areas: decides the area range."""
        present = [area for area in (self.mask_areas.tolist() if self.areas is None else self.areas) if area]
        return float(np.mean(present)) if present else 0.0


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """A video, or an image as a video of one frame.

    Attributes:
        id: Its id.
        height: H in pixels; None if not known, and then not checked.
        width: W in pixels, likewise.
        length: Number of frames L, likewise.
        file_names: L names of pictures; empty where only masks are needed.
        tracks: Its annotated objects; empty where they are read apart.
    """

    id: int
    height: int | None = None
    width: int | None = None
    length: int | None = None
    file_names: list[str] = field(default_factory=list)
    tracks: list[TrackRecord] = field(default_factory=list)

    def describe(self, noun: str = "video") -> str:
        """`video 3 (0a7a2514aa)`: the id, and the folder that its frames are in (or the file's name of an image)."""
        return describe_video(self.id, self.file_names, noun)


def describe_video(video_id: Any, file_names: Any, noun: str) -> str:
    """See `VideoRecord.describe`; of a video that may be malformed."""
    first = file_names[0] if isinstance(file_names, list) and file_names else ""
    name = first[:200] if isinstance(first, str) else ""
    folder = name.rpartition("/")[0] or name
    return f"{noun} {video_id} ({folder})" if folder else f"{noun} {video_id}"


def objects_of(video: VideoRecord, labels: Mapping[int, int]) -> list[Mapping[str, Any]]:
    """The objects of a row of `load_ytvis`.

    Args:
        video: With tracks that were read with boxes.
        labels: Label index of every category id.
    """
    return [
        {
            "id": track.id,
            "category": labels[track.category_id],
            "category_id": track.category_id,
            "iscrowd": int(track.is_crowd),
            "segmentations": track.segmentations,
            "bboxes": track.boxes_xywh,
            "areas": track.areas,
            "polygons": track.polygons,
        }
        for track in video.tracks
    ]

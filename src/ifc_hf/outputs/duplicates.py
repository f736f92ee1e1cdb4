"""Tracks of a video that cover the same pixels under the same class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ..model.tracks import Track

DUPLICATE_IOU = 0.8  # of two tracks over their whole life


def find_duplicates(tracks: Sequence[Track]) -> dict[int, int]:
    """Which tracks are near copies of a better one.

    Args:
        tracks: Best first, with RLE masks of all frames.

    Returns:
        For the id of every such track the id of the better one: of the same class, and with a mask IoU above 0.8, the
        intersections and the unions of all frames taken together.
    """
    best: dict[int, Track] = {}
    for track in tracks:
        best.setdefault(track.track_id, track)
    candidates = list(best.values())
    intersections, unions = volumes(candidates)
    kept: list[int] = []
    duplicates: dict[int, int] = {}
    for place, track in enumerate(candidates):
        for other in kept:
            is_same_class = candidates[other].label_id == track.label_id
            if is_same_class and intersections[other, place] > DUPLICATE_IOU * unions[other, place]:
                duplicates[track.track_id] = candidates[other].track_id
                break
        else:
            kept.append(place)
    return duplicates


def volumes(tracks: Sequence[Track]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels of intersection and of union of every pair of the n tracks of one class, over all frames: (n, n) each.

    Pairs of different classes have zeros.
    """
    intersections, areas = np.zeros((len(tracks), len(tracks))), np.zeros(len(tracks))
    num_frames = len(tracks[0].segmentations or []) if tracks else 0
    for frame in range(num_frames):
        visible = [place for place, track in enumerate(tracks) if (track.segmentations or [])[frame] is not None]
        if not visible:
            continue
        rles = [(tracks[place].segmentations or [])[frame] for place in visible]
        frame_areas = dict(zip(visible, coco_mask.area(rles).astype(float), strict=True))
        for place, area in frame_areas.items():
            areas[place] += area
        for first, second in combinations(range(len(visible)), 2):
            pair = visible[first], visible[second]
            if tracks[pair[0]].label_id != tracks[pair[1]].label_id or not boxes_overlap(tracks, pair, frame):
                continue
            iou = coco_mask.iou([rles[first]], [rles[second]], [0])[0, 0]
            intersections[pair] += iou / (1 + iou) * (frame_areas[pair[0]] + frame_areas[pair[1]])
    return intersections, areas[:, None] + areas[None] - intersections


def boxes_overlap(tracks: Sequence[Track], pair: tuple[int, int], frame: int) -> bool:
    """Whether the boxes of two tracks share pixels in a frame; True if a track has no boxes."""
    first, second = ((tracks[place].boxes or {frame: None})[frame] for place in pair)
    if first is None or second is None:
        return True
    return all(max(first[axis], second[axis]) < min(first[axis + 2], second[axis + 2]) for axis in (0, 1))

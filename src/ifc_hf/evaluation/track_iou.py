"""IoU of tracks over space and time."""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from ..data.records import TrackRecord
from ..model.rle import IntArray, Rle
from .settings import FloatArray


def track_ious(predictions: Sequence[TrackRecord], ground_truth: Sequence[TrackRecord]) -> FloatArray:
    """IoU of every predicted track with every annotated one: summed intersections over summed unions of the frames.

    A frame that only one side has adds its area to the union; frames beyond the shorter track count on neither side,
    and so do frames whose masks differ in size.

    All pairs of a frame go to pycocotools in one call, which decodes each mask once and skips pairs whose boxes don't
    touch; the official evaluator merges two masks twice for every pair. The sums are whole numbers, so the results are
    the same to the last bit. Takes O(D G) memory beside the tracks, and time O(L D G runs).

    Args:
        predictions: D tracks of one video.
        ground_truth: G tracks of the same video.

    Returns:
        (D, G) in [0, 1]; 0 where the union is empty.
    """
    num_frames = max((len(track.segmentations) for track in (*predictions, *ground_truth)), default=0)
    areas, is_listed = _areas_per_frame(predictions, num_frames)
    other_areas, other_is_listed = _areas_per_frame(ground_truth, num_frames)
    both_areas = areas @ other_is_listed.T + is_listed @ other_areas.T  # (D, G)
    intersection = np.zeros_like(both_areas)
    has_one_size = _have_one_size((*predictions, *ground_truth))
    for frame in range(num_frames):
        rows, columns = _present(predictions, frame), _present(ground_truth, frame)
        if not rows or not columns:
            continue
        masks = [predictions[row].segmentations[frame] for row in rows]
        others = [ground_truth[column].segmentations[frame] for column in columns]
        mask_areas = areas[rows, frame][:, None]
        # For crowds pycocotools divides by the first mask's area alone, so this area gives the intersection back.
        covered = np.rint(coco_mask.iou(masks, others, [1] * len(others)) * mask_areas).astype(np.int64)
        pairs = np.ix_(rows, columns)
        if has_one_size:
            intersection[pairs] += covered
            continue
        same_size = (_sizes_hw(masks)[:, None] == _sizes_hw(others)).all(axis=-1)
        intersection[pairs] += np.where(same_size, covered, 0)
        both_areas[pairs] -= np.where(same_size, 0, mask_areas + other_areas[columns, frame])
    union = both_areas - intersection
    ious: FloatArray = np.divide(intersection, union, out=np.zeros(union.shape), where=union > 0)
    return ious


def _areas_per_frame(tracks: Sequence[TrackRecord], num_frames: int) -> tuple[IntArray, IntArray]:
    """(N, L) areas, and (N, L) 1 where a track's list reaches the frame."""
    areas = np.zeros((len(tracks), num_frames), dtype=np.int64)
    is_listed = np.zeros_like(areas)
    for row, track in enumerate(tracks):
        areas[row, : len(track.mask_areas)] = track.mask_areas
        is_listed[row, : len(track.mask_areas)] = 1
    return areas, is_listed


def _present(tracks: Sequence[TrackRecord], frame: int) -> list[int]:
    return [
        i
        for i, track in enumerate(tracks)
        if frame < len(track.segmentations) and track.segmentations[frame] is not None
    ]


def _have_one_size(tracks: Sequence[TrackRecord]) -> bool:
    """Whether all masks are of one size, as they should be."""
    sizes = [rle["size"] for track in tracks for rle in track.segmentations if rle is not None]
    return not sizes or sizes.count(sizes[0]) == len(sizes)


def _sizes_hw(rles: Sequence[Rle | None]) -> IntArray:
    """(N, 2) in pixels."""
    return np.array([rle["size"] for rle in rles if rle is not None], dtype=np.int64)

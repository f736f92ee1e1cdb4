"""IoU of tracks over space and time."""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from .rle import IntArray
from .settings import FloatArray
from .track_reader import Track


def track_ious(predictions: Sequence[Track], ground_truth: Sequence[Track]) -> FloatArray:
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
    num_frames = max((len(track.rles) for track in (*predictions, *ground_truth)), default=0)
    intersection = np.zeros((len(predictions), len(ground_truth)), dtype=np.int64)
    not_counted = np.zeros_like(intersection)
    for frame in range(num_frames):
        rows = _present(predictions, frame)
        columns = _present(ground_truth, frame)
        if not rows or not columns:
            continue
        masks = [predictions[row].rles[frame] for row in rows]
        others = [ground_truth[column].rles[frame] for column in columns]
        areas = np.array([predictions[row].areas[frame] for row in rows])
        # For crowds pycocotools divides by the first mask's area alone, so this area gives the intersection back.
        covered = coco_mask.iou(masks, others, [1] * len(others)) * areas[:, None]
        pairs = np.ix_(rows, columns)
        same_size = _sizes(masks)[:, None] == _sizes(others)[None, :]
        intersection[pairs] += np.where(same_size, np.rint(covered).astype(np.int64), 0)
        if not same_size.all():
            other_areas = np.array([ground_truth[column].areas[frame] for column in columns])
            not_counted[pairs] += np.where(same_size, 0, areas[:, None] + other_areas[None, :])
    union = _paired_areas(predictions, ground_truth, num_frames) - intersection - not_counted
    ious: FloatArray = np.divide(intersection, union, out=np.zeros(union.shape), where=union > 0)
    return ious


def _present(tracks: Sequence[Track], frame: int) -> list[int]:
    return [i for i, track in enumerate(tracks) if frame < len(track.rles) and track.rles[frame] is not None]


def _sizes(rles: Sequence[dict[str, object] | None]) -> IntArray:
    """(N,) one number per mask size."""
    sizes = np.array([rle["size"] for rle in rles if rle is not None], dtype=np.int64)
    combined: IntArray = (sizes[:, 0] << 32) + sizes[:, 1]
    return combined


def _paired_areas(predictions: Sequence[Track], ground_truth: Sequence[Track], num_frames: int) -> IntArray:
    """(D, G) area of both tracks, summed over the frames that both lists reach."""
    first, second = _cumulated_areas(predictions, num_frames), _cumulated_areas(ground_truth, num_frames)
    lengths = np.array([len(track.rles) for track in predictions], dtype=np.int64)
    other_lengths = np.array([len(track.rles) for track in ground_truth], dtype=np.int64)
    shared = np.minimum(lengths[:, None], other_lengths[None, :])
    rows, columns = np.arange(len(predictions))[:, None], np.arange(len(ground_truth))[None, :]
    both: IntArray = first[rows, shared] + second[columns, shared]
    return both


def _cumulated_areas(tracks: Sequence[Track], num_frames: int) -> IntArray:
    """(N, L + 1) area of the first 0, 1, ..., L frames."""
    sums = np.zeros((len(tracks), num_frames + 1), dtype=np.int64)
    for row, track in enumerate(tracks):
        sums[row, 1 : len(track.areas) + 1] = np.cumsum(track.areas)
    return sums

"""Which predicted track counts as which annotated one, in one video and category."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..data.records import TrackRecord
from ..model.rle import IntArray
from .settings import EvaluationSettings, FloatArray

BoolArray: TypeAlias = npt.NDArray[np.bool_]

# An IoU of 1 may fall short of a threshold of 1 by rounding. Source: the official evaluator.
HIGHEST_THRESHOLD = 1 - 1e-10


@dataclass(frozen=True)
class MatchRecord:
    """All that the score needs of one video and category: about 2 A T D bytes. A areas, T thresholds, D detections.

    Attributes:
        scores: (D,) of the best detections, descending.
        is_matched: (A, T, D).
        is_ignored: (A, T, D), such detections count neither as right nor as wrong.
        num_positives: (A,) annotated tracks that count.
        num_ground_truth: All annotated tracks but crowds.
        num_crowd: Crowds.
        num_predictions: All predictions.
    """

    scores: FloatArray
    is_matched: BoolArray
    is_ignored: BoolArray
    num_positives: IntArray
    num_ground_truth: int
    num_crowd: int
    num_predictions: int


def best_predictions(predictions: Sequence[TrackRecord], settings: EvaluationSettings) -> list[TrackRecord]:
    """The highest scores in descending order, at most the largest of `max_detections`; ties keep their order."""
    return sorted(predictions, key=lambda track: -track.score)[: settings.max_detections[-1]]


def match_tracks(
    predictions: Sequence[TrackRecord],
    ground_truth: Sequence[TrackRecord],
    ious: FloatArray,
    settings: EvaluationSettings,
) -> MatchRecord:
    """Matches greedily, by descending score, for all area ranges and thresholds at once.

    A detection takes the free annotated track with the highest IoU, at equal IoU the later one; a crowd stays free.
    Tracks that count come before ignored ones (crowds, areas out of range), whatever the IoU.

    Args:
        predictions: All of one video and category, in file order.
        ground_truth: G annotated tracks of the same.
        ious: (D, G) of `best_predictions(predictions)` and `ground_truth`.
        settings: Thresholds and ranges.

    Source: the rules of the official evaluator (youtubevos/cocoapi). Deviation: none, its treatment of an annotation
    with id 0 included: who matches it counts as unmatched.
    """
    detections = best_predictions(predictions, settings)
    is_crowd = np.array([track.is_crowd for track in ground_truth], dtype=bool)
    has_id = np.array([track.id != 0 for track in ground_truth], dtype=bool)
    truth_ignored = is_crowd | _out_of_range(ground_truth, settings)  # (A, G)
    thresholds = np.minimum(settings.iou_thresholds, HIGHEST_THRESHOLD)

    num_areas, num_thresholds = len(settings.area_ranges), len(thresholds)
    is_taken = np.zeros((num_areas, num_thresholds, len(ground_truth)), dtype=bool)
    is_matched = np.zeros((num_areas, num_thresholds, len(detections)), dtype=bool)
    is_ignored = np.zeros_like(is_matched)
    for index in np.flatnonzero((ious >= thresholds.min()).any(axis=1)):
        candidates = (is_crowd | ~is_taken) & (ious[index] >= thresholds[:, None])  # (A, T, G)
        counting = candidates & ~truth_ignored[:, None, :]
        candidates = np.where(counting.any(axis=-1, keepdims=True), counting, candidates)
        # argmax takes the first of equals; seen from the end that is the later track.
        backwards = np.where(candidates, ious[index], -1.0)[..., ::-1]
        best = len(ground_truth) - 1 - backwards.argmax(axis=-1)  # (A, T)
        area, threshold = np.nonzero(candidates.any(axis=-1))
        chosen = best[area, threshold]
        is_taken[area, threshold, chosen] = True
        is_matched[area, threshold, index] = has_id[chosen]
        is_ignored[area, threshold, index] = truth_ignored[area, chosen]
    is_ignored |= ~is_matched & _out_of_range(detections, settings)[:, None, :]
    return MatchRecord(
        scores=np.array([track.score for track in detections], dtype=np.float64),
        is_matched=is_matched,
        is_ignored=is_ignored,
        num_positives=(~truth_ignored).sum(axis=1),
        num_ground_truth=int((~is_crowd).sum()),
        num_crowd=int(is_crowd.sum()),
        num_predictions=len(predictions),
    )


def _out_of_range(tracks: Sequence[TrackRecord], settings: EvaluationSettings) -> BoolArray:
    """(A, N), both ends of a range belong to it."""
    areas = np.array([track.average_area for track in tracks], dtype=np.float64)
    low, high = settings.area_ranges[:, :1], settings.area_ranges[:, 1:]
    outside: BoolArray = (areas < low) | (areas > high)
    return outside

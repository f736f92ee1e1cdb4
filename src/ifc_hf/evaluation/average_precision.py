"""From match records to precision, recall and the twelve numbers."""

from collections.abc import Sequence

import numpy as np

from .settings import EvaluationSettings, FloatArray, Scores
from .track_matching import MatchRecord

# The first number is always that of 100 detections. Source: the official evaluator.
AP_MAX_DETECTIONS = 100


def accumulate(
    records: Sequence[Sequence[MatchRecord]], settings: EvaluationSettings
) -> tuple[FloatArray, FloatArray]:
    """Precision at the recall thresholds, and the final recall.

    Args:
        records: For each of K categories its videos' records, by ascending video id.
        settings: T IoU thresholds, R recall thresholds, A area ranges, M limits.

    Returns:
        Precision (T, R, K, A, M) and recall (T, K, A, M); -1 where no annotated track counts.
    """
    num_thresholds, num_recalls = len(settings.iou_thresholds), len(settings.recall_thresholds)
    shape = (len(records), len(settings.area_ranges), len(settings.max_detections))
    precision = np.full((num_thresholds, num_recalls, *shape), -1.0)
    recall = np.full((num_thresholds, *shape), -1.0)
    for category, videos in enumerate(records):
        num_positives = np.sum([video.num_positives for video in videos], axis=0) if videos else np.zeros(shape[1])
        for limit_index, limit in enumerate(settings.max_detections):
            for area in np.flatnonzero(num_positives):
                curves = _sample_curve(videos, int(area), limit, int(num_positives[area]), settings)
                precision[:, :, category, area, limit_index], recall[:, category, area, limit_index] = curves
    return precision, recall


def _sample_curve(
    videos: Sequence[MatchRecord], area: int, limit: int, num_positives: int, settings: EvaluationSettings
) -> tuple[FloatArray, FloatArray]:
    """Precision (T, R) and recall (T,) of one category, area range and limit."""
    order = np.argsort(-np.concatenate([video.scores[:limit] for video in videos]), kind="stable")
    matched = np.concatenate([video.is_matched[area, :, :limit] for video in videos], axis=1)[:, order]
    counted = ~np.concatenate([video.is_ignored[area, :, :limit] for video in videos], axis=1)[:, order]
    num_true = np.cumsum(matched & counted, axis=1).astype(np.float64)
    num_false = np.cumsum(~matched & counted, axis=1).astype(np.float64)
    recalls = num_true / num_positives
    precisions = num_true / (num_true + num_false + np.spacing(1))
    # The best precision at this recall or a higher one.
    envelope = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
    num_thresholds, num_detections = envelope.shape
    sampled = np.zeros((num_thresholds, len(settings.recall_thresholds)))
    for row in range(num_thresholds):
        reached = np.searchsorted(recalls[row], settings.recall_thresholds, side="left")
        reached = reached[reached < num_detections]
        sampled[row, : len(reached)] = envelope[row, reached]
    final = recalls[:, -1] if num_detections else np.zeros(num_thresholds)
    return sampled, final


def summarize(
    precision: FloatArray, recall: FloatArray, settings: EvaluationSettings, ap_limit: int = AP_MAX_DETECTIONS
) -> dict[str, float]:
    """The twelve numbers, in the official order; -1 where no annotated track counts.

    Args:
        precision: (T, R, K, A, M).
        recall: (T, K, A, M).
        settings: Those of the arrays.
        ap_limit: The limit of detections of the first number, which is -1 if there is no such limit.

    Returns:
        AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl; the numbers after AR are `max_detections`.
    """
    names = {}
    at_limit = np.flatnonzero(np.array(settings.max_detections) == ap_limit)
    names["AP"] = _mean_of_valid(precision[..., 0, at_limit])
    for threshold in (0.5, 0.75):
        rows = settings.iou_thresholds == threshold
        names[f"AP{round(100 * threshold)}"] = _mean_of_valid(precision[rows][..., 0, -1])
    for area, suffix in enumerate("sml", start=1):
        names[f"AP{suffix}"] = _mean_of_valid(precision[..., area, -1])
    for index, limit in enumerate(settings.max_detections):
        names[f"AR{limit}"] = _mean_of_valid(recall[..., 0, index])
    for area, suffix in enumerate("sml", start=1):
        names[f"AR{suffix}"] = _mean_of_valid(recall[..., area, -1])
    return names


def per_category(
    records: Sequence[Sequence[MatchRecord]],
    categories: Sequence[tuple[int, str]],
    precision: FloatArray,
    recall: FloatArray,
    settings: EvaluationSettings,
) -> list[Scores]:
    """For every category its id, name, counts of tracks and the twelve numbers, AP at the largest limit."""
    largest = settings.max_detections[-1]
    table = []
    for index, (category_id, name) in enumerate(categories):
        videos = records[index]
        table.append(
            {
                "category_id": category_id,
                "name": name,
                "num_gt": sum(video.num_ground_truth for video in videos),
                "num_gt_crowd": sum(video.num_crowd for video in videos),
                "num_dt": sum(video.num_predictions for video in videos),
                **summarize(precision[:, :, index : index + 1], recall[:, index : index + 1], settings, largest),
            }
        )
    return table


def _mean_of_valid(cells: FloatArray) -> float:
    valid = cells[cells > -1]
    return float(np.mean(valid)) if valid.size else -1.0

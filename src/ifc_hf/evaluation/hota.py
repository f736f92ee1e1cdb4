"""HOTA of tracks: how well objects are found and how well they are held together over time, by TrackEval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..data.records import TrackRecord
from ..extras import require
from ..model.rle import IntArray
from .inputs import JsonSource, ScoringReport, read_ground_truth, read_predictions, read_video
from .settings import FloatArray, Scores

FIELDS = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA")


def evaluate_hota(
    ground_truth: JsonSource, predictions: JsonSource, score_threshold: float = 0.3, strict: bool = False
) -> Scores:
    """Higher order tracking accuracy, per category and their mean.

    Args:
        ground_truth: As in `evaluate_ytvis`; crowds are left out, on them HOTA says nothing.
        predictions: As in `evaluate_ytvis`.
        score_threshold: Tracks below are left out: HOTA takes every track as certain, so that many weak ones, which
            cost AP nothing, would hide the rest.
        strict: As in `evaluate_ytvis`.

    Returns:
        HOTA, DetA, AssA, DetRe, DetPr, AssRe, AssPr, LocA in [0, 1], means over IoU thresholds 0.05, ..., 0.95 and
        over the categories that have annotated or predicted tracks; `per_category` with the same of each.

    Raises:
        ImportError: If TrackEval is not installed.
        ValueError: For bad input.

    Source: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2020.
    """
    require("HOTA", "hota", "trackeval")
    from trackeval.metrics import HOTA

    metric = HOTA()
    report = ScoringReport(strict)
    truth = read_ground_truth(ground_truth, report)
    submitted = read_predictions(predictions, truth.videos, truth.name)
    results: dict[int, dict[int, Any]] = {category_id: {} for category_id in sorted(truth.categories)}
    for video_id, video in sorted(truth.videos.items()):
        entries = truth.entries.get(video_id, ()), submitted.entries.get(video_id, ())
        annotated, predicted = read_video(*entries, truth.categories, report)
        for category_id, videos in results.items():
            counted = [track for track in annotated if track.category_id == category_id and not track.is_crowd]
            certain = [t for t in predicted if t.category_id == category_id and t.score >= score_threshold]
            if counted or certain:
                videos[video_id] = metric.eval_sequence(_sequence(counted, certain, video.length or 0))
    report.warn()
    combined = {key: metric.combine_sequences(videos) for key, videos in results.items() if videos}
    table = [{"category_id": key, "name": truth.categories[key], **_means(result)} for key, result in combined.items()]
    average = metric.combine_classes_class_averaged(combined) if combined else {field: np.zeros(1) for field in FIELDS}
    return {**_means(average), "per_category": table}


def _sequence(ground_truth: Sequence[TrackRecord], predictions: Sequence[TrackRecord], num_frames: int) -> Scores:
    """One video and category in the form that TrackEval's metrics read."""
    frames = [_frame(ground_truth, predictions, frame) for frame in range(num_frames)]
    return {
        "gt_ids": [truth_ids for truth_ids, _, _ in frames],
        "tracker_ids": [track_ids for _, track_ids, _ in frames],
        "similarity_scores": [ious for _, _, ious in frames],
        "num_gt_dets": sum(len(truth_ids) for truth_ids, _, _ in frames),
        "num_tracker_dets": sum(len(track_ids) for _, track_ids, _ in frames),
        "num_gt_ids": len(ground_truth),
        "num_tracker_ids": len(predictions),
    }


def _frame(
    ground_truth: Sequence[TrackRecord], predictions: Sequence[TrackRecord], frame: int
) -> tuple[IntArray, IntArray, FloatArray]:
    """Which tracks have pixels in a frame, (G,) and (D,), and their IoUs (G, D)."""
    truth_ids, track_ids = _present(ground_truth, frame), _present(predictions, frame)
    if not len(truth_ids) or not len(track_ids):
        return truth_ids, track_ids, np.zeros((len(truth_ids), len(track_ids)))
    masks = [ground_truth[i].segmentations[frame] for i in truth_ids]
    others = [predictions[i].segmentations[frame] for i in track_ids]
    # pycocotools marks masks of different sizes with -1.
    ious = np.maximum(coco_mask.iou(masks, others, [0] * len(others)), 0.0)
    return truth_ids, track_ids, ious


def _present(tracks: Sequence[TrackRecord], frame: int) -> IntArray:
    ids = [i for i, track in enumerate(tracks) if frame < len(track.mask_areas) and track.mask_areas[frame] > 0]
    return np.array(ids, dtype=np.int64)


def _means(result: Scores) -> dict[str, float]:
    return {field: float(np.mean(result[field])) for field in FIELDS}

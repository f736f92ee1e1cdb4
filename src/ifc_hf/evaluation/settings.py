"""What a score is computed for: thresholds, numbers of detections, area ranges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
Scores: TypeAlias = dict[str, Any]  # by name: numbers, and arrays such as `precision`

AREA_NAMES = ("all", "small", "medium", "large")
# Average pixels per frame, both ends included. Source: YouTube-VIS; COCO's borders are 32 and 96.
AREA_RANGES = ((0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10))


@dataclass(frozen=True)
class EvaluationSettings:
    """Checked parameters of the YouTube-VIS score. Letters: T IoU thresholds, R recall thresholds, A areas, M limits.

    Attributes:
        iou_thresholds: (T,).
        recall_thresholds: (R,), ascending: where the precision is sampled.
        max_detections: M = 3 ascending numbers of detections per video and category.
        area_ranges: (A, 2) average pixels per frame, A = 4: all, small, medium, large.
        use_categories: Whether tracks are compared within their category only.
    """

    iou_thresholds: FloatArray
    recall_thresholds: FloatArray
    max_detections: tuple[int, ...]
    area_ranges: FloatArray
    use_categories: bool

    @classmethod
    def create(
        cls,
        iou_thresholds: Sequence[float] | None = None,
        recall_thresholds: Sequence[float] | None = None,
        max_detections: Sequence[int] = (1, 10, 100),
        area_ranges: Sequence[Sequence[float]] | Mapping[str, Sequence[float]] | None = None,
        use_categories: bool = True,
    ) -> "EvaluationSettings":
        """Fills in the defaults and checks the rest.

        Args:
            iou_thresholds: None gives 0.5, 0.55, ..., 0.95.
            recall_thresholds: None gives 0, 0.01, ..., 1.
            max_detections: Three positive integers.
            area_ranges: (low, high) for all, small, medium, large, in this order or by name.
            use_categories: False pools all categories.

        Raises:
            ValueError: If a value is out of its range.
        """
        if isinstance(area_ranges, Mapping):
            if set(area_ranges) != set(AREA_NAMES):
                raise ValueError(f"area_ranges: expected the keys {list(AREA_NAMES)}, got {list(area_ranges)}")
            area_ranges = [area_ranges[name] for name in AREA_NAMES]
        # linspace and not multiples of 0.01: ten of those differ in the last bit, and a threshold is compared exactly.
        ious = np.linspace(0.5, 0.95, 10) if iou_thresholds is None else np.asarray(iou_thresholds, np.float64)
        recalls = np.linspace(0, 1, 101) if recall_thresholds is None else np.asarray(recall_thresholds, np.float64)
        ranges = np.asarray(AREA_RANGES if area_ranges is None else area_ranges, np.float64)
        limits = tuple(sorted(max_detections))
        if ious.ndim != 1 or not ious.size or not ((ious > 0) & (ious <= 1)).all():
            raise ValueError(f"iou_thresholds: expected numbers in (0, 1], got {iou_thresholds}")
        if recalls.ndim != 1 or not recalls.size or not (np.diff(recalls) > 0).all() or recalls[0] < 0:
            raise ValueError(f"recall_thresholds: expected ascending numbers from 0 on, got {recall_thresholds}")
        if len(limits) != 3 or not all(type(limit) is int and limit > 0 for limit in limits):
            raise ValueError(f"max_detections: expected three positive integers, got {max_detections}")
        if ranges.shape != (len(AREA_NAMES), 2) or not (ranges[:, 0] <= ranges[:, 1]).all():
            raise ValueError(f"area_ranges: expected (low, high) for {', '.join(AREA_NAMES)}, got {area_ranges}")
        return cls(ious, recalls, limits, ranges, use_categories)

"""Scores: YouTube-VIS track AP, COCO mask AP, HOTA."""

from typing import TYPE_CHECKING, Any

from ..extras import require
from .coco_map import evaluate_coco
from .hota import evaluate_hota
from .settings import EvaluationSettings
from .ytvis_map import YtvisAccumulator, evaluate_ytvis

if TYPE_CHECKING:
    from .metric import YtvisMap

__all__ = ["EvaluationSettings", "YtvisAccumulator", "YtvisMap", "evaluate_coco", "evaluate_hota", "evaluate_ytvis"]


def __getattr__(name: str) -> Any:
    """Imports the metric when it is first used: the library `evaluate` takes seconds to import."""
    if name != "YtvisMap":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require(name, "eval", "evaluate", "datasets")
    from .metric import YtvisMap

    return YtvisMap

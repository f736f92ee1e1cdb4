"""Data sets: YouTube-VIS, OVIS and COCO readers, converters, checks and training clips."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..extras import require

if TYPE_CHECKING:
    from .coco import load_coco
    from .ytvis import load_ytvis

# Imported at first use: `datasets` takes seconds, and checks and converters do without it.
MODULE_OF = {"load_coco": "coco", "load_ytvis": "ytvis"}
__all__ = ["load_coco", "load_ytvis"]


def __getattr__(name: str) -> Any:
    """Imports the module of a public name when the name is first used."""
    if name not in MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require(name, "train", "datasets")
    return getattr(import_module(f".{MODULE_OF[name]}", __name__), name)

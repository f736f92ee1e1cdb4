"""One annotation of a YouTube-VIS file: an object with its mask, box and area on every frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from ..model.rle import SegmentationError, checked_polygons, compress_segmentation, rle_area, rle_box_xywh
from .problems import Problem

BOX_TOLERANCE_PIXELS = 2.0  # polygons are annotated between pixels: their boxes differ from the mask's by about one


def read_track(
    annotation: Mapping[str, Any], video: Mapping[str, Any], labels: Mapping[int, int], file: str, where: str
) -> tuple[dict[str, Any] | None, list[Problem]]:
    """Read and check one track.

    Args:
        annotation: `id, category_id, iscrowd, segmentations` and, optionally, `bboxes` (xywh) and `areas`: those are
            computed from the masks where the file has none.
        video: Row of its video: `width, height, length`.
        labels: Label index of every category id.
        file: The file's name, for messages.
        where: The video, for messages.

    Returns:
        The track (`id, category, category_id, iscrowd, segmentations, bboxes, areas`; None on the frames where the
        object is absent; `polygons` as the file has them, None on the frames where it has an RLE) and its problems.
        The track is None if one of them is fatal.
    """
    problems: list[Problem] = []

    def report(kind: str, message: str, frame: int | None = None, fatal: bool = True) -> None:
        problems.append(Problem(kind, message, file, where, annotation["id"], frame, fatal))

    category_id, is_crowd = annotation.get("category_id"), annotation.get("iscrowd", 0)
    if not is_id(category_id) or category_id not in labels:
        report("unknown category", f"category_id is {category_id!r}, the categories have {_shorten(labels)}")
    if is_crowd not in (0, 1):
        report("bad annotation", f"iscrowd: expected 0 or 1, got {is_crowd!r}")
    columns: dict[str, list[Any]] = {}
    for name in ("segmentations", "bboxes", "areas"):
        values = annotation.get(name, [...] * video["length"] if name != "segmentations" else None)
        if not isinstance(values, list):
            report("None in the wrong place" if values is None else "bad annotation", f"{name}: expected a list with "
                   f"one entry per frame, got {type(values).__name__}")  # fmt: skip
        elif len(values) != video["length"]:
            report("wrong length", f"{name} has {len(values)} entries, {where} has {video['length']} frames")
        columns[name] = values
    if problems:
        return None, problems
    track: dict[str, list[Any]] = {"segmentations": [], "bboxes": [], "areas": [], "polygons": []}
    for frame, (segmentation, box, area) in enumerate(zip(*columns.values(), strict=True)):
        try:
            rle, box_xywh, area = _read_frame(segmentation, box, area, video["height"], video["width"])
        except SegmentationError as error:
            report(error.kind, str(error), frame)
            continue
        if rle is not None and rle_area(rle) == 0:
            report("empty mask", "the mask has no pixel", frame, fatal=False)
        elif rle is not None and box_xywh is not None and box_is_off(box_xywh, rle):
            report("box off", f"box {box_xywh} (xywh), but the mask spans {rle_box_xywh(rle)}", frame, fatal=False)
        is_polygon = rle is not None and isinstance(segmentation, list)
        polygons = checked_polygons(segmentation, video["height"], video["width"]) if is_polygon else None
        for name, value in zip(track, (rle, box_xywh, area, polygons), strict=True):
            track[name].append(value)
    if not any(problem.fatal for problem in problems) and not any(track["segmentations"]):
        report("empty track", f"track with no mask: all of its {video['length']} segmentations are None")
    if any(problem.fatal for problem in problems):
        return None, problems
    head = {"id": annotation["id"], "category_id": category_id, "iscrowd": is_crowd}
    return {**head, "category": labels[annotation["category_id"]], **track}, problems


def _read_frame(
    segmentation: Any, box_xywh: Any, area: Any, height: int, width: int
) -> tuple[dict[str, Any] | None, list[float] | None, float | None]:
    """Mask, box xywh and area of one frame; `...` stands for a box or area that the file doesn't have."""
    if segmentation is None:
        if box_xywh not in (None, ...):
            message = f"the segmentation is None, but the box is {box_xywh!r}: expected both or neither"
            raise SegmentationError("None in the wrong place", message)
        return None, None, None
    if box_xywh is None:
        message = "the box is None, but there is a segmentation: expected both or neither"
        raise SegmentationError("None in the wrong place", message)
    rle = compress_segmentation(segmentation, height, width)
    box_xywh = rle_box_xywh(rle) if box_xywh is ... else check_box_xywh(box_xywh)
    is_number = isinstance(area, int | float) and not isinstance(area, bool)
    return rle, box_xywh, float(area) if is_number and area >= 0 else rle_area(rle)


def check_box_xywh(box_xywh: Any) -> list[float]:
    """Return a box as four finite floats.

    Raises:
        SegmentationError: "bad box".
    """
    numbers = box_xywh if isinstance(box_xywh, list) else []
    if len(numbers) != 4 or not all(isinstance(value, int | float) for value in numbers):
        raise SegmentationError("bad box", f"expected a box [x, y, width, height] in pixels, got {box_xywh!r}")
    if not all(math.isfinite(value) for value in numbers):
        raise SegmentationError("bad box", f"box has a NaN or infinite number: {box_xywh}")
    if numbers[2] < 0 or numbers[3] < 0:
        raise SegmentationError("bad box", f"box has a negative width or height: {box_xywh}")
    return [float(value) for value in numbers]


def box_is_off(box_xywh: list[float], rle: Mapping[str, Any]) -> bool:
    """Whether a side of the box lies more than `BOX_TOLERANCE_PIXELS` from the mask's own box."""
    mask_box = rle_box_xywh(rle)
    sides = np.array(box_xywh) + [0, 0, *box_xywh[:2]]
    mask_sides = np.array(mask_box) + [0, 0, *mask_box[:2]]
    return bool(np.abs(sides - mask_sides).max() > BOX_TOLERANCE_PIXELS)


def _shorten(labels: Mapping[int, int]) -> str:
    ids = list(labels)
    return f"ids {ids}" if len(ids) <= 6 else f"{len(ids)} ids from {min(ids)} to {max(ids)}"


def is_id(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer; True is none."""
    return isinstance(value, int) and not isinstance(value, bool)

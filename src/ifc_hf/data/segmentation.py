"""Masks and boxes of annotation files: checked, and turned into compressed RLE without decoding them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..model.masks import checked_polygon, rle_size_hw, run_lengths

BOX_TOLERANCE_PIXELS = 2.0  # polygons are annotated between pixels: their boxes differ from the mask's by about one


class SegmentationError(ValueError):
    """A mask, box or area that can't be used.

    Attributes:
        kind: Short name to count by.
    """

    def __init__(self, kind: str, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.kind = kind


def compress_segmentation(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Turn an RLE (compressed or not) or polygons into compressed RLE, without making a mask of it.

    Args:
        segmentation: RLE dict, polygon or list of polygons in pixels.
        height: H of the frame in pixels.
        width: W of the frame in pixels.

    Returns:
        `{"size": [H, W], "counts": str}`.

    Raises:
        SegmentationError: "bad RLE", "wrong RLE size" or "invalid polygon".
    """
    if isinstance(segmentation, Mapping):
        return compress_rle(segmentation, height, width)
    merged = coco_mask.merge(coco_mask.frPyObjects(read_polygons(segmentation, height, width), height, width))
    return {"size": [height, width], "counts": merged["counts"].decode("ascii")}


def read_polygons(segmentation: Any, height: int, width: int) -> list[list[float]]:
    """Check one polygon or a list of them.

    Returns:
        The polygons `[x0, y0, x1, y1, ...]` in pixels.

    Raises:
        SegmentationError: "invalid polygon".
    """
    if not isinstance(segmentation, list) or not segmentation:
        what = "an empty list" if segmentation == [] else type(segmentation).__name__
        raise SegmentationError("invalid polygon", f"expected an RLE or polygons, got {what}")
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    try:
        return [checked_polygon(polygon, height, width) for polygon in polygons]
    except ValueError as error:
        raise SegmentationError("invalid polygon", str(error)) from error


def compress_rle(rle: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    """Check an RLE against its frame and compress its counts where they are a list.

    Raises:
        SegmentationError: "bad RLE" or "wrong RLE size".
    """
    try:
        size = rle_size_hw(rle)
        runs = run_lengths(rle["counts"])
    except (ValueError, TypeError, OverflowError) as error:
        raise SegmentationError("bad RLE", str(error)) from error
    if size != (height, width):
        message = f"RLE is {size[0]}x{size[1]} (height x width), the frame is {height}x{width}"
        raise SegmentationError("wrong RLE size", message)
    if (runs < 0).any() or int(runs.sum()) != height * width:
        message = f"RLE counts sum to {int(runs.sum())}, expected {height * width} ({height}*{width}), none negative"
        raise SegmentationError("bad RLE", message)
    counts = rle["counts"]
    if not isinstance(counts, str | bytes):
        uncompressed = {"size": [height, width], "counts": runs.tolist()}
        counts = coco_mask.frPyObjects(uncompressed, height, width)["counts"]
    return {"size": [height, width], "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


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
    mask_box = box_of_rle(rle)
    sides = np.array(box_xywh) + [0, 0, *box_xywh[:2]]
    mask_sides = np.array(mask_box) + [0, 0, *mask_box[:2]]
    return bool(np.abs(sides - mask_sides).max() > BOX_TOLERANCE_PIXELS)


def box_of_rle(rle: Mapping[str, Any]) -> list[float]:
    """Tight box xywh of a compressed RLE, in pixels."""
    return [float(value) for value in coco_mask.toBbox(dict(rle))]


def area_of_rle(rle: Mapping[str, Any]) -> float:
    """Number of foreground pixels of a compressed RLE."""
    return float(coco_mask.area(dict(rle)))

"""Run-length encoded masks of a track: brought into one form, checked and measured together."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from ..model.masks import decode_segmentation, decompress_counts, rle_size_hw

Rle: TypeAlias = dict[str, Any]  # {"size": [H, W], "counts": str or bytes}, compressed
IntArray: TypeAlias = npt.NDArray[np.int64]


def compress_segmentation(segmentation: Any, height: int | None, width: int | None) -> Rle | None:
    """One frame's segmentation as compressed RLE.

    Args:
        segmentation: None or [] (the object is absent), RLE with its counts as a string or as a list, or polygons.
        height: Frame height in pixels, needed for polygons.
        width: Frame width in pixels, likewise.

    Returns:
        The RLE, its string not yet checked (`rle_areas` does that), or None.

    Raises:
        ValueError: If it is none of these, or its size or list of counts is wrong.
    """
    rle: Rle
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, list):
        if height is None or width is None:
            raise ValueError("polygons need the height and width of the video")
        rle = coco_mask.encode(np.asfortranarray(decode_segmentation(segmentation, height, width), np.uint8))
        return rle
    if not isinstance(segmentation, Mapping) or "size" not in segmentation or "counts" not in segmentation:
        raise ValueError(f"expected None, an RLE {{'size', 'counts'}} or polygons, got {str(segmentation)[:60]}")
    size = list(rle_size_hw(segmentation))
    counts = segmentation["counts"]
    if isinstance(counts, str | bytes):
        return {"size": size, "counts": counts}
    if not isinstance(counts, list):
        raise ValueError(f"RLE counts: expected a string or a list of integers, got {type(counts).__name__}")
    if not all(type(run) is int and run >= 0 for run in counts):
        raise ValueError("RLE counts: expected run lengths, integers of 0 or more")
    _check_total(sum(counts), *size)
    rle = coco_mask.frPyObjects({"size": size, "counts": counts}, *size)
    return rle


def rle_areas(rles: Sequence[Rle]) -> IntArray:
    """Areas in pixels of compressed RLEs, which are checked on the way: pycocotools reads past the end of bad ones.

    Args:
        rles: N of them, of any sizes.

    Returns:
        (N,) int64.

    Raises:
        ValueError: If a string isn't valid or its runs don't fill the mask.
    """
    runs = decompress_counts([rle["counts"] for rle in rles])
    for rle, total in zip(rles, runs.sum(axis=1).tolist(), strict=True):
        _check_total(total, *rle["size"])
    if runs.size and runs.min() < 0:
        raise ValueError("RLE counts hold a negative run length")
    areas: IntArray = runs[:, 1::2].sum(axis=1)
    return areas


def _check_total(num_pixels: int, height: int, width: int) -> None:
    if num_pixels != height * width:
        raise ValueError(f"RLE counts sum to {num_pixels}, the size says {height} x {width} = {height * width} pixels")

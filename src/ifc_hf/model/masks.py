"""Masks as arrays: from and to the formats of COCO and YouTube-VIS, and their boxes.

Letters: N masks, (H, W) mask size in pixels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .limits import check_size_hw
from .rle import (
    Rle,
    check_frame_size,
    check_total,
    checked_polygons,
    encode_binary_masks,
    polygons_as_rle,
    rle_size_hw,
    run_lengths,
)


def encode_rle(mask: np.ndarray | torch.Tensor) -> Rle:
    """Encodes one mask as compressed COCO RLE.

    Args:
        mask: (H, W); bool, or numbers that are all 0 or 1.

    Returns:
        `{"size": [H, W], "counts": str}`.

    Raises:
        ValueError: If the rank is not 2, a size is 0, or a value is neither 0 nor 1.
        ImportError: If pycocotools is not installed.
    """
    array = as_binary_masks(mask, "encode_rle")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"encode_rle: expected a mask (H, W) with pixels, got shape {array.shape}")
    return encode_binary_masks(array[None])[0]


def encode_rles(masks: np.ndarray | torch.Tensor) -> list[Rle]:
    """Encodes masks (N, H, W) as N compressed COCO RLEs, at once; otherwise like `encode_rle`."""
    array = as_binary_masks(masks, "encode_rles")
    if array.ndim != 3 or 0 in array.shape[1:]:
        raise ValueError(f"encode_rles: expected masks (N, H, W) with pixels, got shape {array.shape}")
    return encode_binary_masks(array)


def decode_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """Decodes one RLE, compressed (`counts` a string or bytes) or not (`counts` a list of run lengths).

    Args:
        rle: `{"size": [H, W], "counts": ...}`.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: If a key is missing, the size is not two positive integers, or the runs don't fill H * W pixels.
    """
    height, width = rle_size_hw(rle)
    runs = run_lengths(rle["counts"])
    check_total(int(runs.sum()), height, width)
    mask = np.zeros(height * width, dtype=bool)
    if runs.size > 1:  # an object covers few columns as a rule: what lies before and after it is there already
        last = runs.size - runs.size % 2
        covered = np.repeat(np.arange(1, last) % 2 == 1, runs[1:last])
        mask[runs[0] : runs[0] + covered.size] = covered
    return mask.reshape(width, height).T


def decode_segmentation(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Turns a segmentation of any form that COCO-style files use into a mask.

    Args:
        segmentation: An RLE dict, a list of polygons `[[x0, y0, x1, y1, ...], ...]` (pixels), one such polygon, or a
            mask array or tensor (H, W) of bool or 0/1.
        height: H of the frame in pixels.
        width: W of the frame in pixels.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: If the segmentation is None, of another size, or malformed.
        ImportError: If it is a polygon and pycocotools is not installed.
    """
    if segmentation is None:
        raise ValueError("expected a segmentation, got None (the instance is absent: there is no mask to decode)")
    if isinstance(segmentation, Mapping):
        check_frame_size(rle_size_hw(segmentation), height, width)
        return decode_rle(segmentation)
    if isinstance(segmentation, np.ndarray | torch.Tensor):
        mask = as_binary_masks(segmentation, "mask")
        if mask.shape != (height, width):
            raise ValueError(f"mask has shape {mask.shape}, the frame is {height}x{width}")
        return mask
    if isinstance(segmentation, list | tuple):
        check_size_hw(height, width, "frame size")
        return fill_polygons(checked_polygons(segmentation, height, width), height, width)
    raise ValueError(f"expected an RLE dict, polygons or a mask array, got {type(segmentation).__name__}")


def fill_polygons(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    """Union (H, W) of checked polygons `[x0, y0, x1, y1, ...]`, as pycocotools fills them; empty without any."""
    if not polygons:
        return np.zeros((height, width), dtype=bool)
    return decode_rle(polygons_as_rle(polygons, height, width))


def masks_to_boxes_xyxy(masks: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Tight boxes around masks.

    Args:
        masks: (N, H, W), nonzero = foreground.

    Returns:
        (N, 4) float32 in pixels: x0, y0, x1, y1, the last two one past the last foreground pixel; zeros for an empty
        mask. On the masks' device.

    Raises:
        ValueError: If the rank is not 3.
    """
    masks = torch.as_tensor(masks)
    if masks.ndim != 3:
        raise ValueError(f"masks_to_boxes_xyxy: expected masks (N, H, W), got shape {tuple(masks.shape)}")
    x0, x1 = _foreground_range(masks.any(dim=1))
    y0, y1 = _foreground_range(masks.any(dim=2))
    return torch.stack([x0, y0, x1, y1], dim=1).float()


def as_binary_masks(masks: np.ndarray | torch.Tensor, what: str) -> np.ndarray:
    """Turns masks of bool or 0/1 numbers into a bool array of the same shape.

    Args:
        masks: Any shape.
        what: Names the masks in the error.

    Raises:
        ValueError: If a value is neither 0 nor 1.
    """
    array = masks.detach().cpu().numpy() if isinstance(masks, torch.Tensor) else np.asarray(masks)
    if array.dtype == bool:
        return array
    is_foreground = array == 1
    if not np.all(is_foreground | (array == 0)):
        wrong = array[~is_foreground & (array != 0)].flat[0]
        raise ValueError(f"{what}: expected mask values 0 and 1 only, got {wrong}")
    return is_foreground


def _foreground_range(occupied: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and one past the last True of every row of (N, length); (0, 0) for a row without one."""
    if occupied.shape[1] == 0:
        empty = torch.zeros(len(occupied), dtype=torch.long, device=occupied.device)
        return empty, empty
    flags = occupied.to(torch.uint8)
    first = flags.argmax(dim=1)
    end = occupied.shape[1] - flags.flip(1).argmax(dim=1)
    return first, end * occupied.any(dim=1)

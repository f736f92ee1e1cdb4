"""Masks in the formats of COCO and YouTube-VIS: run-length encoding (RLE), polygons, boxes.

Letters: N masks, (H, W) mask size in pixels. An RLE counts runs of zeros and ones, zeros first, down the columns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

try:
    from pycocotools import mask as coco_mask
except ImportError:  # only encoding and polygons need it
    coco_mask = None

# 12 digits of 5 bits fit an int64 and hold any run of any picture.
MAX_DIGITS = 12


def encode_rle(mask: np.ndarray | torch.Tensor) -> dict[str, Any]:
    """Encode one mask as compressed COCO RLE.

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
    return _encode_batch(array[None])[0]


def encode_rles(masks: np.ndarray | torch.Tensor) -> list[dict[str, Any]]:
    """Encode masks (N, H, W) as N compressed COCO RLEs, at once; otherwise like `encode_rle`."""
    array = as_binary_masks(masks, "encode_rles")
    if array.ndim != 3 or 0 in array.shape[1:]:
        raise ValueError(f"encode_rles: expected masks (N, H, W) with pixels, got shape {array.shape}")
    return _encode_batch(array)


def decode_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """Decode one RLE, compressed (`counts` a string or bytes) or not (`counts` a list of run lengths).

    Args:
        rle: `{"size": [H, W], "counts": ...}`.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: If a key is missing, the size is not two positive integers, or the runs don't fill H * W pixels.
    """
    height, width = rle_size_hw(rle)
    runs = run_lengths(rle["counts"])
    if runs.size and runs.min() < 0:
        raise ValueError(f"RLE of size {height}x{width} has a negative run length: {int(runs.min())}")
    if int(runs.sum()) != height * width:
        raise ValueError(f"RLE counts sum to {int(runs.sum())}, expected {height}*{width} = {height * width} pixels")
    is_foreground = np.arange(runs.size) % 2 == 1
    return np.repeat(is_foreground, runs).reshape(width, height).T


def decode_segmentation(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Turn a segmentation of any form that COCO-style files use into a mask.

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
        rle_height, rle_width = rle_size_hw(segmentation)
        if (rle_height, rle_width) != (height, width):
            raise ValueError(f"RLE is {rle_height}x{rle_width} (height x width), the frame is {height}x{width}")
        return decode_rle(segmentation)
    if isinstance(segmentation, np.ndarray | torch.Tensor):
        mask = as_binary_masks(segmentation, "mask")
        if mask.shape != (height, width):
            raise ValueError(f"mask has shape {mask.shape}, the frame is {height}x{width}")
        return mask
    if isinstance(segmentation, list | tuple):
        return _decode_polygons(segmentation, height, width)
    raise ValueError(f"expected an RLE dict, polygons or a mask array, got {type(segmentation).__name__}")


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
    """Turn masks of bool or 0/1 numbers into a bool array of the same shape.

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


def _encode_batch(masks: np.ndarray) -> list[dict[str, Any]]:
    """Encode (N, H, W) bool masks in one call; pycocotools wants (H, W, N) in column-major order."""
    _require_pycocotools("to encode masks as RLE")
    columns = np.asfortranarray(masks.transpose(1, 2, 0)).view(np.uint8)
    # str, not bytes: results go into JSON.
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")} for rle in coco_mask.encode(columns)]


def _decode_polygons(polygons: Sequence[Any], height: int, width: int) -> np.ndarray:
    """Union (H, W) of filled polygons, as pycocotools fills them."""
    return fill_polygons(checked_polygons(polygons, height, width), height, width)


def fill_polygons(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    """Union (H, W) of filled polygons `[x0, y0, x1, y1, ...]`, as pycocotools fills them; empty without any."""
    _require_pycocotools("to fill polygons")
    if not polygons:
        return np.zeros((height, width), dtype=bool)
    return decode_rle(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))


def checked_polygons(polygons: Sequence[Any], height: int, width: int) -> list[list[float]]:
    """Return one polygon, or a list of them, as a list of flat polygons in pixels.

    Raises:
        ValueError: If there is none, or one is malformed, see `checked_polygon`.
    """
    if len(polygons) and np.isscalar(polygons[0]):
        polygons = [polygons]
    if not len(polygons):
        raise ValueError("expected at least one polygon, got an empty list")
    return [checked_polygon(polygon, height, width) for polygon in polygons]


def checked_polygon(polygon: Any, height: int, width: int) -> list[float]:
    """Return a flat polygon `[x0, y0, x1, y1, ...]` in pixels as floats.

    Raises:
        ValueError: If it isn't flat, has under 3 points, a coordinate that is no number, or one absurdly far outside.
    """
    try:
        points = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"polygon coordinates are not numbers: {error}") from error
    if points.ndim != 1 or points.size % 2:
        raise ValueError(f"expected a flat polygon [x0, y0, x1, y1, ...], got {points.size} numbers, {points.ndim}-D")
    if points.size < 6:
        raise ValueError(f"a polygon needs at least 3 points, got {points.size // 2}")
    if not np.isfinite(points).all():
        raise ValueError("polygon has a NaN or infinite coordinate")
    # pycocotools walks every pixel of the outline, in 32-bit integers: absurd coordinates would crash the process.
    if np.abs(points).max() > 10 * max(height, width):
        raise ValueError(f"polygon coordinate {np.abs(points).max():g} is far outside the {height}x{width} frame")
    return points.tolist()


def rle_size_hw(rle: Mapping[str, Any]) -> tuple[int, int]:
    """Return the (H, W) that an RLE states.

    Raises:
        ValueError: If a key is missing or the size is not two positive integers.
    """
    if "size" not in rle or "counts" not in rle:
        raise ValueError(f"an RLE needs the keys 'size' and 'counts', got {sorted(rle)}")
    size = rle["size"]
    is_pair = isinstance(size, list | tuple | np.ndarray) and len(size) == 2
    # type and not isinstance: True and False are integers too.
    if not is_pair or not all(type(edge) is int or isinstance(edge, np.integer) for edge in size) or min(size) < 1:
        raise ValueError(f"RLE size: expected [height, width] of positive integers, got {size}")
    return int(size[0]), int(size[1])


def run_lengths(counts: str | bytes | Sequence[int]) -> np.ndarray:
    """Run lengths of an RLE's counts, without making a mask of them.

    Args:
        counts: A compressed string or bytes, or the run lengths themselves.

    Returns:
        (runs,) int64: zeros first, then ones, and so on down the columns.

    Raises:
        ValueError: If the counts are neither.
    """
    if isinstance(counts, str | bytes):
        return decompress_counts([counts])[0]
    try:
        return np.asarray(counts, dtype=np.int64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ValueError(f"RLE counts are neither a string nor integers: {error}") from error


def decompress_counts(strings: Sequence[str | bytes]) -> np.ndarray:
    """Run lengths of many compressed counts at once: one string at a time costs more in calls than in work.

    A number is a group of base-32 digits, lowest first, one character each (code - 48); bit 5 says that another digit
    follows, bit 4 of the last digit is the sign. From the fourth run on, a number is the difference to the run two
    places before.

    Args:
        strings: N compressed counts.

    Returns:
        (N, R) int64, R the most runs of a string; the rows of the others end in zeros. Whether the runs are positive
        and fill their mask is not checked.

    Raises:
        ValueError: If a string isn't valid.

    Source: the format of the COCO API (pycocotools).
    """
    # surrogatepass: a character that is no text is then a wrong one like all others beyond ASCII.
    texts = [text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text for text in strings]
    string_end = np.cumsum([len(text) for text in texts])
    digits = np.frombuffer(b"".join(texts), dtype=np.uint8) - np.uint8(48)  # codes below 48 become those above 207
    if digits.size == 0:
        return np.zeros((len(texts), 0), dtype=np.int64)
    is_last = digits < 32
    if digits.max() > 63 or not is_last[string_end - 1].all():
        raise ValueError("RLE counts are not a valid compressed string (a wrong character, or it is cut off)")
    last = np.flatnonzero(is_last)
    num_digits = np.diff(last, prepend=-1)
    if num_digits.max() > MAX_DIGITS:
        raise ValueError(f"RLE counts are not a valid compressed string (a number has more than {MAX_DIGITS} digits)")
    numbers = (digits[last] ^ 16).astype(np.int64) - 16  # the highest digit, from -16 to 15
    longer = np.flatnonzero(num_digits > 1)
    for place in range(1, num_digits.max()):  # ever fewer numbers have another digit
        longer = longer[num_digits[longer] > place]
        numbers[longer] = 32 * numbers[longer] + (digits[last[longer] - place] & 31)

    num_runs = np.diff(np.searchsorted(last, string_end), prepend=0)
    is_run = np.arange(num_runs.max()) < num_runs[:, None]
    runs = np.zeros(is_run.shape, dtype=np.int64)
    runs[is_run] = numbers
    for first in (1, 2):
        np.cumsum(runs[:, first::2], axis=1, out=runs[:, first::2])
    runs *= is_run
    return runs


def _foreground_range(occupied: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and one past the last True of every row of (N, length); (0, 0) for a row without one."""
    if occupied.shape[1] == 0:
        empty = torch.zeros(len(occupied), dtype=torch.long, device=occupied.device)
        return empty, empty
    flags = occupied.to(torch.uint8)
    first = flags.argmax(dim=1)
    end = occupied.shape[1] - flags.flip(1).argmax(dim=1)
    return first, end * occupied.any(dim=1)


def _require_pycocotools(purpose: str) -> None:
    if coco_mask is None:
        raise ImportError(f"pycocotools is needed {purpose}: pip install pycocotools")

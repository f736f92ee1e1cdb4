"""Run-length encoded masks of a whole track: into one form, checked, and measured.

One mask at a time is what `mask_utils_ifc` does; a score reads hundreds of thousands of them, so here the strings of
a track are decoded together in numpy.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from ..mask_utils_ifc import decode_segmentation

Rle: TypeAlias = dict[str, Any]  # {"size": [H, W], "counts": str or bytes}, compressed
IntArray: TypeAlias = npt.NDArray[np.int64]

# 12 digits of 5 bits fill an int64 and hold any run of any picture.
MAX_DIGITS = 12


class RleError(ValueError):
    """A mask of a track that is no valid RLE.

    Args:
        index: Its position in the list that was read.
        reason: What was expected and what came.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


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
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, list):
        if height is None or width is None:
            raise ValueError("polygons need the height and width of the video")
        rle: Rle = coco_mask.encode(np.asfortranarray(decode_segmentation(segmentation, height, width), np.uint8))
        return rle
    if not isinstance(segmentation, Mapping) or "size" not in segmentation or "counts" not in segmentation:
        raise ValueError(f"expected None, an RLE {{'size', 'counts'}} or polygons, got {str(segmentation)[:60]}")
    size, counts = segmentation["size"], segmentation["counts"]
    if not (isinstance(size, Sequence) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)):
        raise ValueError(f"RLE size: expected [height, width], two positive integers, got {size}")
    if isinstance(counts, list):
        return _compress_counts(counts, size[0], size[1])
    if not isinstance(counts, str | bytes):
        raise ValueError(f"RLE counts: expected a string or a list of integers, got {type(counts).__name__}")
    return {"size": size, "counts": counts}


def _compress_counts(counts: list[Any], height: int, width: int) -> Rle:
    if not all(type(run) is int and run >= 0 for run in counts):
        raise ValueError("RLE counts: expected run lengths, integers of 0 or more")
    if sum(counts) != height * width:
        raise ValueError(_wrong_sum(sum(counts), height, width))
    rle: Rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return rle


def _wrong_sum(total: int, height: int, width: int) -> str:
    return f"RLE counts sum to {total}, the size says {height} x {width} = {height * width} pixels"


def rle_areas(rles: Sequence[Rle]) -> IntArray:
    """Areas in pixels of compressed RLEs, which are checked on the way: pycocotools reads past the end of bad ones.

    Args:
        rles: N of them, of any sizes.

    Returns:
        (N,) int64.

    Raises:
        RleError: If a string isn't valid or its runs don't fill the mask.
    """
    if not rles:
        return np.zeros(0, dtype=np.int64)
    runs, position = _decode_strings([rle["counts"] for rle in rles])
    first_run = np.flatnonzero(position == 0)
    totals = np.add.reduceat(runs, first_run)
    pixels = np.array([rle["size"][0] * rle["size"][1] for rle in rles], dtype=np.int64)
    wrong = (totals != pixels) | (np.minimum.reduceat(runs, first_run) < 0)
    if wrong.any():
        index = int(wrong.argmax())
        if totals[index] == pixels[index]:
            raise RleError(index, "RLE counts hold a negative run length")
        raise RleError(index, _wrong_sum(int(totals[index]), *rles[index]["size"]))
    areas: IntArray = np.add.reduceat(np.where(position % 2 == 1, runs, 0), first_run)
    return areas


def _decode_strings(strings: Sequence[str | bytes]) -> tuple[IntArray, IntArray]:
    """Run lengths of compressed counts, one behind the other, and their positions in their strings.

    A number is written in base 32, lowest digit first, one character each (code - 48); 32 marks that more digits
    follow and 16 in the last digit a negative number. From the fourth run on, a number is the difference to the run
    two places before it, so runs are sums over every second number.

    Source: the mask format of the COCO API.
    """
    texts = [text.encode() if isinstance(text, str) else text for text in strings]
    string_end = np.cumsum([len(text) for text in texts])
    empty = np.flatnonzero(np.diff(string_end, prepend=0) == 0)
    if len(empty):
        raise RleError(int(empty[0]), "RLE counts are an empty string")
    codes = np.frombuffer(b"".join(texts), dtype=np.uint8)
    is_last = ((codes - 48) & 32) == 0
    wrong = (codes < 48) | (codes > 48 + 63)
    wrong[string_end - 1] |= ~is_last[string_end - 1]
    if wrong.any():
        index = int(np.searchsorted(string_end, wrong.argmax(), side="right"))
        raise RleError(index, "RLE counts are not a valid string (a wrong character, or the end is missing)")

    number_end = np.flatnonzero(is_last) + 1
    num_digits = np.diff(number_end, prepend=0)
    number_start = number_end - num_digits
    # Where each string's numbers begin and end: as many numbers as last digits before that.
    run_end = np.searchsorted(number_end, string_end, side="right")
    num_runs = np.diff(run_end, prepend=0)
    if num_digits.max() > MAX_DIGITS:
        index = int(np.searchsorted(run_end, num_digits.argmax(), side="right"))
        raise RleError(index, f"RLE counts hold a number of {num_digits.max()} digits")
    runs = np.zeros(len(number_end), dtype=np.int64)
    numbers = np.arange(len(number_end))
    for digit in range(int(num_digits.max())):  # ever fewer numbers have another digit
        numbers = numbers[num_digits[numbers] > digit]
        runs[numbers] += ((codes[number_start[numbers] + digit] - 48) & 31).astype(np.int64) << (5 * digit)
    negative = np.flatnonzero((codes[number_end - 1] - 48) & 16)
    runs[negative] -= np.int64(1) << (5 * num_digits[negative])

    position = np.arange(len(runs)) - np.repeat(run_end - num_runs, num_runs)
    for chain, sizes in (
        (position % 2 == 1, num_runs // 2),
        ((position % 2 == 0) & (position > 0), (num_runs - 1) // 2),
    ):
        runs[chain] = _cumulate_per_group(runs[chain], sizes)
    return runs, position


def _cumulate_per_group(values: IntArray, sizes: IntArray) -> IntArray:
    """Cumulated sums that start anew at every group of consecutive values."""
    sums = np.concatenate([[0], np.cumsum(values)])
    cumulated: IntArray = sums[1:] - np.repeat(sums[np.cumsum(sizes) - sizes], sizes)
    return cumulated

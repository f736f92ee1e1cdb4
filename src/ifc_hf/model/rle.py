"""Run-length encoded masks (RLE) of COCO and YouTube-VIS: the one place that reads, checks, measures and makes them.

An RLE is `{"size": [H, W], "counts": ...}`. Its counts are run lengths of zeros and ones, zeros first, down the
columns: a list of integers, or compressed in a string. Letters: N masks, R runs of all of them.

pycocotools trusts its input: runs that don't fill their mask, and sizes beyond 32 bits, make it read and write past
its buffers. Nothing reaches it from here that wasn't checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .limits import LIMITS, brief, check_count, check_size_hw, is_integer, max_pixels

try:
    from pycocotools import mask as coco_mask
except ImportError:  # only encoding and polygons need it
    coco_mask = None

Rle: TypeAlias = dict[str, Any]  # {"size": [H, W], "counts": str}
IntArray: TypeAlias = npt.NDArray[np.int64]

MAX_DIGITS = 12  # 12 digits of 5 bits fit an int64 and hold any run of any picture
MOST_INT32_PIXELS = 2**28  # of a mask whose runs, and the differences between them, an int32 holds
MAX_COORDINATE = 2.0**28  # pycocotools multiplies coordinates by 5, in 32 bits
CHUNK_CHARACTERS = 2**18  # strings that are decompressed together: their arrays stay in the processor's cache


class SegmentationError(ValueError):
    """A mask, box or area that can't be used.

    Attributes:
        kind: Short name to count by.
        index: Position of the first mask that can't be used, among those that were looked at together.
    """

    def __init__(self, kind: str, message: str, index: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.index = index


def rle_size_hw(rle: Mapping[str, Any]) -> tuple[int, int]:
    """The (H, W) that an RLE states.

    Raises:
        SegmentationError: "bad RLE": a key is missing, or the size is not two positive integers within the limits.
    """
    if not isinstance(rle, Mapping) or "size" not in rle or "counts" not in rle:
        got = sorted(map(str, rle)) if isinstance(rle, Mapping) else type(rle).__name__
        raise SegmentationError("bad RLE", f"an RLE needs the keys 'size' and 'counts', got {brief(got)}")
    size = rle["size"]
    if not isinstance(size, list | tuple | np.ndarray) or len(size) != 2:
        message = f"RLE size: expected [height, width] of positive integers, got {brief(size)}"
        raise SegmentationError("bad RLE", message)
    try:
        return check_size_hw(size[0], size[1], "RLE size")
    except ValueError as error:
        raise SegmentationError("bad RLE", str(error)) from error


def run_lengths(counts: str | bytes | Sequence[int]) -> IntArray:
    """Run lengths of an RLE's counts, without making a mask of them.

    Args:
        counts: A compressed string or bytes, or the run lengths themselves.

    Returns:
        (R,) int64: zeros first, then ones, and so on down the columns; none is negative.

    Raises:
        SegmentationError: "bad RLE": the counts are neither, or a run is negative or beyond the limits.
    """
    if isinstance(counts, str | bytes):
        pairs = decompress_counts([counts])
        runs = np.stack([pairs.zeros, pairs.ones], axis=1).reshape(-1)
        return runs[: int(pairs.num_runs[0])].astype(np.int64)
    if not isinstance(counts, list | tuple | np.ndarray):
        message = f"RLE counts: expected a string or a list of integers, got {type(counts).__name__}"
        raise SegmentationError("bad RLE", message)
    wrong = [run for run in counts if not is_integer(run)] if set(map(type, counts)) - {int} else []
    if wrong:
        message = f"RLE counts are neither a string nor integers: there is {brief(wrong[0])}"
        raise SegmentationError("bad RLE", message)
    _check_number_of_runs(len(counts))
    if len(counts):
        _check_run(min(counts))
        _check_run(max(counts))
    return np.array(counts, dtype=np.int64)


@dataclass(frozen=True)
class RunPairs:
    """Run lengths of N masks in pairs of a run of zeros and the run of ones after it. P pairs of all masks.

    Attributes:
        zeros: (P,) int32, or int64 where the limits allow larger masks.
        ones: (P,) likewise; 0 after the last run where that is one of zeros.
        starts: (N,) first pair of every mask.
        num_pairs: (N,) pairs of every mask.
        num_runs: (N,) runs of every mask.
    """

    zeros: npt.NDArray[np.integer[Any]]
    ones: npt.NDArray[np.integer[Any]]
    starts: IntArray
    num_pairs: IntArray
    num_runs: IntArray


def decompress_counts(strings: Sequence[str | bytes]) -> RunPairs:
    """Run lengths of many compressed counts at once: one string at a time costs more in calls than in work.

    A number is a group of base-32 digits, lowest first, one character each (code - 48); bit 5 says that another digit
    follows, bit 4 of the last digit is the sign. From the fourth run on, a number is the difference to the run two
    places before.

    Args:
        strings: N compressed counts.

    Returns:
        The runs, none of them negative. Whether they fill their mask is not checked.

    Raises:
        SegmentationError: "bad RLE", with the index of the first string that isn't valid.

    Source: the format of the COCO API (pycocotools).
    """
    # surrogatepass: a character that is no text is then a wrong one like all others beyond ASCII.
    texts = [text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text for text in strings]
    string_ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    digits = np.frombuffer(b"".join(texts), dtype=np.uint8) - np.uint8(48)  # codes below 48 become those above 207
    numbers, run_ends = _read_numbers(digits, string_ends)
    num_runs = np.diff(run_ends, prepend=0)
    if len(num_runs):
        _check_number_of_runs(int(num_runs.max()), int(num_runs.argmax()))

    # Every string begins with a new pair: the runs move by the pairs that were left half empty before them.
    num_pairs = (num_runs + 1) // 2
    starts = np.cumsum(num_pairs) - num_pairs
    padded = np.zeros(2 * int(num_pairs.sum()), dtype=numbers.dtype)
    is_run = np.ones(len(padded), dtype=bool)
    is_run[(2 * (starts + num_pairs) - 1)[num_runs % 2 == 1]] = False
    padded[is_run] = numbers
    zeros, ones = padded[0::2].copy(), padded[1::2].copy()
    # Sums of differences, over all strings: each begins without the sum of the one before. They may wrap, and what is
    # left is right all the same: before a run beyond the limits comes one that is at most twice as large.
    firsts = starts[num_pairs > 0]
    if len(firsts):
        first_zeros = zeros[firsts]
        zeros[firsts] = 0  # no other run is given as a difference to the first
        for runs in (zeros, ones):
            runs[firsts[1:]] -= np.add.reduceat(runs, firsts, dtype=runs.dtype)[:-1]
            np.cumsum(runs, dtype=runs.dtype, out=runs)
        zeros[firsts] = first_zeros
    ones[(starts + num_pairs - 1)[num_runs % 2 == 1]] = 0
    for runs in (zeros, ones):
        if len(runs) and (runs.min() < 0 or runs.max() > max_pixels()):
            position = int(((runs < 0) | (runs > max_pixels())).argmax())
            _check_run(int(runs[position]), int(np.searchsorted(starts, position, side="right")) - 1)
    return RunPairs(zeros, ones, starts, num_pairs, num_runs)


def _read_numbers(
    digits: npt.NDArray[np.uint8], string_ends: IntArray
) -> tuple[npt.NDArray[np.integer[Any]], IntArray]:
    """The numbers of compressed counts, and (N,) where those of every string end; each at most the largest mask."""

    def refuse(is_wrong: npt.NDArray[np.bool_], ends: IntArray, reason: str) -> None:
        index = int(np.searchsorted(ends, is_wrong.argmax(), side="right"))
        raise SegmentationError("bad RLE", f"RLE counts are not a valid compressed string ({reason})", index)

    if not len(digits):
        return np.zeros(0, dtype=np.int32), np.zeros(len(string_ends), dtype=np.int64)
    is_last = digits < 32
    if digits.max() > 63:
        refuse(digits > 63, string_ends, "a wrong character, or it is cut off")
    last_digits = string_ends[np.diff(string_ends, prepend=0) > 0] - 1
    if not is_last[last_digits].all():
        is_cut_off = np.zeros(len(digits), dtype=bool)
        is_cut_off[last_digits] = ~is_last[last_digits]
        refuse(is_cut_off, string_ends, "a wrong character, or it is cut off")
    last = np.flatnonzero(is_last)
    run_ends = np.searchsorted(last, string_ends)
    # Nearly all numbers have one or two digits: these are read at every character, without choosing.
    values = ((digits ^ 16) & 31).view(np.int8).astype(np.int16)
    values -= 16  # the highest digit, from -16 to 15
    has_two = is_last[1:] & ~is_last[:-1]
    values[1:] += has_two * (31 * values[1:] + (digits[:-1] & 31))
    numbers: npt.NDArray[np.integer[Any]] = values[last].astype(np.int32)
    longer = np.flatnonzero(has_two[1:] & ~is_last[:-2]) + 2
    if not len(longer):
        return numbers, run_ends
    place = np.searchsorted(last, longer)
    num_digits = longer - last[place - 1]
    num_digits[place == 0] = longer[place == 0] + 1
    most_digits = int(num_digits.max())
    if most_digits > MAX_DIGITS:
        is_wrong = np.zeros(len(numbers), dtype=bool)
        is_wrong[place[num_digits > MAX_DIGITS]] = True
        refuse(is_wrong, run_ends, f"a number has more than {MAX_DIGITS} digits")
    exact = (digits[longer] ^ 16).astype(np.int64) - 16
    for digit in range(1, most_digits):  # ever fewer numbers have another digit
        goes_on = num_digits > digit
        exact[goes_on] = 32 * exact[goes_on] + (digits[longer[goes_on] - digit] & 31)
    if max(-int(exact.min()), int(exact.max())) > max_pixels():
        is_wrong = np.zeros(len(numbers), dtype=bool)
        is_wrong[place[np.abs(exact) > max_pixels()]] = True
        refuse(is_wrong, run_ends, f"a run is beyond the limit of {max_pixels()} pixels")
    if max_pixels() > MOST_INT32_PIXELS:
        numbers = numbers.astype(np.int64)
    numbers[place] = exact
    return numbers, run_ends


@dataclass(frozen=True)
class RleMeasures:
    """Sizes of N masks.

    Attributes:
        areas: (N,) foreground pixels.
        boxes_xywh: (N, 4) tight boxes in pixels, zeros for a mask without a pixel; None if they weren't asked for.
    """

    areas: IntArray
    boxes_xywh: IntArray | None


def measure_rles(rles: Sequence[Mapping[str, Any]], with_boxes: bool = False) -> RleMeasures:
    """Checks compressed RLEs and measures them, all at once and without making masks of them.

    Args:
        rles: N of them, of any sizes; those sizes come from `rle_size_hw` or `as_compressed`.
        with_boxes: Measure the boxes, too.

    Raises:
        SegmentationError: "bad RLE", with the index of the first whose string isn't valid or doesn't fill its size.
    """
    areas = np.zeros(len(rles), dtype=np.int64)
    boxes = np.zeros((len(rles), 4), dtype=np.int64) if with_boxes else None
    ends = np.cumsum([len(rle["counts"]) for rle in rles])
    start = 0
    while start < len(rles):
        reached = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, reached + CHUNK_CHARACTERS, side="right")))
        try:
            _measure(rles[start:stop], areas[start:stop], None if boxes is None else boxes[start:stop])
        except SegmentationError as error:
            raise SegmentationError(error.kind, str(error), start + error.index) from error
        start = stop
    return RleMeasures(areas, boxes)


def _measure(rles: Sequence[Mapping[str, Any]], areas: IntArray, boxes: IntArray | None) -> None:
    """Fill the areas (N,) and boxes (N, 4) of one chunk."""
    sizes = np.array([rle["size"] for rle in rles], dtype=np.int64)
    pairs = decompress_counts([rle["counts"] for rle in rles])
    totals = np.zeros(len(rles), dtype=np.int64)
    is_filled = pairs.num_pairs > 0  # reduceat knows no empty groups
    starts = pairs.starts[is_filled]
    if len(starts):
        areas[is_filled] = np.add.reduceat(pairs.ones, starts, dtype=np.int64)
        totals[is_filled] = np.add.reduceat(pairs.zeros, starts, dtype=np.int64)
    totals += areas
    wrong = np.flatnonzero(totals != sizes[:, 0] * sizes[:, 1])
    if len(wrong):
        height, width = sizes[wrong[0]].tolist()
        check_total(int(totals[wrong[0]]), height, width, int(wrong[0]))
    if boxes is not None and len(rles):
        boxes[:] = _boxes_xywh(pairs, sizes, totals)


def _boxes_xywh(pairs: RunPairs, sizes: IntArray, totals: IntArray) -> npt.NDArray[np.integer[Any]]:
    """Tight boxes (N, 4) of N checked masks; sizes (N, 2) and pixels (N,) are theirs, and each has a pixel."""
    kind = pairs.ones.dtype
    ends = pairs.zeros + pairs.ones
    ends[pairs.starts[1:]] -= totals[:-1].astype(kind)  # every mask counts from 0
    np.cumsum(ends, dtype=kind, out=ends)  # where runs of ones end, down the columns
    heights = sizes[:, 0].astype(kind)
    # One divisor for all is several times as fast as one for each.
    height = heights[0] if (heights == heights[0]).all() else np.repeat(heights, pairs.num_pairs)
    begins, lasts = ends - pairs.ones, ends - 1
    left, right = begins // height, lasts // height
    top, bottom = begins - left * height, lasts - right * height
    several = left < right  # a run over more than one column touches the upper and the lower border
    top[several] = 0
    bottom[several] = (height - 1)[several] if isinstance(height, np.ndarray) else height - 1
    is_none = np.flatnonzero(pairs.ones == 0)
    left[is_none] = top[is_none] = np.iinfo(kind).max
    right[is_none] = bottom[is_none] = -1
    x0, y0 = np.minimum.reduceat(left, pairs.starts), np.minimum.reduceat(top, pairs.starts)
    x1, y1 = np.maximum.reduceat(right, pairs.starts), np.maximum.reduceat(bottom, pairs.starts)
    has_pixel = x1 >= 0
    found = np.stack([x0, y0, x1 - x0 + 1, y1 - y0 + 1], axis=1)
    return np.where(has_pixel[:, None], found, 0)


def rle_area(rle: Mapping[str, Any]) -> float:
    """Foreground pixels of one compressed RLE; otherwise like `measure_rles`."""
    return float(measure_rles([rle]).areas[0])


def rle_box_xywh(rle: Mapping[str, Any]) -> list[float]:
    """Tight box of one compressed RLE in pixels; otherwise like `measure_rles`."""
    boxes = measure_rles([rle], with_boxes=True).boxes_xywh
    assert boxes is not None
    return [float(edge) for edge in boxes[0]]


def as_compressed(segmentation: Any, height: int | None, width: int | None) -> Rle:
    """An RLE (compressed or not) or polygons as compressed RLE, without making a mask of it.

    Args:
        segmentation: RLE dict, polygon or list of polygons in pixels.
        height: H of the frame in pixels, within the limits; polygons need it.
        width: W of the frame in pixels, likewise.

    Returns:
        `{"size": [H, W], "counts": str}`. An RLE keeps its own size, and a string is not checked yet: `measure_rles`
        does that for many at once.

    Raises:
        SegmentationError: "bad RLE" or "invalid polygon".
    """
    if isinstance(segmentation, Mapping):
        size_hw = rle_size_hw(segmentation)
        counts = segmentation["counts"]
        if isinstance(counts, str):
            return {"size": list(size_hw), "counts": counts}
        if isinstance(counts, bytes):
            return {"size": list(size_hw), "counts": counts.decode("latin-1")}
        runs = run_lengths(counts).tolist()
        check_total(sum(runs), *size_hw)
        require_pycocotools("to compress RLE")
        compressed = coco_mask.frPyObjects({"size": list(size_hw), "counts": runs}, *size_hw)
        return {"size": list(size_hw), "counts": compressed["counts"].decode("ascii")}
    if height is None or width is None:
        raise SegmentationError("invalid polygon", "polygons need the height and width of the video")
    return polygons_as_rle(checked_polygons(segmentation, height, width), height, width)


def polygons_as_rle(polygons: list[list[float]], height: int, width: int) -> Rle:
    """The union of one or more checked polygons `[x0, y0, x1, y1, ...]`, as pycocotools fills them."""
    require_pycocotools("to fill polygons")
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return {"size": [height, width], "counts": merged["counts"].decode("ascii")}


def compress_segmentation(segmentation: Any, height: int, width: int) -> Rle:
    """An RLE (compressed or not) or polygons of a frame as compressed RLE, fully checked.

    Args:
        segmentation: RLE dict, polygon or list of polygons in pixels.
        height: H of the frame in pixels.
        width: W of the frame in pixels.

    Returns:
        `{"size": [H, W], "counts": str}`.

    Raises:
        SegmentationError: "bad RLE", "wrong RLE size", "invalid polygon" or "wrong size" (of the frame).
    """
    try:
        height, width = check_size_hw(height, width, "frame size")
    except ValueError as error:
        raise SegmentationError("wrong size", str(error)) from error
    rle = as_compressed(segmentation, height, width)
    check_frame_size(rle["size"], height, width)
    measure_rles([rle])
    return rle


def check_frame_size(size_hw: Sequence[int], height: int, width: int) -> None:
    """Refuses an RLE of another size than its frame.

    Raises:
        SegmentationError: "wrong RLE size".
    """
    if tuple(size_hw) != (height, width):
        message = f"RLE is {size_hw[0]}x{size_hw[1]} (height x width), the frame is {height}x{width}"
        raise SegmentationError("wrong RLE size", message)


def encode_binary_masks(masks: npt.NDArray[np.bool_]) -> list[Rle]:
    """Encodes bool masks (N, H, W), H and W at least 1, as N compressed RLEs, at once."""
    require_pycocotools("to encode masks as RLE")
    columns = np.asfortranarray(masks.transpose(1, 2, 0)).view(np.uint8)  # (H, W, N), as pycocotools wants them
    # str, not bytes: results go into JSON.
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")} for rle in coco_mask.encode(columns)]


def merge_rles(rles: Sequence[Mapping[str, Any]]) -> Rle:
    """The union of checked, compressed RLEs of one size."""
    require_pycocotools("to merge RLE")
    merged = coco_mask.merge([dict(rle) for rle in rles])
    return {"size": list(rles[0]["size"]), "counts": merged["counts"].decode("ascii")}


def checked_polygons(polygons: Any, height: int, width: int) -> list[list[float]]:
    """Flat polygons `[x0, y0, x1, y1, ...]` in pixels, as pycocotools can fill them.

    Args:
        polygons: Several polygons, or one.
        height: H of the frame in pixels.
        width: W of the frame in pixels.

    Raises:
        SegmentationError: "invalid polygon": it isn't flat, has under 3 points, a coordinate that is no number, or
            points absurdly many or far outside.
    """
    if not isinstance(polygons, list | tuple) or not len(polygons):
        what = "an empty list" if polygons == [] else type(polygons).__name__
        raise SegmentationError("invalid polygon", f"expected an RLE or at least one polygon, got {what}")
    if not isinstance(polygons[0], list | tuple | np.ndarray):
        polygons = [polygons]
    arrays = []
    for polygon in polygons:
        is_array = isinstance(polygon, np.ndarray) and polygon.dtype.kind in "iuf"
        if not is_array and not isinstance(polygon, list | tuple):
            raise SegmentationError(
                "invalid polygon", f"expected a polygon, a list of coordinates, got {brief(polygon)}"
            )
        values = [] if is_array else polygon
        wrong = [value for value in values if not isinstance(value, float) and not is_integer(value)]
        if wrong:
            message = f"polygon coordinates are not numbers: expected a flat polygon of numbers, got {brief(wrong[0])}"
            raise SegmentationError("invalid polygon", message)
        try:
            points = np.asarray(polygon, dtype=np.float64)
        except OverflowError as error:
            raise SegmentationError("invalid polygon", f"polygon coordinates are no numbers: {error}") from error
        if points.ndim != 1 or points.size % 2:
            message = f"expected a flat polygon [x0, y0, x1, y1, ...], got {points.size} numbers, {points.ndim}-D"
            raise SegmentationError("invalid polygon", message)
        if points.size < 6:
            message = f"a polygon needs at least 3 points, got {points.size // 2}"
            raise SegmentationError("invalid polygon", message)
        if not np.isfinite(points).all():
            raise SegmentationError("invalid polygon", "polygon has a NaN or infinite coordinate")
        farthest = np.abs(points).max()
        if farthest > min(10 * max(height, width), MAX_COORDINATE):
            message = f"polygon coordinate {farthest:g} is far outside the {height}x{width} frame"
            raise SegmentationError("invalid polygon", message)
        arrays.append(points)
    # pycocotools walks every pixel of the outline and keeps some 80 bytes for each.
    outline = sum(_outline_length(points) for points in arrays)
    if outline > LIMITS.outline:
        message = f"the outlines have {outline:.0f} points and pixels, more than the limit of {LIMITS.outline}"
        raise SegmentationError("invalid polygon", message)
    return [points.tolist() for points in arrays]


def _outline_length(points: npt.NDArray[np.float64]) -> float:
    """Pixels and points along a flat polygon, as pycocotools steps along it."""
    corners = points.reshape(-1, 2)
    steps = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1)
    return float(steps.sum() + len(corners))


def _check_number_of_runs(number: int, index: int = 0) -> None:
    try:
        check_count(number, LIMITS.runs, "RLE runs")
    except ValueError as error:
        raise SegmentationError("bad RLE", str(error), index) from error


def _check_run(run: int, index: int = 0) -> None:
    if run < 0:
        raise SegmentationError("bad RLE", f"RLE counts hold a negative run length: {brief(int(run))}", index)
    if run > max_pixels():
        message = f"RLE counts hold a run of {brief(int(run))} pixels, beyond the limit of {max_pixels()}"
        raise SegmentationError("bad RLE", message, index)


def check_total(num_pixels: int, height: int, width: int, index: int = 0) -> None:
    """Refuses runs that don't fill their mask.

    Raises:
        SegmentationError: "bad RLE".
    """
    if num_pixels != height * width:
        message = f"RLE counts sum to {num_pixels}, expected {height}*{width} = {height * width} pixels"
        raise SegmentationError("bad RLE", message, index)


def require_pycocotools(purpose: str) -> None:
    """Says what to install.

    Raises:
        ImportError: If pycocotools is missing.
    """
    if coco_mask is None:
        raise ImportError(f"pycocotools is needed {purpose}: pip install pycocotools")

"""What RLEs, polygons and sizes may declare: every number is checked before anything is allocated or handed on.

pycocotools ends the process on most of these inputs; the tests would not fail then but vanish.
"""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ifc_hf.model.limits import LIMITS, brief
from ifc_hf.model.masks import decode_rle, decode_segmentation
from ifc_hf.model.rle import as_compressed, compress_segmentation, measure_rles, run_lengths


def compressed_counts(runs: list[int]) -> str:
    """COCO's string of run lengths of any size, made without pycocotools."""
    text = ""
    for index, run in enumerate(runs):
        number = run - runs[index - 2] if index > 2 else run
        while True:
            digit, number = number & 31, number >> 5
            more = number != (-1 if digit & 16 else 0)
            text += chr(digit + 32 * more + 48)
            if not more:
                break
    return text


def test_the_string_is_that_of_pycocotools():
    runs = [0, 70, 1, 5000, 3, 1, 9, 116]
    size = [50, 104]
    assert compressed_counts(runs) == coco_mask.frPyObjects({"size": size, "counts": runs}, *size)["counts"].decode()
    assert run_lengths(compressed_counts(runs)).tolist() == runs


WRAPPING = [
    [2**58] * 63 + [2**58 + 64],  # sums to 64 modulo 2^64
    [2**62, 2**62, 2**62, 2**62 + 64],
    [2**32, 64],
    [2**63 - 1, 2, 63],
    [2**32 + 64],
    [-1, 65],
    [-(2**59), 2**59, 64],
    [0, -64, 0, 128],
]


@pytest.mark.parametrize("runs", WRAPPING, ids=str)
@pytest.mark.parametrize("as_string", [True, False])
@pytest.mark.parametrize(
    "read",
    [
        decode_rle,
        lambda rle: decode_segmentation(rle, 8, 8),
        lambda rle: compress_segmentation(rle, 8, 8),
        lambda rle: measure_rles([{"size": [1, 1], "counts": "1"}, as_compressed(rle, 8, 8)], with_boxes=True),
    ],
)
def test_runs_are_summed_without_wrapping(read, as_string, runs):
    rle = {"size": [8, 8], "counts": compressed_counts(runs) if as_string else runs}
    with pytest.raises(ValueError, match="RLE counts"):
        read(rle)


SIZES = [[2**31, 2], [2, 2**31], [2**32, 8], [65536, 65536], [10**12, 10**12], [2**64 + 8, 8], [2**14, 2**14 + 1]]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("counts", [lambda n: [n], lambda n: [0, n], lambda n: compressed_counts([n])])
def test_sizes_beyond_the_limit_are_refused(counts, size):
    rle = {"size": size, "counts": counts(size[0] * size[1])}
    for read in (
        decode_rle,
        lambda rle: compress_segmentation(rle, *size),
        lambda rle: as_compressed(rle, None, None),
    ):
        with pytest.raises(ValueError, match=r"RLE size: .*limit of 268435456 pixels|frame size: .*limit"):
            read(rle)


@pytest.mark.parametrize("size", [*SIZES, [0, 5], [-3, 5], [5, True], ["5", 5], [5.0, 5], [None, 5]], ids=str)
def test_polygons_in_a_frame_of_no_size_are_refused(size):
    polygon = [[0, 0, 5, 0, 5, 5]]
    for read in (decode_segmentation, compress_segmentation):
        with pytest.raises(ValueError, match="frame size: "):
            read(polygon, *size)


def test_the_limit_can_be_raised_and_lowered(monkeypatch):
    rle = {"size": [20, 20], "counts": [400]}
    assert measure_rles([as_compressed(rle, None, None)]).areas.tolist() == [0]
    monkeypatch.setattr(LIMITS, "pixels", 399)
    with pytest.raises(ValueError, match="20x20 .* limit of 399 pixels"):
        decode_rle(rle)
    monkeypatch.setattr(LIMITS, "pixels", 2**40)  # beyond what pycocotools holds
    with pytest.raises(ValueError, match="limit of 2147483647 pixels"):
        decode_rle({"size": [2**20, 2**20], "counts": [2**40]})


def test_the_number_of_runs_has_a_limit(monkeypatch):
    monkeypatch.setattr(LIMITS, "runs", 3)
    for counts in ([1, 1, 1, 1], compressed_counts([1, 1, 1, 1])):
        with pytest.raises(ValueError, match="RLE runs: 4 of them, more than the limit of 3"):
            decode_rle({"size": [2, 2], "counts": counts})


@pytest.mark.parametrize(
    ("polygon", "size"),
    [
        ([0, 0, 1e9, 0, 1e9, 1e9], (10**4, 10**4)),
        ([3e8, 0, 3e8, 1, 3e8 + 1, 1], (1, 2**28)),
        ([0, 0, 2**28, 0, 2**28, 1], (1, 2**28)),
        ([0, 0, 9, 0, 9, 9] * 400_000, (16, 16)),
        ([0, 0, 1e308, 0, 5, 1e308], (16, 16)),
        ([0, 0, 10**400, 0, 5, 5], (16, 16)),
        (["0", "0", "5", "0", "5", "5"], (16, 16)),
        ([True, 0, 5, 0, 5, 5], (16, 16)),
        ([None, 0, 5, 0, 5, 5], (16, 16)),
        ([[0, 0], [5, 0], [5, 5]], (16, 16)),
        ([{"x": 1}] * 6, (16, 16)),
        ("0,0,5,0,5,5", (16, 16)),
        (7, (16, 16)),
    ],
    ids=lambda value: brief(value),
)
def test_polygons_that_cant_be_filled_are_refused(polygon, size):
    for segmentation in ([polygon], [[0, 0, 5, 0, 5, 5], polygon]):
        with pytest.raises(ValueError, match="polygon|outlines"):
            compress_segmentation(segmentation, *size)


@pytest.mark.parametrize(
    "counts", [["4"], [4.0], [True, 3], [None], [[4]], [2**70], [np.nan], {"a": 1}, 4, None, [4, "x"]], ids=str
)
def test_counts_that_are_no_integers_are_refused(counts):
    with pytest.raises(ValueError, match="RLE counts"):
        decode_rle({"size": [2, 2], "counts": counts})


@pytest.mark.parametrize("rle", [3, None, "x", [], {"size": 4, "counts": [4]}, {"size": {}, "counts": ""}], ids=str)
def test_what_is_no_rle_is_refused(rle):
    with pytest.raises(ValueError):
        decode_rle(rle)


def test_the_wrong_mask_of_many_is_named():
    good = {"size": [2, 2], "counts": "13"}
    for wrong in ("", "04\x7f", "P", "05", "23O", "o" * 13 + "0", "\ud800"):
        with pytest.raises(ValueError) as caught:
            measure_rles([good] * 5 + [{"size": [2, 2], "counts": wrong}, good])
        assert caught.value.index == 5


def test_values_in_messages_are_short():
    deep = []
    for _ in range(5000):
        deep = [deep]
    for value in (deep, 10**5000, "x" * 10**6, [10**5000] * 100, {"a": deep}):
        assert len(brief(value)) < 400


def test_many_masks_are_measured_as_one_by_one():
    """Runs of one to six digits, masks of several sizes, empty and full ones, and such as end with either value."""
    random = np.random.default_rng(0)
    rles = []
    for height, width in ((7, 5), (1, 40_000), (3000, 4000), (1, 1), (600, 9)) * 4:
        runs = []
        while sum(runs) < height * width:
            longest = min(height * width - sum(runs), 10 ** int(random.integers(1, 8)))
            runs.append(int(random.integers(1 if runs else 0, longest + 1)))
        rles.append(coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width))
        assert run_lengths(rles[-1]["counts"]).tolist() == runs
    measures = measure_rles(rles, with_boxes=True)
    assert measures.areas.tolist() == [int(coco_mask.area(rle)) for rle in rles]
    assert measures.boxes_xywh.tolist() == [coco_mask.toBbox(rle).tolist() for rle in rles]

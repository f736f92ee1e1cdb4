"""Masks, RLE, polygons and boxes: literal values, round trips against pycocotools, and every malformed input."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from ifc_hf.model import rle as rle_module
from ifc_hf.model.masks import (
    as_binary_masks,
    decode_rle,
    decode_segmentation,
    encode_rle,
    encode_rles,
    masks_to_boxes_xyxy,
)
from ifc_hf.model.rle import decompress_counts, measure_rles, run_lengths

MASK = np.array([[0, 1, 1], [0, 1, 0]], dtype=bool)  # down the columns: 0 0 1 1 1 0


def random_masks(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth blobs, noise, full and empty masks in turn: short and long runs, of growing and shrinking length."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    masks = [
        (rows - shape[1] / 3) ** 2 + (columns - shape[2] / 2) ** 2 < (0.3 * min(shape[1:])) ** 2,
        rng.random(shape[1:]) < 0.5,
        np.ones(shape[1:], bool),
        np.zeros(shape[1:], bool),
    ]
    return np.stack([masks[index % 4] for index in range(shape[0])])


def test_decodes_uncompressed_counts():
    assert np.array_equal(decode_rle({"size": [2, 3], "counts": [2, 3, 1]}), MASK)


def test_encodes_as_pycocotools_and_decodes_back():
    expected = coco_mask.encode(np.asfortranarray(MASK.astype(np.uint8)))
    rle = encode_rle(MASK)
    assert rle == {"size": [2, 3], "counts": expected["counts"].decode()}
    assert np.array_equal(decode_rle(rle), MASK)
    assert np.array_equal(decode_rle({"size": (2, 3), "counts": expected["counts"]}), MASK)


@pytest.mark.parametrize("shape", [(8, 37, 53), (4, 1, 9), (4, 9, 1), (4, 300, 501)])
def test_batch_round_trip(shape):
    masks = random_masks(0, shape)
    rles = encode_rles(masks)
    assert rles == [encode_rle(mask) for mask in masks] == encode_rles(torch.from_numpy(masks))
    for mask, rle in zip(masks, rles, strict=True):
        assert np.array_equal(decode_rle(rle), mask)
        assert np.array_equal(coco_mask.decode(rle).astype(bool), mask)


def test_strings_of_many_lengths_are_decompressed_together():
    strings = [rle["counts"] for rle in encode_rles(random_masks(0, (8, 37, 53)))]
    pairs = decompress_counts(["", *strings, b""])
    for text, start, count in zip(["", *strings, b""], pairs.starts, pairs.num_pairs, strict=True):
        alone = decompress_counts([text])
        assert pairs.zeros[start : start + count].tolist() == alone.zeros.tolist() == run_lengths(text)[0::2].tolist()
        assert pairs.ones[start : start + count].tolist() == alone.ones.tolist()


def test_areas_and_boxes_of_many_masks_equal_those_of_pycocotools(monkeypatch):
    masks = [random_masks(seed, (8, *shape)) for seed, shape in enumerate([(37, 53), (1, 9), (9, 1), (60, 71)])]
    rles = [rle for group in masks for rle in encode_rles(group)]
    for characters in (rle_module.CHUNK_CHARACTERS, 50):
        monkeypatch.setattr(rle_module, "CHUNK_CHARACTERS", characters)
        measures = measure_rles(rles, with_boxes=True)
        assert measures.areas.tolist() == coco_mask.area(rles).tolist()
        assert measures.boxes_xywh.tolist() == coco_mask.toBbox(rles).astype(int).tolist()


def test_a_box_takes_no_notice_of_runs_of_nothing():
    runs = [2, 0, 3, 2, 0, 0, 5]  # one column and a half of zeros, then pixels 5 and 6 of columns of 4
    rle = {"size": [4, 3], "counts": [*runs]}
    compressed = {"size": [4, 3], "counts": rle_module.as_compressed(rle, None, None)["counts"]}
    measures = measure_rles([compressed], with_boxes=True)
    assert measures.boxes_xywh.tolist() == [[1, 1, 1, 2]] and measures.areas.tolist() == [2]


def test_no_masks_encode_to_an_empty_list():
    assert encode_rles(np.zeros((0, 4, 5), bool)) == []


def test_encodes_a_transposed_view():
    assert np.array_equal(decode_rle(encode_rle(MASK.T)), MASK.T)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [2, 3], "counts": [2, 3]}, r"sum to 5, expected 2\*3 = 6"),
        ({"size": [2, 3], "counts": [2, 3, 2]}, r"sum to 7, expected 2\*3 = 6"),
        ({"size": [2, 3], "counts": [9, -3]}, "negative run length: -3"),
        ({"size": [2, 3], "counts": ["a"]}, "neither a string nor integers"),
        ({"size": [2, 3], "counts": ""}, r"sum to 0, expected 2\*3 = 6"),
        ({"size": [2, 3], "counts": "2\x7f"}, "not a valid compressed string"),
        ({"size": [2, 3], "counts": "2\xff1"}, "not a valid compressed string"),
        ({"size": [2, 3], "counts": "2\u20ac1"}, "not a valid compressed string"),
        ({"size": [2, 3], "counts": "2\ud8001"}, "not a valid compressed string"),
        ({"size": [2, 3], "counts": "23P"}, "cut off"),
        ({"size": [2, 3], "counts": "o" * 13 + "0"}, "more than 12 digits"),
        ({"size": [2], "counts": [6]}, r"expected \[height, width\]"),
        ({"size": [0, 3], "counts": []}, r"expected \[height, width\]"),
        ({"size": [2, None], "counts": [6]}, r"expected \[height, width\]"),
        ({"size": [True, 6], "counts": [6]}, r"expected \[height, width\]"),
        ({"counts": [6]}, "needs the keys 'size' and 'counts'"),
    ],
)
def test_malformed_rle(rle, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(rle)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [2, 3], "counts": [2, 3, 1]},
        encode_rle(MASK),
        MASK,
        MASK.astype(np.uint8),
        MASK.astype(np.float32),
        torch.from_numpy(MASK),
    ],
)
def test_decodes_every_mask_form(segmentation):
    mask = decode_segmentation(segmentation, 2, 3)
    assert mask.dtype == bool
    assert np.array_equal(mask, MASK)


def test_polygons_are_filled_and_united():
    mask = decode_segmentation([[1, 1, 4, 1, 4, 3, 1, 3], [5, 0, 6, 0, 6, 1, 5, 1]], 5, 7)
    expected = np.zeros((5, 7), bool)
    expected[1:3, 1:4] = True
    expected[0, 5] = True
    assert np.array_equal(mask, expected)
    assert np.array_equal(decode_segmentation([5, 0, 6, 0, 6, 1, 5, 1], 5, 7), mask & (np.arange(7) > 4))


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "got None"),
        ({"size": [3, 2], "counts": [6]}, r"RLE is 3x2 \(height x width\), the frame is 2x3"),
        (np.zeros((3, 2), bool), r"mask has shape \(3, 2\), the frame is 2x3"),
        (np.full((2, 3), 255, np.uint8), "expected mask values 0 and 1 only, got 255"),
        (np.full((2, 3), np.nan), "expected mask values 0 and 1 only, got nan"),
        ([[0, 0, 1, 1]], "at least 3 points, got 2"),
        ([[0, 0, 1, 1, 2, 2, 3]], "expected a flat polygon"),
        ([[[0, 0], [1, 1], [2, 2]]], "expected a flat polygon"),
        ([[0, 0, 1, float("nan"), 2, 2]], "NaN or infinite"),
        ([[0, 0, 1, 1e9, 2, 2]], r"1e\+09 is far outside the 2x3 frame"),
        ([["a", 0, 1, 1, 2, 2]], "not numbers"),
        ([], "at least one polygon"),
        ("abc", "got str"),
    ],
)
def test_malformed_segmentation(segmentation, message):
    with pytest.raises(ValueError, match=message):
        decode_segmentation(segmentation, 2, 3)


@pytest.mark.parametrize(
    ("encode", "masks", "message"),
    [
        (encode_rle, np.zeros(4, bool), r"got shape \(4,\)"),
        (encode_rles, np.zeros(4, bool), r"got shape \(4,\)"),
        (encode_rle, np.zeros((0, 4), bool), r"got shape \(0, 4\)"),
        (encode_rles, np.zeros((2, 0, 4), bool), r"got shape \(2, 0, 4\)"),
        (encode_rle, np.zeros((1, 2, 3), bool), r"expected a mask \(H, W\) .* got shape \(1, 2, 3\)"),
        (encode_rles, MASK, r"expected masks \(N, H, W\) .* got shape \(2, 3\)"),
        (encode_rle, np.array([[0.5, 1]]), "values 0 and 1 only, got 0.5"),
        (encode_rle, np.array([[0, 1, -1]]), "values 0 and 1 only, got -1"),
        (encode_rle, np.array([[1, 0, 2]]), "values 0 and 1 only, got 2"),
    ],
)
def test_encode_refuses(encode, masks, message):
    with pytest.raises(ValueError, match=message):
        encode(masks)


def test_missing_pycocotools_is_named(monkeypatch):
    monkeypatch.setattr(rle_module, "coco_mask", None)
    assert np.array_equal(decode_rle({"size": [2, 3], "counts": [2, 3, 1]}), MASK)
    with pytest.raises(ImportError, match="pycocotools is needed to encode"):
        encode_rle(MASK)
    with pytest.raises(ImportError, match="pycocotools is needed to fill polygons"):
        decode_segmentation([[0, 0, 1, 0, 1, 1]], 2, 3)


def test_boxes_are_tight_and_end_one_past_the_mask():
    masks = np.zeros((3, 6, 8), bool)
    masks[0, 2:5, 3] = True
    masks[1] = True
    boxes = masks_to_boxes_xyxy(masks)
    assert boxes.dtype == torch.float32
    assert boxes.tolist() == [[3, 2, 4, 5], [0, 0, 8, 6], [0, 0, 0, 0]]
    assert torch.equal(masks_to_boxes_xyxy(torch.from_numpy(masks).float()), boxes)


def test_boxes_of_nothing():
    assert masks_to_boxes_xyxy(np.zeros((0, 4, 5), bool)).shape == (0, 4)
    assert masks_to_boxes_xyxy(np.zeros((2, 0, 5), bool)).tolist() == [[0, 0, 0, 0]] * 2
    with pytest.raises(ValueError, match=r"got shape \(4, 5\)"):
        masks_to_boxes_xyxy(np.zeros((4, 5), bool))


def test_binary_masks_keep_their_shape():
    assert as_binary_masks(torch.tensor([[[0, 1]]]), "masks").tolist() == [[[False, True]]]

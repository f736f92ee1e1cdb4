"""Mask AP of images, measured by pycocotools."""

import contextlib
import io
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..model.rle import as_compressed, rle_area
from .ytvis_format import JsonSource, load_json, read_integer

STATISTICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def evaluate_coco(ground_truth: JsonSource, predictions: JsonSource) -> dict[str, Any]:
    """Score masks in images with the COCO evaluator.

    Args:
        ground_truth: Path or parsed JSON in the format of COCO's instances.
        predictions: Path or parsed JSON: a list of `{image_id, category_id, score, segmentation}`, RLE or polygons.

    Returns:
        The twelve numbers AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl, `stats` (the same as a
        list), `precision` (T, R, K, A, M) and `recall` (T, K, A, M). No predictions give 0.

    Raises:
        ValueError: For bad input: what was expected, what came, and where.
    """
    truth, truth_name = load_json(ground_truth, "ground truth")
    for key in ("images", "categories", "annotations"):
        if not isinstance(truth, Mapping) or not isinstance(truth.get(key), list):
            raise ValueError(f"{truth_name}: expected a dict with lists of images, categories, annotations; no {key}")
    results, name = load_json(predictions, "predictions")
    if not isinstance(results, list):
        raise ValueError(f"{name}: expected a list of predictions, got a {type(results).__name__}")
    images = {
        read_integer(image, "id", f"{truth_name}: images[{position}]"): image
        for position, image in enumerate(truth["images"])
    }
    checked = [_read_prediction(entry, i, images, f"{name}: prediction {i}") for i, entry in enumerate(results)]

    # pycocotools prints its progress and writes into what it is given: hide the one, copy for the other.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(_index(truth, truth["annotations"]), _index(truth, checked), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    stats = [float(number) for number in evaluator.stats]
    arrays = {key: evaluator.eval[key] for key in ("precision", "recall")}
    return {**dict(zip(STATISTICS, stats, strict=True)), "stats": stats, **arrays}


def _read_prediction(entry: Any, position: int, images: Mapping[int, Any], place: str) -> dict[str, Any]:
    """One prediction in the form in which the evaluator stores it."""
    image_id, category_id = read_integer(entry, "image_id", place), read_integer(entry, "category_id", place)
    if image_id not in images:
        raise ValueError(f"{place}: image {image_id} is not in the ground truth")
    score = entry.get("score")
    if not isinstance(score, Real) or not math.isfinite(score):
        raise ValueError(f"{place}: score: expected a finite number, got {score}")
    height, width = images[image_id]["height"], images[image_id]["width"]
    try:
        rle = as_compressed(entry.get("segmentation"), height, width)
        area = int(rle_area(rle))
    except ValueError as error:
        raise ValueError(f"{place} (image {image_id}): segmentation: {error}") from error
    if list(rle["size"]) != [height, width]:
        raise ValueError(f"{place}: RLE of {rle['size']} (height, width), image {image_id} has {[height, width]}")
    return {
        "id": position + 1,
        "image_id": image_id,
        "category_id": category_id,
        "score": float(score),
        "segmentation": rle,
        "area": area,
        "iscrowd": 0,
    }


def _index(truth: Mapping[str, Any], annotations: list[Any]) -> COCO:
    coco = COCO()
    coco.dataset = {**truth, "annotations": [dict(annotation) for annotation in annotations]}
    coco.createIndex()
    return coco

"""Mask AP of images, measured by pycocotools."""

import contextlib
import io
from collections.abc import Mapping
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..data.parse import check_lists, coco_as_ytvis, read_categories, read_entries, read_videos
from ..data.records import VideoRecord
from ..data.tracks import Entry, read_tracks
from ..files import JsonObject
from ..model.limits import is_id
from .inputs import JsonSource, ScoringReport, load_json, prediction_entry, read_integer
from .settings import Scores

STATISTICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def evaluate_coco(ground_truth: JsonSource, predictions: JsonSource) -> Scores:
    """Scores masks in images with the COCO evaluator.

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
    check_lists(truth, ("images", "categories", "annotations"), truth_name, "COCO")
    results, name = load_json(predictions, "predictions")
    if not isinstance(results, list):
        raise ValueError(f"{name}: expected a list of predictions, got a {type(results).__name__}")
    report = ScoringReport(strict=True)
    as_videos = coco_as_ytvis(truth, truth_name)
    images, listed = read_videos(as_videos["videos"], truth_name, "image", report)
    read_categories(truth["categories"], truth_name, report)
    annotations = read_entries(as_videos["annotations"], images, listed, truth_name, "image", report)
    detections = [_prediction(entry, i, images, name, truth_name) for i, entry in enumerate(results)]
    annotated, detected = _as_pycocotools(annotations, report), _as_pycocotools(detections, report)

    # pycocotools prints its progress and writes into what it is given: hide the one, copy for the other.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(_index(truth, annotated), _index(truth, detected), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    stats = [float(number) for number in evaluator.stats]
    arrays = {key: evaluator.eval[key] for key in ("precision", "recall")}
    return {**dict(zip(STATISTICS, stats, strict=True)), "stats": stats, **arrays}


def _prediction(content: Any, position: int, images: Mapping[int, VideoRecord], name: str, truth_name: str) -> Entry:
    """One prediction, viewed as one of a video of one frame."""
    place = f"{name}: prediction {position}"
    image_id = read_integer(content, "image_id", place)
    if image_id not in images:
        raise ValueError(f"{place}: image {image_id} is not in {truth_name}")
    as_video = {**content, "segmentations": [content.get("segmentation")]}
    return prediction_entry(as_video, position, images[image_id], f"{place} (image {image_id})")


def _as_pycocotools(entries: list[Entry], report: ScoringReport) -> list[JsonObject]:
    """Objects in the form in which the evaluator stores them, all masks checked and compressed.

    Raises:
        ValueError: If an entry is malformed or has no mask.
    """
    known = {category_id for entry in entries if is_id(category_id := entry.content.get("category_id"))}
    objects = []
    for entry, track in zip(entries, read_tracks(entries, known, report), strict=True):
        if track is None or track.segmentations[0] is None:
            raise ValueError(f"{entry.where}: segmentation: expected an RLE or polygons, got nothing")
        objects.append(
            {
                "id": track.id,
                "image_id": entry.video.id,
                "category_id": track.category_id,
                "score": track.score,
                "segmentation": track.segmentations[0],
                "area": int(track.mask_areas[0]) if track.areas is None else track.areas[0],
                "iscrowd": int(track.is_crowd),
            }
        )
    return objects


def _index(truth: Mapping[str, Any], annotations: list[JsonObject]) -> COCO:
    coco = COCO()
    images = [{name: image[name] for name in ("id", "height", "width")} for image in truth["images"]]
    coco.dataset = {"images": images, "categories": truth["categories"], "annotations": annotations}
    coco.createIndex()
    return coco

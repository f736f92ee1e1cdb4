"""The YouTube-VIS score as a metric of the library `evaluate`."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets

import evaluate

from .inputs import read_integer
from .settings import EvaluationSettings, Scores
from .ytvis_map import YtvisAccumulator

DESCRIPTION = "Average precision and recall of instance tracks in videos, as YouTube-VIS measures them."
CITATION = """\
@inproceedings{yang2019video,
  title = {Video Instance Segmentation},
  author = {Yang, Linjie and Fan, Yuchen and Xu, Ning},
  booktitle = {ICCV},
  year = {2019},
}"""
INPUTS = """
One row for every video, on both sides; `video_id` pairs them.

predictions: dicts of `video_id` and `tracks`, a list of dicts of `category_id`, `score` and `segmentations`.
references: dicts of `video_id` and `tracks`, a list of dicts of `id`, `category_id` and `segmentations`, and
    optionally `iscrowd` and `areas` (pixels or None for every frame; by default those of the masks).
`segmentations` holds compressed RLE (`size`, `counts`) or None for every frame.

`compute` also takes `categories` (names by id, or a list of dicts with `id` and `name`; by default the ids of the
references), and `iou_thresholds`, `recall_thresholds`, `max_detections`, `area_ranges`, `use_categories` as
`ifc_hf.evaluation.evaluate_ytvis` does. It returns what that returns.
"""

RLE_FEATURE = {"size": datasets.List(datasets.Value("int32")), "counts": datasets.Value("string")}
# `evaluate` takes no None inside a list of dicts.
ABSENT = {"size": [], "counts": ""}


class YtvisMap(evaluate.Metric):
    """Track AP and AR of YouTube-VIS; without `evaluate`: `evaluate_ytvis` and `YtvisAccumulator`.

    Example:
        >>> metric = YtvisMap()
        >>> rle = {"size": [2, 2], "counts": "13"}
        >>> truth = {"id": 1, "category_id": 1, "iscrowd": 0, "segmentations": [rle, None]}
        >>> track = {"category_id": 1, "score": 0.9, "segmentations": [rle, None]}
        >>> metric.add(prediction={"video_id": 7, "tracks": [track]}, reference={"video_id": 7, "tracks": [truth]})
        >>> round(metric.compute()["AP"], 6)
        1.0
    """

    def _info(self) -> evaluate.MetricInfo:
        masks = datasets.List(RLE_FEATURE)
        category = {"category_id": datasets.Value("int64"), "segmentations": masks}
        prediction = {**category, "score": datasets.Value("float64")}
        areas = datasets.List(datasets.Value("float64"))
        reference = {**category, "id": datasets.Value("int64"), "iscrowd": datasets.Value("int8"), "areas": areas}
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features(
                {
                    "predictions": {"video_id": datasets.Value("int64"), "tracks": datasets.List(prediction)},
                    "references": {"video_id": datasets.Value("int64"), "tracks": datasets.List(reference)},
                }
            ),
        )

    def add(self, *, prediction: Mapping[str, Any], reference: Mapping[str, Any], **kwargs: Any) -> None:
        """Adds one video; other keys than those of the features are left out."""
        super().add(prediction=_to_row(prediction), reference=_to_row(reference, is_reference=True), **kwargs)

    def add_batch(
        self, *, predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]], **kwargs: Any
    ) -> None:
        """Adds some videos; other keys than those of the features are left out."""
        rows = [_to_row(row) for row in predictions]
        super().add_batch(
            predictions=rows, references=[_to_row(row, is_reference=True) for row in references], **kwargs
        )

    def _compute(
        self,
        predictions: Sequence[Mapping[str, Any]],
        references: Sequence[Mapping[str, Any]],
        categories: Mapping[int, str] | Sequence[Mapping[str, Any]] | None = None,
        **parameters: Any,
    ) -> Scores:
        """Scores the rows that were added.

        Raises:
            ValueError: If two rows of a pair are of different videos, or a track is malformed.
        """
        if categories is None:
            found = {int(track["category_id"]) for row in references for track in row["tracks"]}
            categories = {category_id: str(category_id) for category_id in found}
        accumulator = YtvisAccumulator(categories, EvaluationSettings.create(**parameters))
        for predicted, annotated in zip(predictions, references, strict=True):
            video_id = annotated["video_id"]
            if predicted["video_id"] != video_id:
                raise ValueError(f"a prediction of video {predicted['video_id']} came with the reference {video_id}")
            accumulator.update(video_id, _from_row(annotated), _from_row(predicted))
        return accumulator.compute()


def _to_row(video: Mapping[str, Any], is_reference: bool = False) -> Mapping[str, Any]:
    """A video as the table stores it."""
    tracks = []
    for position, track in enumerate(video["tracks"]):
        place = f"video {video['video_id']}, tracks[{position}]"
        row: dict[str, Any] = {"category_id": read_integer(track, "category_id", place)}
        if not isinstance(track.get("segmentations"), list):
            raise ValueError(f"{place}: segmentations: expected a list, got {track.get('segmentations')}")
        row["segmentations"] = [ABSENT if mask is None else mask for mask in track["segmentations"]]
        if is_reference:
            row |= {
                "id": read_integer(track, "id", place),
                "iscrowd": track.get("iscrowd", 0),
                "areas": track.get("areas"),
            }
        else:
            row["score"] = track.get("score")
        tracks.append(row)
    return {"video_id": read_integer(video, "video_id", "row"), "tracks": tracks}


def _from_row(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """A row's tracks as `YtvisAccumulator.update` reads them."""
    tracks = []
    for stored in row["tracks"]:
        track = {key: value for key, value in stored.items() if value is not None}
        track["segmentations"] = [mask if mask["size"] else None for mask in stored["segmentations"]]
        tracks.append(track)
    return tracks

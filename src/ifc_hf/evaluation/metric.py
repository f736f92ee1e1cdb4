"""The YouTube-VIS score as a metric of the library `evaluate`."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate

from .settings import EvaluationSettings
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
references: dicts of `video_id` and `tracks`, a list of dicts of `id`, `category_id`, `iscrowd` and `segmentations`.
`segmentations` holds compressed RLE (`size`, `counts`) or None for every frame.

`compute` also takes `categories` (names by id, or a list of dicts with `id` and `name`; by default the ids of the
references), and `iou_thresholds`, `recall_thresholds`, `max_detections`, `area_ranges`, `use_categories` as
`ifc_hf.evaluation.evaluate_ytvis` does. It returns what that returns.
"""

RLE_FEATURE = {"size": datasets.List(datasets.Value("int32")), "counts": datasets.Value("string")}


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
        reference = {**category, "id": datasets.Value("int64"), "iscrowd": datasets.Value("int8")}
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

    def _compute(
        self,
        predictions: Sequence[Mapping[str, Any]],
        references: Sequence[Mapping[str, Any]],
        categories: Mapping[int, str] | Sequence[Mapping[str, Any]] | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """Score the rows that were added.

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
            accumulator.update(video_id, _tracks(annotated), _tracks(predicted))
        return accumulator.compute()


def _tracks(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row's tracks; a table stores an absent mask as a mask without size."""
    return [
        {**track, "segmentations": [mask if mask and mask["size"] else None for mask in track["segmentations"]]}
        for track in row["tracks"]
    ]

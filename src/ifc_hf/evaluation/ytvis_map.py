"""Average precision of tracks as YouTube-VIS measures it, equal to the official evaluator."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from ..data.parse import read_categories
from ..data.records import TrackRecord, VideoRecord
from ..data.tracks import Entry
from ..model.limits import check_size_hw
from .average_precision import accumulate, per_category, summarize
from .inputs import (
    JsonSource,
    ScoringReport,
    prediction_entry,
    read_ground_truth,
    read_integer,
    read_predictions,
    read_video,
)  # fmt: skip
from .settings import EvaluationSettings, FloatArray, Scores
from .track_iou import track_ious
from .track_matching import MatchRecord, best_predictions, match_tracks

# The one category of a score that doesn't look at categories.
ALL_CATEGORIES = (-1, "all")


def evaluate_ytvis(
    ground_truth: JsonSource,
    predictions: JsonSource,
    iou_thresholds: Sequence[float] | None = None,
    recall_thresholds: Sequence[float] | None = None,
    max_detections: Sequence[int] = (1, 10, 100),
    area_ranges: Sequence[Sequence[float]] | Mapping[str, Sequence[float]] | None = None,
    use_categories: bool = True,
    *,
    video_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
    strict: bool = False,
    progress: bool = False,
) -> Scores:
    """Scores a result file against an annotation file.

    Letters: T IoU thresholds, R recall thresholds, K categories, A area ranges, M limits of detections.

    Args:
        ground_truth: Path or parsed JSON: `videos`, `categories`, `annotations` (each with `id`, `video_id`,
            `category_id`, `segmentations`, and optionally `iscrowd` and `areas`).
        predictions: Path or parsed JSON: a list of `{video_id, category_id, score, segmentations}`. Segmentations, on
            both sides, are lists with None, RLE or polygons for every frame.
        iou_thresholds: None gives 0.5, 0.55, ..., 0.95.
        recall_thresholds: None gives 0, 0.01, ..., 1.
        max_detections: Three numbers of detections per video and category.
        area_ranges: (low, high) average pixels per frame for all, small, medium, large; None gives those of
            YouTube-VIS.
        use_categories: False compares tracks of all categories.
        video_ids: Only these videos.
        category_ids: Only these categories.
        strict: Refuse what the official evaluator accepts silently: tracks of unknown categories (dropped),
            predictions with another number of frames or another size than the video. By default one warning tells.
        progress: Show a bar.

    Returns:
        The twelve numbers AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl (-1 where no annotated track
        counts), `stats` (those 12 in this order), `per_category` (a list of dicts), `precision` (T, R, K, A, M),
        `recall` (T, K, A, M) and `category_ids` (the K axis).

    Raises:
        ValueError: For bad input: what was expected, what came, and where.
    """
    settings = EvaluationSettings.create(
        iou_thresholds, recall_thresholds, max_detections, area_ranges, use_categories
    )
    report = ScoringReport(strict)
    truth = read_ground_truth(ground_truth, report)
    results = read_predictions(predictions, truth.videos, truth.name)
    categories = _select(truth.categories, category_ids, f"{truth.name}: category_ids")
    accumulator = YtvisAccumulator(categories, settings)
    for video_id in tqdm(sorted(_select(truth.videos, video_ids, f"{truth.name}: video_ids")), disable=not progress):
        entries = truth.entries.get(video_id, ()), results.entries.get(video_id, ())
        accumulator.add_tracks(video_id, *read_video(*entries, truth.categories, report))
    report.warn()
    return accumulator.compute()


@dataclass(frozen=True)
class Overlaps:
    """Tracks of one video that were compared, and how much they overlap.

    Attributes:
        predictions: D predicted tracks, best score first.
        ground_truth: G annotated tracks.
        ious: (D, G) over space and time.
    """

    predictions: list[TrackRecord]
    ground_truth: list[TrackRecord]
    ious: FloatArray


class YtvisAccumulator:
    """The score of videos that come one at a time; masks are not kept, and processes can share the work.

    Holds about 2 A T D bytes per video and category with D predictions (800 bytes for ten of them with the default
    thresholds), whatever the length of the video.

    Args:
        categories: Names by id, or dicts with `id` and `name` as in annotation files.
        settings: None gives the official parameters.

    Example:
        >>> accumulator = YtvisAccumulator({1: "person"})
        >>> rle = {"size": [2, 2], "counts": "13"}
        >>> annotation = {"id": 1, "category_id": 1, "segmentations": [rle, None]}
        >>> prediction = {"category_id": 1, "score": 0.9, "segmentations": [rle, None]}
        >>> accumulator.update(7, [annotation], [prediction])
        >>> round(accumulator.compute()["AP"], 6)
        1.0
    """

    def __init__(
        self,
        categories: Mapping[int, str] | Iterable[Mapping[str, Any]],
        settings: EvaluationSettings | None = None,
    ) -> None:
        if not isinstance(categories, Mapping):
            categories = read_categories(categories, "categories", ScoringReport())
        self.categories = dict(sorted(categories.items()))
        self.settings = settings or EvaluationSettings.create()
        self._records: dict[int, dict[int, MatchRecord]] = {}

    @property
    def video_ids(self) -> list[int]:
        """The videos that were added, ascending."""
        return sorted(self._records)

    @property
    def records(self) -> list[MatchRecord]:
        """What was matched, one record for every video and category."""
        return [record for video_id in self.video_ids for record in self._records[video_id].values()]

    def update(
        self,
        video_id: int,
        ground_truth: Sequence[Mapping[str, Any]],
        predictions: Sequence[Mapping[str, Any]],
        *,
        height: int | None = None,
        width: int | None = None,
        length: int | None = None,
        strict: bool = False,
    ) -> list[Overlaps]:
        """Adds one video, its entries as in the files (see `evaluate_ytvis`).

        Args:
            video_id: Each video once. Detections with equal scores are ordered by it.
            ground_truth: The video's annotations.
            predictions: The video's predictions.
            height: Of the frames in pixels; needed for polygons, else only checked.
            width: Likewise.
            length: Number of frames; only checked.
            strict: As in `evaluate_ytvis`.

        Returns:
            As `add_tracks`.

        Raises:
            ValueError: For bad input, and if the video was added before.
        """
        if height is not None and width is not None:
            check_size_hw(height, width, f"video {video_id}")
        video = VideoRecord(video_id, height, width, length)
        report = ScoringReport(strict)
        annotations = []
        for entry in ground_truth:
            annotation_id = read_integer(entry, "id", f"video {video_id}")
            place = f"video {video_id}, annotation {annotation_id}"
            annotations.append(Entry(entry, annotation_id, video, where=place))
        places = [f"video {video_id}, prediction {position}" for position in range(len(predictions))]
        entries = [
            prediction_entry(entry, position, video, place)
            for position, (entry, place) in enumerate(zip(predictions, places, strict=True))
        ]
        annotated, predicted = read_video(annotations, entries, self.categories, report)
        report.warn()
        return self.add_tracks(video_id, annotated, predicted)

    def add_tracks(
        self, video_id: int, ground_truth: Sequence[TrackRecord], predictions: Sequence[TrackRecord]
    ) -> list[Overlaps]:
        """Adds one video's tracks; those of unknown categories are left out.

        Returns:
            What was compared, one for every category with tracks. It is not kept.

        Raises:
            ValueError: If the video was added before, or two annotations have the same id.
        """
        if video_id in self._records:
            raise ValueError(f"video {video_id} was added before")
        annotation_ids = [track.id for track in ground_truth]
        if len(set(annotation_ids)) < len(annotation_ids):
            twice = next(number for number in annotation_ids if annotation_ids.count(number) > 1)
            raise ValueError(f"video {video_id}: annotation id {twice} occurs twice")
        records, overlaps = {}, []
        for key, _ in self._category_axis():
            annotated, predicted = self._tracks_of(key, ground_truth), self._tracks_of(key, predictions)
            if annotated or predicted:
                best = best_predictions(predicted, self.settings)
                ious = track_ious(best, annotated)
                records[key] = match_tracks(predicted, annotated, ious, self.settings)
                overlaps.append(Overlaps(best, annotated, ious))
        self._records[video_id] = records
        return overlaps

    def merge(self, other: "YtvisAccumulator") -> None:
        """Takes over another process' videos; those that are here already count once, as samplers repeat some.

        Raises:
            ValueError: If the other one counts other categories.
        """
        if other.categories != self.categories:
            raise ValueError(f"cannot merge scores of categories {self.categories} and {other.categories}")
        self._records = {**other._records, **self._records}

    def compute(self) -> Scores:
        """The score of all videos so far, as `evaluate_ytvis` returns it."""
        axis = self._category_axis()
        videos = [self._records[video_id] for video_id in self.video_ids]
        records = [[video[key] for video in videos if key in video] for key, _ in axis]
        precision, recall = accumulate(records, self.settings)
        summary = summarize(precision, recall, self.settings)
        return {
            **summary,
            "stats": list(summary.values()),
            "per_category": per_category(records, axis, precision, recall, self.settings),
            "precision": precision,
            "recall": recall,
            "category_ids": [key for key, _ in axis],
        }

    def _category_axis(self) -> list[tuple[int, str]]:
        return list(self.categories.items()) if self.settings.use_categories else [ALL_CATEGORIES]

    def _tracks_of(self, key: int, tracks: Sequence[TrackRecord]) -> list[TrackRecord]:
        if self.settings.use_categories:
            return [track for track in tracks if track.category_id == key]
        # Pooled by category id, then file order: it decides between equal scores and equal IoUs.
        known = [track for track in tracks if track.category_id in self.categories]
        return sorted(known, key=lambda track: track.category_id)


def _select(known: Mapping[int, Any], wanted: Iterable[int] | None, place: str) -> dict[int, Any]:
    if wanted is None:
        return dict(known)
    chosen = set(wanted)
    if not chosen <= set(known):
        raise ValueError(f"{place}: {sorted(chosen - set(known))} are not among {sorted(known)}")
    return {key: known[key] for key in sorted(chosen)}

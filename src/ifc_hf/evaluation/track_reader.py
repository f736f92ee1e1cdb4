"""Entries of YouTube-VIS files as tracks: checked, compressed, measured."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ..model.rle import IntArray, Rle, SegmentationError, as_compressed, measure_rles
from .ytvis_format import GroundTruth, Predictions, Video, read_integer


@dataclass(frozen=True)
class Track:
    """One annotated or predicted instance.

    Attributes:
        id: The annotation's id; a prediction's position in its file, from 1.
        category_id: As in the file.
        rles: L compressed RLEs; None where the instance is absent.
        areas: (L,) mask pixels, 0 where absent.
        average_area: Mean of the frames' areas that are not 0: decides the area range.
        score: 1 for annotations.
        is_crowd: Whether the annotation stands for a group; False for predictions.
    """

    id: int
    category_id: int
    rles: list[Rle | None]
    areas: IntArray
    average_area: float
    score: float = 1.0
    is_crowd: bool = False


class TrackReader:
    """Turns annotations and predictions into tracks.

    Some mistakes the official evaluator accepts silently: tracks of unknown categories (dropped), predictions with
    another number of frames or another size than the video (such frames don't count). To give the same score they are
    accepted here too, and told in one warning.

    Args:
        categories: The known ids.
        strict: Raise a ValueError for those mistakes.
    """

    def __init__(self, categories: Iterable[int], strict: bool = False) -> None:
        self.categories = set(categories)
        self.strict = strict
        self.tolerated: list[str] = []

    def video(self, video_id: int, truth: GroundTruth, predictions: Predictions) -> tuple[list[Track], list[Track]]:
        """All annotated and all predicted tracks of one video.

        Raises:
            ValueError: If an entry is malformed.
        """
        video = truth.videos[video_id]
        annotated = [
            self.annotation(entry, video, f"{truth.name}: video {video_id}")
            for entry in truth.annotations.get(video_id, ())
        ]
        predicted = [
            self.prediction(entry, position, video, f"{predictions.name}: prediction {position} (video {video_id})")
            for position, entry in predictions.entries.get(video_id, ())
        ]
        return annotated, predicted

    def annotation(self, entry: Mapping[str, Any], video: Video, place: str) -> Track:
        """Turn an annotation into a track.

        Args:
            entry: With `id`, `category_id`, `segmentations`; without `iscrowd` it is no crowd, without `areas` those
                of the masks count.
            video: Its video.
            place: Where it stands, for messages.

        Raises:
            ValueError: If something is missing, malformed or of another size or length than the video.
        """
        annotation_id = read_integer(entry, "id", place)
        place = f"{place}, annotation {annotation_id}"
        category_id = self._category(entry, place)
        rles, areas = _read_masks(entry, video, place)
        for mistake in (_other_length(rles, video), _other_size(rles, video)):
            if mistake:
                raise ValueError(f"{place}: {mistake}")
        is_crowd = entry.get("iscrowd", 0)
        if is_crowd not in (0, 1):
            raise ValueError(f"{place}: iscrowd: expected 0 or 1, got {is_crowd}")
        file_areas = _read_areas(entry["areas"], len(rles), place) if "areas" in entry else areas.tolist()
        return Track(annotation_id, category_id, rles, areas, _average_area(file_areas), is_crowd=bool(is_crowd))

    def prediction(self, entry: Any, position: int, video: Video, place: str) -> Track:
        """Turn a prediction into a track.

        Args:
            entry: With `category_id`, `score`, `segmentations`; other keys are not read.
            position: Among the predictions, from 0.
            video: Its video.
            place: Where it stands, for messages.

        Raises:
            ValueError: If something is missing or malformed, or the score is not finite.
        """
        category_id = self._category(entry, place)
        score = entry.get("score")
        if not isinstance(score, Real) or isinstance(score, bool) or not math.isfinite(score):
            raise ValueError(f"{place}: score: expected a finite number, got {score}")
        rles, areas = _read_masks(entry, video, place)
        for mistake in (_other_length(rles, video), _other_size(rles, video)):
            if mistake:
                self._tolerate(f"{place}: {mistake}")
        return Track(position + 1, category_id, rles, areas, _average_area(areas.tolist()), score=float(score))

    def report(self) -> None:
        """Warn once of what was accepted so far."""
        if self.tolerated:
            more = f" (and {len(self.tolerated) - 1} more)" if len(self.tolerated) > 1 else ""
            warnings.warn(f"scored as the official evaluator does: {self.tolerated[0]}{more}", stacklevel=3)
            self.tolerated = []

    def _category(self, entry: Any, place: str) -> int:
        category_id = read_integer(entry, "category_id", place)
        if category_id not in self.categories:
            self._tolerate(f"{place}: category {category_id} is unknown, the track is dropped")
        return category_id

    def _tolerate(self, mistake: str) -> None:
        if self.strict:
            raise ValueError(mistake)
        self.tolerated.append(mistake)


def _read_masks(entry: Mapping[str, Any], video: Video, place: str) -> tuple[list[Rle | None], IntArray]:
    """The L masks of an entry and their areas (L,)."""
    segmentations = entry.get("segmentations")
    if not isinstance(segmentations, list):
        raise ValueError(f"{place}: segmentations: expected a list, got {type(segmentations).__name__}")
    rles: list[Rle | None] = []
    for frame, segmentation in enumerate(segmentations):
        try:
            is_absent = segmentation is None or segmentation == []
            rles.append(None if is_absent else as_compressed(segmentation, video.height, video.width))
        except ValueError as error:
            raise ValueError(f"{place}, frame {frame}: {error}") from error
    present = [frame for frame, rle in enumerate(rles) if rle is not None]
    areas = np.zeros(len(rles), dtype=np.int64)
    try:
        areas[present] = measure_rles([rle for rle in rles if rle is not None]).areas
    except SegmentationError as error:
        raise ValueError(f"{place}, frame {present[error.index]}: {error}") from error
    return rles, areas


def _other_length(rles: Sequence[Rle | None], video: Video) -> str | None:
    if video.length is None or len(rles) == video.length:
        return None
    return f"{len(rles)} segmentations for {video.length} frames"


def _other_size(rles: Sequence[Rle | None], video: Video) -> str | None:
    if video.height is None or video.width is None:
        return None
    for frame, rle in enumerate(rles):
        if rle is not None and tuple(rle["size"]) != (video.height, video.width):
            height, width = rle["size"]
            return f"frame {frame}: RLE of {height} x {width} pixels in a video of {video.height} x {video.width}"
    return None


def _read_areas(areas: Any, length: int, place: str) -> list[float | None]:
    if not isinstance(areas, list) or len(areas) != length:
        raise ValueError(f"{place}: areas: expected a list of {length}, as there are segmentations")
    for frame, area in enumerate(areas):
        if area is not None and not (isinstance(area, int | float) and math.isfinite(area) and area >= 0):
            raise ValueError(f"{place}, frame {frame}: area: expected None or a number of 0 or more, got {area}")
    return areas


def _average_area(areas: Iterable[float | None]) -> float:
    present = [area for area in areas if area]
    return float(np.mean(present)) if present else 0.0

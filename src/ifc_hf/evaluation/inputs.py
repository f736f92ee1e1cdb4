"""What scores are computed of: annotation and result files, read as the official evaluator takes them."""

import os
import warnings
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..data.parse import check_lists, read_categories, read_entries, read_videos
from ..data.problems import Problem
from ..data.records import TrackRecord, VideoRecord
from ..data.tracks import Entry, read_tracks
from ..files import FileError, collection_paused, read_json
from ..model.limits import LIMITS, brief, check_count, is_id

JsonSource: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any]


class ScoringReport:
    """Raises the first mistake, but for those that the official evaluator accepts silently; see `data.tracks.Report`.

    Tracks of unknown categories (dropped) and predictions with another number of frames or another size than the video
    (such frames don't count) give the official score here, too, and are told in one warning.

    Args:
        strict: Raise those mistakes as well.
    """

    for_training = False

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.tolerated: list[str] = []

    def problem(self, problem: Problem) -> None:
        """Raises a problem of a file, category or video."""
        raise ValueError(str(problem))

    def __call__(
        self,
        entry: Entry,
        kind: str,
        message: str,
        frame: int | None = None,
        fatal: bool = True,
        tolerable: bool = False,
    ) -> None:
        """Raises a problem of a track, or keeps it for the warning."""
        place = entry.where if frame is None else f"{entry.where}, frame {frame}"
        if fatal and (self.strict or not tolerable):
            raise ValueError(f"{place}: {message}")
        self.tolerated.append(f"{place}: {message}")

    def warn(self) -> None:
        """Warns once of what was accepted so far."""
        if self.tolerated:
            more = f" (and {len(self.tolerated) - 1} more)" if len(self.tolerated) > 1 else ""
            warnings.warn(f"scored as the official evaluator does: {self.tolerated[0]}{more}", stacklevel=3)
            self.tolerated = []


@dataclass(frozen=True)
class GroundTruth:
    """An annotation file: videos and names of categories by id, entries of annotations by video id."""

    name: str
    videos: dict[int, VideoRecord]
    categories: dict[int, str]
    entries: dict[int, list[Entry]]


@dataclass(frozen=True)
class Predictions:
    """A result file: entries by video id, in file order."""

    name: str
    entries: dict[int, list[Entry]]


@collection_paused()
def read_ground_truth(source: JsonSource, report: ScoringReport) -> GroundTruth:
    """Reads an annotation file of the YouTube-VIS format; its masks are read by `read_video`.

    Args:
        source: Path, or the parsed JSON: a dict with `videos`, `categories`, `annotations`.
        report: Raises what is wrong.

    Raises:
        ValueError: If the file is missing or broken, a key is missing, an id occurs twice, a video has no frames, or
            an annotation belongs to no video.
    """
    data, name = load_json(source, "ground truth")
    check_lists(data, ("videos", "categories", "annotations"), name, "YouTube-VIS")
    videos, listed = read_videos(data["videos"], name, "video", report)
    categories = read_categories(data["categories"], name, report)
    entries = read_entries(data["annotations"], videos, listed, name, "video", report)
    return GroundTruth(name, videos, categories, _by_video(entries))


@collection_paused()
def read_predictions(source: JsonSource, videos: Mapping[int, VideoRecord], truth_name: str) -> Predictions:
    """Reads a result file: a list of `{video_id, category_id, score, segmentations}`; masks are read by `read_video`.

    Args:
        source: Path or parsed JSON.
        videos: Of the ground truth.
        truth_name: Its name, for messages.

    Raises:
        ValueError: If it is no list or an entry's video isn't in the ground truth.
    """
    data, name = load_json(source, "predictions")
    if not isinstance(data, list):
        hint = ", perhaps its 'annotations'" if isinstance(data, Mapping) and "annotations" in data else ""
        raise ValueError(f"{name}: expected a list of predictions, got a {type(data).__name__}{hint}")
    check_count(len(data), LIMITS.entries, f"{name}: predictions")
    entries = []
    for position, content in enumerate(data):
        place = f"{name}: prediction {position}"
        video_id = read_integer(content, "video_id", place)
        if video_id not in videos:
            raise ValueError(f"{place}: video {video_id} is not in {truth_name}")
        entries.append(prediction_entry(content, position, videos[video_id], f"{place} (video {video_id})"))
    return Predictions(name, _by_video(entries))


def prediction_entry(content: Mapping[str, Any], position: int, video: VideoRecord, where: str) -> Entry:
    """A prediction of a result file, by its position from 0.

    Raises:
        ValueError: If it is no dict.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{where}: expected a dict, got {type(content).__name__}")
    return Entry(content, position + 1, video, is_prediction=True, where=where)


@collection_paused()
def read_video(
    annotations: Iterable[Entry], predictions: Iterable[Entry], category_ids: Container[int], report: ScoringReport
) -> tuple[list[TrackRecord], list[TrackRecord]]:
    """All annotated and all predicted tracks of one video.

    Raises:
        ValueError: If an entry is malformed.
    """
    annotated, predicted = list(annotations), list(predictions)
    tracks = [track for track in read_tracks([*annotated, *predicted], category_ids, report) if track is not None]
    return tracks[: len(annotated)], tracks[len(annotated) :]


def read_integer(entry: Any, key: str, place: str) -> int:
    """An entry's integer.

    Raises:
        ValueError: If the entry is no dict, or has something else there.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"{place}: expected a dict, got {type(entry).__name__}")
    value = entry.get(key)
    if not is_id(value):
        raise ValueError(f"{place}: {key}: expected an integer, got {brief(value) if key in entry else 'nothing'}")
    return int(value)


def load_json(source: JsonSource, what: str) -> tuple[Any, str]:
    """The parsed content of a path, or what is parsed already; and its name for messages.

    Raises:
        ValueError: If the file is missing or isn't JSON.
    """
    if not isinstance(source, str | os.PathLike):
        return source, what
    try:
        return read_json(source), str(source)
    except FileError as error:
        raise ValueError(f"{error} ({what})") from error


def _by_video(entries: Iterable[Entry]) -> dict[int, list[Entry]]:
    by_video: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_video[entry.video.id].append(entry)
    return dict(by_video)

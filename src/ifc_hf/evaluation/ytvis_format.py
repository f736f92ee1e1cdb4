"""YouTube-VIS files: read them and check what holds them together."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

JsonSource: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True)
class Video:
    """A video's id, size in pixels and number of frames L; None = not known, then not checked."""

    id: int
    height: int | None = None
    width: int | None = None
    length: int | None = None


@dataclass(frozen=True)
class GroundTruth:
    """A checked annotation file: `videos` and `categories` (names) by id, raw `annotations` by video id."""

    name: str
    videos: dict[int, Video]
    categories: dict[int, str]
    annotations: dict[int, list[Mapping[str, Any]]]


@dataclass(frozen=True)
class Predictions:
    """A result file: (position in the file, raw entry) by video id, in file order."""

    name: str
    entries: dict[int, list[tuple[int, Any]]]


def read_ground_truth(source: JsonSource) -> GroundTruth:
    """Read an annotation file of the YouTube-VIS format.

    Args:
        source: Path, or the parsed JSON: a dict with `videos`, `categories`, `annotations`.

    Raises:
        ValueError: If the file is missing or broken, a key is missing, an id occurs twice, a video has no frames, or
            an annotation belongs to no video.
    """
    data, name = load_json(source, "ground truth")
    for key in ("videos", "categories", "annotations"):
        if not isinstance(data, Mapping) or not isinstance(data.get(key), list):
            raise ValueError(
                f"{name}: expected a dict with lists of videos, categories, annotations; {key} is no list"
            )
    videos = {}
    for position, entry in enumerate(data["videos"]):
        video = _read_video(entry, f"{name}: videos[{position}]")
        if video.id in videos:
            raise ValueError(f"{name}: video id {video.id} occurs twice")
        videos[video.id] = video
    categories = read_categories(data["categories"], name)
    annotations: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    seen: set[int] = set()
    for position, entry in enumerate(data["annotations"]):
        place = f"{name}: annotations[{position}]"
        annotation_id, video_id = read_integer(entry, "id", place), read_integer(entry, "video_id", place)
        if annotation_id in seen:
            raise ValueError(f"{name}: video {video_id}: annotation id {annotation_id} occurs twice")
        if video_id not in videos:
            raise ValueError(f"{name}: annotation {annotation_id} belongs to video {video_id}, which is not in videos")
        seen.add(annotation_id)
        annotations[video_id].append(entry)
    return GroundTruth(name, videos, categories, dict(annotations))


def read_predictions(source: JsonSource, ground_truth: GroundTruth) -> Predictions:
    """Read a result file: a list of `{video_id, category_id, score, segmentations}`.

    Args:
        source: Path or parsed JSON.
        ground_truth: What the predictions are for.

    Raises:
        ValueError: If it is no list or an entry's video isn't in the ground truth.
    """
    data, name = load_json(source, "predictions")
    if not isinstance(data, list):
        hint = ", perhaps its 'annotations'" if isinstance(data, Mapping) and "annotations" in data else ""
        raise ValueError(f"{name}: expected a list of predictions, got a {type(data).__name__}{hint}")
    by_video: dict[int, list[tuple[int, Any]]] = defaultdict(list)
    for position, entry in enumerate(data):
        video_id = read_integer(entry, "video_id", f"{name}: prediction {position}")
        if video_id not in ground_truth.videos:
            raise ValueError(f"{name}: prediction {position}: video {video_id} is not in {ground_truth.name}")
        by_video[video_id].append((position, entry))
    return Predictions(name, dict(by_video))


def load_json(source: JsonSource, what: str) -> tuple[Any, str]:
    """The parsed content of a path, or what is parsed already; and its name for messages.

    Raises:
        ValueError: If the file is missing or isn't JSON.
    """
    if not isinstance(source, str | os.PathLike):
        return source, what
    path = Path(source)
    try:
        return json.loads(path.read_text(encoding="utf-8")), str(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file ({what})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({what}): {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: broken JSON ({what}): {error}") from error


def read_categories(entries: Iterable[Any], name: str) -> dict[int, str]:
    """Category names by id.

    Raises:
        ValueError: If an id is missing or occurs twice.
    """
    categories: dict[int, str] = {}
    for position, entry in enumerate(entries):
        category_id = read_integer(entry, "id", f"{name}: categories[{position}]")
        if category_id in categories:
            raise ValueError(f"{name}: category id {category_id} occurs twice")
        categories[category_id] = str(entry.get("name", category_id))
    return categories


def _read_video(entry: Any, place: str) -> Video:
    video_id = read_integer(entry, "id", place)
    place = f"{place} (video {video_id})"
    height, width = read_integer(entry, "height", place), read_integer(entry, "width", place)
    length = read_integer(entry, "length", place) if "length" in entry else len(entry.get("file_names") or ())
    if height < 1 or width < 1:
        raise ValueError(f"{place}: expected a height and width of 1 or more, got {height} x {width}")
    if length < 1:
        raise ValueError(f"{place}: has no frames (length {length})")
    return Video(video_id, height, width, length)


def read_integer(entry: Any, key: str, place: str) -> int:
    """An entry's integer.

    Raises:
        ValueError: If the entry is no dict, or has something else there.
    """
    value = entry.get(key) if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping):
        raise ValueError(f"{place}: expected a dict, got {type(entry).__name__}")
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise ValueError(f"{place}: {key}: expected an integer, got {value if key in entry else 'nothing'}")
    return int(value)

"""From the content of an annotation file to videos with tracks, with every problem on the way, no picture opened."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

from ..files import JsonObject, collection_paused
from ..model.limits import LIMITS, brief, check_count, check_size_hw, is_id
from .problems import DataSetError, Problem
from .records import VideoRecord, describe_video
from .tracks import Entry, Report, read_tracks

ID_ZERO = "annotation id 0"  # kind of a problem
ENTRIES_AT_ONCE = 500  # whose masks are measured together


@dataclass
class ParsedSplit:
    """What an annotation file says.

    Attributes:
        file: The annotation file, for messages.
        category_ids: Category id of every label index, ascending.
        label_names: Name of every label index.
        videos: The sound videos with their sound tracks.
        has_annotations: False for files like the official valid.json, which list videos only.
        problems: Everything that is wrong.
        dropped: What was wrong and is left out, if that was asked for.
    """

    file: str
    category_ids: list[int] = field(default_factory=list)
    label_names: list[str] = field(default_factory=list)
    videos: list[VideoRecord] = field(default_factory=list)
    has_annotations: bool = False
    problems: list[Problem] = field(default_factory=list)
    dropped: list[Problem] = field(default_factory=list)

    @property
    def labels(self) -> dict[int, int]:
        """Label index of every category id."""
        return {category_id: label for label, category_id in enumerate(self.category_ids)}


class TrainingReport:
    """Keeps every problem of a data set; see `Report`."""

    for_training = True

    def __init__(self, file: str, noun: str) -> None:
        self.file = file
        self.noun = noun
        self.problems: list[Problem] = []

    def problem(self, problem: Problem) -> None:
        """Keeps a problem of a file, category or video."""
        self.problems.append(problem)

    def __call__(
        self,
        entry: Entry,
        kind: str,
        message: str,
        frame: int | None = None,
        fatal: bool = True,
        tolerable: bool = False,
    ) -> None:
        """Keeps a problem of a track."""
        where = entry.video.describe(self.noun)
        self.problems.append(Problem(kind, message, self.file, where, entry.id, frame, fatal))


@collection_paused()
def parse_ytvis(content: Any, file: str, noun: str = "video") -> ParsedSplit:
    """Parse the content of a YouTube-VIS file for training.

    Args:
        content: `{"videos": [...], "categories": [...], "annotations": [...] or None}`.
        file: The file's name, for messages.
        noun: What messages call a video.

    Returns:
        All videos and problems. A track with a fatal problem is left out of them.

    Raises:
        DataSetError: If the content is no such file at all.
    """
    check_lists(content, ("videos", "categories"), file, "YouTube-VIS")
    report = TrainingReport(file, noun)
    names = read_categories(content["categories"], file, report)
    videos, listed = read_videos(content["videos"], file, noun, report)
    annotations = content.get("annotations")
    if annotations is not None and not isinstance(annotations, list):
        message = f"annotations: expected a list or null, got {type(annotations).__name__}"
        report.problem(Problem("wrong format", message, file))
    elif annotations is not None:
        entries = read_entries(annotations, videos, listed, file, noun, report)
        chunks = range(0, len(entries), ENTRIES_AT_ONCE)
        for start in tqdm(chunks, desc=f"Checking {file}", unit="500 tracks", leave=False, disable=None):
            chunk = entries[start : start + ENTRIES_AT_ONCE]
            tracks = read_tracks(chunk, names, report)
            for entry, track in zip(chunk, tracks, strict=True):
                if track is not None:
                    entry.video.tracks.append(track)
    category_ids = sorted(names)
    return ParsedSplit(
        file, category_ids, [names[category_id] for category_id in category_ids], list(videos.values()),
        annotations is not None, report.problems,
    )  # fmt: skip


def check_lists(content: Any, keys: Sequence[str], file: str, what: str) -> None:
    """Refuses what is no dict with lists of a reasonable length.

    Raises:
        DataSetError: If it is anything else.
    """
    for key in keys:
        if not isinstance(content, Mapping) or not isinstance(content.get(key), list):
            found = brief(sorted(map(str, content))) if isinstance(content, Mapping) else type(content).__name__
            quoted = " and ".join([", ".join(f"'{name}'" for name in keys[:-1]), f"'{keys[-1]}'"])
            message = f"expected a {what} file with lists {quoted}, found {found}"
            raise DataSetError([Problem("wrong format", message, file)])
        try:
            check_count(len(content[key]), LIMITS.entries, key)
        except ValueError as error:
            raise DataSetError([Problem("too many", str(error), file)]) from error


def read_categories(categories: Iterable[Any], file: str, report: Report) -> dict[int, str]:
    """Category names by id; scoring does without names, and with two categories of one name."""
    names: dict[int, str] = {}
    seen: set[str] = set()
    for position, category in enumerate(categories):
        category_id, name = (
            (category.get("id"), category.get("name")) if isinstance(category, Mapping) else (None, None)
        )
        if not report.for_training and is_id(category_id) and name is None:
            name = str(category_id)
        if not is_id(category_id) or not isinstance(name, str) or not name:
            message = f"expected a category with an integer 'id' and a 'name', got {brief(category)}"
            report.problem(Problem("bad category", f"categories[{position}]: {message}", file))
        elif category_id in names:
            message = f"category id {category_id} is there twice: {names[category_id]!r} and {name!r}"
            report.problem(Problem("duplicate id", message, file))
        elif report.for_training and name in seen:
            message = f"category name {name!r} is there twice, again with id {category_id}"
            report.problem(Problem("duplicate category", message, file))
        else:
            names[int(category_id)] = name
            seen.add(name)
    if report.for_training and not names:
        report.problem(Problem("bad category", "there is no category", file))
    return names


def read_videos(
    entries: Iterable[Any], file: str, noun: str, report: Report
) -> tuple[dict[int, VideoRecord], set[int]]:
    """The sound videos by id, and the ids of all."""
    videos: dict[int, VideoRecord] = {}
    listed: set[int] = set()
    for position, entry in enumerate(entries):
        video_id = entry.get("id") if isinstance(entry, Mapping) else None
        if not is_id(video_id):
            report.problem(Problem(f"bad {noun}", _no_id(entry, f"{noun}s[{position}]"), file))
            continue
        video_id = int(video_id)
        where = describe_video(video_id, entry.get("file_names"), noun)
        if video_id in listed:
            report.problem(Problem("duplicate id", f"{noun} id {video_id} is there twice", file, where))
            continue
        listed.add(video_id)
        found = list(_video_problems(entry, noun, report.for_training))
        for kind, message in found:
            report.problem(Problem(kind, message, file, where))
        if not found:
            names = entry.get("file_names") or []
            length = len(names) if report.for_training or "length" not in entry else int(entry["length"])
            names = names if report.for_training else []
            videos[video_id] = VideoRecord(video_id, int(entry["height"]), int(entry["width"]), length, names)
    return videos, listed


def _video_problems(video: Mapping[str, Any], noun: str, for_training: bool) -> Iterable[tuple[str, str]]:
    """Kind and message of everything that is wrong with a video; scoring needs a length, but no names of pictures."""
    for side in ("width", "height"):
        if not is_id(video.get(side)) or video[side] < 1:
            yield f"bad {noun}", f"{side}: expected an integer of 1 or more, in pixels, got {brief(video.get(side))}"
            return
    try:
        check_size_hw(video["height"], video["width"], f"{noun} size")
    except ValueError as error:
        yield f"bad {noun}", str(error)
    names: Any = video.get("file_names")
    needs_names = for_training or "length" not in video
    if needs_names and (not isinstance(names, list) or not set(map(type, names)) <= {str} or not all(names)):
        got = "something else or None" if "file_names" in video else "nothing"
        yield f"bad {noun}", f"file_names: expected one file name per frame, got {got}"
        return
    length = video["length"] if "length" in video else len(names)
    if not is_id(length) or length < 0:
        yield f"bad {noun}", f"length: expected an integer, got {brief(length)}"
    elif length > LIMITS.length:
        yield f"bad {noun}", f"length: {length} frames, more than the limit of {LIMITS.length}"
    elif length == 0 or (for_training and not names):
        yield f"empty {noun}", f"{noun} of length 0: it has no frames"
    elif for_training and length != len(names):
        yield "wrong length", f"length is {length}, but there are {len(names)} file_names"


def read_entries(
    annotations: Iterable[Any],
    videos: Mapping[int, VideoRecord],
    listed: Container[int],
    file: str,
    noun: str,
    report: Report,
) -> list[Entry]:
    """Annotations with an id of their own and a sound video, in the order of the file."""
    entries: list[Entry] = []
    seen: set[int] = set()
    for position, annotation in enumerate(annotations):
        annotation_id = annotation.get("id") if isinstance(annotation, Mapping) else None
        if not is_id(annotation_id):
            report.problem(Problem("bad annotation", _no_id(annotation, f"annotations[{position}]"), file))
            continue
        annotation_id, video_id = int(annotation_id), annotation.get("video_id")
        if annotation_id in seen:
            where = f"{noun} {brief(video_id)}"
            report.problem(Problem("duplicate id", "annotation id is there twice", file, where, annotation_id))
            continue
        seen.add(annotation_id)
        video = videos.get(video_id) if is_id(video_id) else None
        if video is not None:
            place = f"{file}: {noun} {video.id}, annotation {annotation_id}"
            entries.append(Entry(annotation, annotation_id, video, where=place))
            if annotation_id == 0:
                message = (
                    "the official evaluators count a track that matches annotation id 0 as unmatched: number from 1"
                )
                report(entries[-1], ID_ZERO, message, fatal=False)
        elif not is_id(video_id) or video_id not in listed:  # tracks of a refused video would only repeat its problem
            message = f"there is no {noun} with id {brief(video_id)}"
            report.problem(Problem(f"unknown {noun}", message, file, None, annotation_id))
    return entries


def _no_id(entry: Any, place: str) -> str:
    """What is wrong with an entry that has no usable id."""
    if not isinstance(entry, Mapping):
        return f"{place}: expected a dict, got {type(entry).__name__}"
    got = brief(entry["id"]) if "id" in entry else "nothing"
    return f"{place}: expected an integer 'id' of at most 64 bits, got {got}"


def coco_as_ytvis(content: Any, file: str) -> JsonObject:
    """View a COCO file as YouTube-VIS: an image is a video of one frame, an annotation a track of one mask.

    Raises:
        DataSetError: If the content is no COCO file.
    """
    check_lists(content, ("images", "categories"), file, "COCO")
    images = [_image_as_video(image) for image in content["images"]]
    annotations = content.get("annotations")
    used: set[Any] = set()
    if isinstance(annotations, list):
        ids = [annotation.get("category_id") for annotation in annotations if isinstance(annotation, Mapping)]
        used = {category_id for category_id in ids if is_id(category_id)}
        annotations = [_image_annotation_as_track(annotation) for annotation in annotations]
    categories = _without_dummy(content["categories"], used)
    return {"videos": images, "categories": categories, "annotations": annotations}


def _without_dummy(categories: list[Any], used: Container[Any]) -> list[Any]:
    """Categories without the one that Roboflow adds: no annotation has it, it is the supercategory of all others."""
    sound = [category for category in categories if isinstance(category, Mapping) and is_id(category.get("id"))]
    for dummy in sound:
        if dummy.get("supercategory") != "none" or dummy["id"] in used:
            continue
        others = [category.get("supercategory") for category in sound if category is not dummy]
        if others and all(name == dummy.get("name") for name in others):
            return [category for category in categories if category is not dummy]
    return categories


def _image_as_video(image: Any) -> Any:
    if not isinstance(image, Mapping):
        return image
    return {**image, "length": 1, "file_names": [image.get("file_name")]}


def _image_annotation_as_track(annotation: Any) -> Any:
    if not isinstance(annotation, Mapping):
        return annotation
    per_frame = {"segmentation": "segmentations", "bbox": "bboxes", "area": "areas"}
    track = {plural: [annotation[name]] for name, plural in per_frame.items() if annotation.get(name) is not None}
    kept = {name: annotation[name] for name in ("id", "category_id", "iscrowd") if name in annotation}
    return {**kept, "video_id": annotation.get("image_id"), **track}

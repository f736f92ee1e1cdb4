"""From the content of an annotation file to rows, with every problem on the way. No picture is opened here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

from .problems import DataSetError, Problem
from .tracks import is_id, read_track


@dataclass
class ParsedSplit:
    """What an annotation file says.

    Attributes:
        file: The annotation file, for messages.
        category_ids: Category id of every label index, ascending.
        label_names: Name of every label index.
        videos: Rows: `video_id, width, height, length, file_names, objects`; `objects` as `read_track` gives them.
        has_annotations: False for files like the official valid.json, which list videos only.
        problems: Everything that is wrong.
    """

    file: str
    category_ids: list[int] = field(default_factory=list)
    label_names: list[str] = field(default_factory=list)
    videos: list[dict[str, Any]] = field(default_factory=list)
    has_annotations: bool = False
    problems: list[Problem] = field(default_factory=list)


def parse_ytvis(content: Any, file: str, noun: str = "video") -> ParsedSplit:
    """Parse the content of a YouTube-VIS file.

    Args:
        content: `{"videos": [...], "categories": [...], "annotations": [...] or None}`.
        file: The file's name, for messages.
        noun: What messages call a video.

    Returns:
        All rows and problems. A track with a fatal problem is left out of the rows.

    Raises:
        DataSetError: If the content is no such file at all.
    """
    for key in ("videos", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            found = sorted(content) if isinstance(content, dict) else type(content).__name__
            message = f"expected a YouTube-VIS file with lists 'videos' and 'categories', found {found}"
            raise DataSetError([Problem("wrong format", message, file)])
    split = ParsedSplit(file)
    _parse_categories(content["categories"], split)
    listed = _parse_videos(content["videos"], split, noun)
    if content.get("annotations") is not None:
        split.has_annotations = True
        _parse_annotations(content["annotations"], listed, split, noun)
    return split


def coco_as_ytvis(content: Any, file: str) -> dict[str, Any]:
    """View a COCO file as YouTube-VIS: an image is a video of one frame, an annotation a track of one mask.

    Raises:
        DataSetError: If the content is no COCO file.
    """
    for key in ("images", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            found = sorted(content) if isinstance(content, dict) else type(content).__name__
            message = f"expected a COCO file with lists 'images' and 'categories', found {found}"
            raise DataSetError([Problem("wrong format", message, file)])
    images = [_image_as_video(image) for image in content["images"]]
    annotations = content.get("annotations")
    if isinstance(annotations, list):
        annotations = [_image_annotation_as_track(annotation) for annotation in annotations]
    return {"videos": images, "categories": content["categories"], "annotations": annotations}


def _image_as_video(image: Any) -> Any:
    if not isinstance(image, dict):
        return image
    return {**image, "length": 1, "file_names": [image.get("file_name")]}


def _image_annotation_as_track(annotation: Any) -> Any:
    if not isinstance(annotation, dict):
        return annotation
    per_frame = {"segmentation": "segmentations", "bbox": "bboxes", "area": "areas"}
    track = {plural: [annotation[name]] for name, plural in per_frame.items() if name in annotation}
    kept = {name: annotation[name] for name in ("id", "category_id", "iscrowd") if name in annotation}
    return {**kept, "video_id": annotation.get("image_id"), **track}


def _parse_categories(categories: list[Any], split: ParsedSplit) -> None:
    names: dict[int, str] = {}
    for category in categories:
        category_id, name = (category.get("id"), category.get("name")) if isinstance(category, dict) else (None, None)
        if not is_id(category_id) or not isinstance(name, str) or not name:
            message = f"expected a category with an integer 'id' and a 'name', got {category!r}"
            split.problems.append(Problem("bad category", message, split.file))
        elif category_id in names:
            message = f"category id {category_id} is there twice: {names[category_id]!r} and {name!r}"
            split.problems.append(Problem("duplicate id", message, split.file))
        elif name in names.values():
            message = f"category name {name!r} is there twice, again with id {category_id}"
            split.problems.append(Problem("duplicate category", message, split.file))
        else:
            names[category_id] = name
    if not names:
        split.problems.append(Problem("bad category", "there is no category", split.file))
    split.category_ids = sorted(names)
    split.label_names = [names[category_id] for category_id in split.category_ids]


def _parse_videos(videos: list[Any], split: ParsedSplit, noun: str) -> set[int]:
    """Add the rows of sound videos to the split; returns the ids of all videos, sound or not."""
    seen: set[int] = set()
    for video in videos:
        video_id = video.get("id") if isinstance(video, dict) else None
        if not is_id(video_id):
            message = f"expected a {noun} with an integer 'id', got {str(video)[:80]}"
            split.problems.append(Problem(f"bad {noun}", message, split.file))
            continue
        where = describe_video(video, noun)
        found = [Problem("duplicate id", f"{noun} id {video_id} is there twice", split.file, where)]
        if video_id not in seen:
            found = [Problem(kind, message, split.file, where) for kind, message in _video_problems(video, noun)]
        seen.add(video_id)
        split.problems += found
        if not found:
            sizes = {name: video[name] for name in ("width", "height")}
            length = len(video["file_names"])
            row = {"video_id": video_id, **sizes, "length": length, "file_names": video["file_names"], "objects": []}
            split.videos.append(row)
    return seen


def _video_problems(video: dict[str, Any], noun: str) -> list[tuple[str, str]]:
    problems = []
    names = video.get("file_names")
    for side in ("width", "height"):
        if not is_id(video.get(side)) or video[side] < 1:
            problems.append((f"bad {noun}", f"{side}: expected pixels, got {video.get(side)!r}"))
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        problems.append((f"bad {noun}", "file_names: expected one file name per frame, got something else or None"))
    elif not names:
        problems.append((f"empty {noun}", f"{noun} of length 0: file_names is empty"))
    elif video.get("length", len(names)) != len(names):
        problems.append(("wrong length", f"length is {video['length']!r}, but there are {len(names)} file_names"))
    return problems


def _parse_annotations(annotations: Any, listed: set[int], split: ParsedSplit, noun: str) -> None:
    if not isinstance(annotations, list):
        message = f"annotations: expected a list or null, got {type(annotations).__name__}"
        split.problems.append(Problem("wrong format", message, split.file))
        return
    videos = {row["video_id"]: row for row in split.videos}
    labels = {category_id: label for label, category_id in enumerate(split.category_ids)}
    seen: set[int] = set()
    for annotation in tqdm(annotations, desc=f"Checking {split.file}", unit="track", leave=False, disable=None):
        annotation_id = annotation.get("id") if isinstance(annotation, dict) else None
        if not is_id(annotation_id):
            message = f"expected an annotation with an integer 'id', got {str(annotation)[:80]}"
            split.problems.append(Problem("bad annotation", message, split.file))
            continue
        if annotation_id in seen:
            where = f"{noun} {annotation.get('video_id')}"
            problem = Problem("duplicate id", "annotation id is there twice", split.file, where, annotation_id)
            split.problems.append(problem)
            continue
        seen.add(annotation_id)
        video_id = annotation.get("video_id")
        video = videos.get(video_id) if is_id(video_id) else None
        if video is None:
            # Tracks of a refused video would only repeat its problem.
            if not is_id(video_id) or video_id not in listed:
                message = f"there is no {noun} with id {video_id!r}"
                split.problems.append(Problem(f"unknown {noun}", message, split.file, None, annotation_id))
            continue
        track, problems = read_track(annotation, video, labels, split.file, describe_video(video, noun))
        split.problems += problems
        if track is not None:
            video["objects"].append(track)


def describe_video(video: dict[str, Any], noun: str = "video") -> str:
    """`video 3 (0a7a2514aa)`: the id, and the folder that its frames are in (or the file's name of an image)."""
    video_id = video["video_id"] if "video_id" in video else video.get("id")
    names = video.get("file_names")
    name = names[0] if isinstance(names, list) and names else ""
    folder = str(name).rpartition("/")[0] or str(name)
    return f"{noun} {video_id} ({folder})" if folder else f"{noun} {video_id}"

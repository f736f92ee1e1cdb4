"""Label Studio: brush masks and polygons on the frames of a video, each frame a task.

Its video tasks hold boxes only (`VideoRectangle`), so a video has to be annotated as pictures to get masks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ...files import JsonObject
from ...model.limits import brief
from ...model.masks import encode_rle
from ...model.rle import Rle, SegmentationError, compress_segmentation
from ..problems import read_data_file
from .brush import decode_brush_rle
from .common import AnnotatedVideo, Source, checked_length, fail, folder_name
from .pictures import frame_size_hw, list_pictures
from .schema import Identity, Integer, Record, read_as, read_list

BRUSHES, POLYGONS = ("brush", "brushlabels"), ("polygon", "polygonlabels")
# Regions without pixels of their own. What is none of these belongs to a region or the picture, and is left out.
OTHER_SHAPES = ("rectangle", "ellipse", "keypoint", "vector", "videorectangle", "bitmask", "cuboid")
UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts it before the name of every uploaded file


class _Annotation(Record):
    result: list[Any]
    id: Identity | None = None
    was_cancelled: bool | None = False
    ground_truth: bool | None = False


class _Task(Record):
    data: JsonObject
    id: Identity | None = None
    annotations: list[Any] = []  # msgspec copies it
    drafts: list[Any] | None = None
    predictions: list[Any] | None = None


class _Item(Record):
    type: str
    id: Identity | None = None
    value: JsonObject = {}
    from_name: str | None = None
    original_height: Integer | None = None
    original_width: Integer | None = None
    image_rotation: float | None = 0


class _Polygon(Record):
    points: list[tuple[float, float]]
    closed: bool | None = True


class _Brush(Record):
    rle: list[Integer]
    format: str = "rle"


def read_label_studio(source: Path, frames: Path | None, allow_outside: bool) -> Source:
    """Reads the JSON export of a project whose tasks are the frames of one video.

    Of a task's annotations, the first ground truth counts, or else the first one; skipped ones, drafts and predictions
    don't. Objects are told apart by a per-region `Number` or `TextArea` whose name contains "track"; a label that is
    there once per frame needs none.

    Args:
        source: The JSON, or a folder with this one JSON.
        frames: Folder with the frames; by default the JSON's.
        allow_outside: Follow links out of that folder.

    Returns:
        One video with the JSON's name.

    Raises:
        DataSetError: If it is no such file, nothing was annotated, identities or labels are missing, or a region is no
            mask.
    """
    json_files = sorted(source.glob("*.json")) if source.is_dir() else [source]
    if len(json_files) != 1:
        fail("wrong format", f"expected Label Studio's JSON export, found {len(json_files)} JSON files", str(source))
    file = str(json_files[0])
    content = read_data_file(json_files[0])
    if not isinstance(content, list) or not all(isinstance(task, dict) and "data" in task for task in content):
        fail("wrong format", "expected Label Studio's JSON export: a list of tasks with 'data'", file)
    tasks = read_list(_Task, content, file, "tasks")
    pictures = list_pictures(frames or json_files[0].parent, allow_outside, file)
    name = folder_name(json_files[0].stem, file)
    checked_length(len(pictures), file, name)
    video = AnnotatedVideo(name, *frame_size_hw(pictures[0], file, name, 0), pictures)
    result = Source(file, [], [video])
    frame_of = {picture.name: index for index, picture in enumerate(pictures)}
    task_of: dict[int, str] = {}
    num_annotated = 0
    for index, task in enumerate(tasks):
        where = f"task {index if task.id is None else task.id}"
        frame = _find_frame(task, frame_of, where, file, name)
        if frame in task_of:
            message = f"{pictures[frame].name} belongs to {task_of[frame]} and {where}"
            fail("duplicate frame", message, file, name, frame=frame)
        task_of[frame] = where
        annotation = _choose(task, where, name, frame, result)
        if annotation is not None:
            num_annotated += 1
            _add_annotation(video, annotation, frame, result)
    if not num_annotated:
        fail("empty video", f"none of the {len(tasks)} tasks has an annotation that was submitted", file, name)
    if len(task_of) < len(pictures):
        first = min(set(range(len(pictures))) - set(task_of))
        message = f"{len(pictures) - len(task_of)} frames have no task, first {pictures[first].name}: without objects"
        result.leave_out("frame without task", message, name, frame=first)
    return result


def _find_frame(task: _Task, frame_of: dict[str, int], where: str, file: str, video: str) -> int:
    names = [name for value in task.data.values() if isinstance(value, str) for name in _file_names(value)]
    frame = next((frame_of[name] for name in names if name in frame_of), None)
    if frame is None:
        fail("missing frame", f"{where}: there is no picture {brief(names)} among the frames", file, video)
    return frame


def _file_names(address: str) -> Iterator[str]:
    """Names that a file may have on this disk, the most literal one first."""
    try:
        parts = urlsplit(address)
        paths = [address, unquote(parts.path), *parse_qs(parts.query).get("d", [])]
    except ValueError:  # not an address
        paths = [address]
    names = [re.split(r"[/\\]", path)[-1] for path in paths]
    yield from names
    yield from (UPLOAD_PREFIX.sub("", name) for name in names)


def _choose(task: _Task, where: str, video: str, frame: int, result: Source) -> _Annotation | None:
    """The annotation of a task that counts; the others are noted."""
    annotations = read_list(_Annotation, task.annotations, result.file, f"{where}: annotations")
    submitted = [annotation for annotation in annotations if not annotation.was_cancelled]
    chosen = next((annotation for annotation in submitted if annotation.ground_truth), next(iter(submitted), None))
    others = {
        "skipped annotation": sum(bool(annotation.was_cancelled) for annotation in annotations),
        "other annotation": max(len(submitted) - 1, 0),
        "draft": len(task.drafts or []),
        "prediction": len(task.predictions or []),
    }
    for kind, count in others.items():
        if count:
            result.leave_out(kind, f"{where}: {count} of them", video, frame=frame)
    if chosen is None:
        message = f"{where} has no annotation that was submitted: a frame without objects"
        result.leave_out("frame without annotation", message, video, frame=frame)
    return chosen


def _add_annotation(video: AnnotatedVideo, annotation: _Annotation, frame: int, result: Source) -> None:
    file = result.file
    items = read_list(_Item, annotation.result, file, f"video {video.name}, frame {frame}: result")
    regions = []
    for item in items:
        kind = item.type.lower()
        if kind.startswith(OTHER_SHAPES):
            hint = ": annotate the frames as images with brush or polygon" if kind.startswith("video") else ""
            message = f"is a {item.type}: only brush masks and polygons say which pixels an object has{hint}"
            fail("wrong shape", message, file, video.name, item.id, frame)
        if kind in (*BRUSHES, *POLYGONS):
            regions.append(item)
        elif kind != "labels" and not _is_track_number(item):
            message = f"a {brief(item.type)} {brief(item.from_name)}: there are classes only"
            result.leave_out("attribute", message, video.name, item.id, frame)
    labels = _labels(items, regions, video.name, frame, file)
    counts = Counter(labels)
    tracks = {item.id: _track_number(item, video.name, frame, file) for item in items if _is_track_number(item)}
    for item, label in zip(regions, labels, strict=True):
        track = tracks.get(item.id)
        if track is None and counts[label] > 1:
            message = f"{counts[label]} regions {label!r} without a track number"
            fail("no identity", message, file, video.name, item.id, frame)
        try:
            rle = _region_as_rle(item, video, frame, file)
        except SegmentationError as error:
            fail(error.kind, str(error), file, video.name, item.id, frame)
        video.add((label, track), label, frame, rle, file)


def _labels(items: Sequence[_Item], regions: Sequence[_Item], video: str, frame: int, file: str) -> list[str]:
    """Label of every region: its own, or that of a `labels` result with the region's id."""
    separate = {item.id: item.value.get("labels") for item in items if item.type.lower() == "labels"}
    found = []
    for region in regions:
        labels = region.value.get(region.type) or separate.get(region.id)
        if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str) or not labels[0]:
            message = f"expected a region with one label, got {brief(labels)}"
            fail("no label", message, file, video, region.id, frame)
        found.append(labels[0])
    return found


def _is_track_number(item: _Item) -> bool:
    return item.type.lower() in ("number", "textarea") and "track" in (item.from_name or "").lower()


def _track_number(item: _Item, video: str, frame: int, file: str) -> str:
    content = item.value.get("number", item.value.get("text"))
    content = content[0] if isinstance(content, list) and len(content) == 1 else content
    if isinstance(content, bool) or not isinstance(content, int | float | str) or content == "":
        message = f"{item.from_name}: expected a number or a text, got {brief(item.value)}"
        fail("no identity", message, file, video, item.id, frame)
    return f"{content:g}" if isinstance(content, float) else str(content).strip()


def _region_as_rle(item: _Item, video: AnnotatedVideo, frame: int, file: str) -> Rle:
    height, width = video.height, video.width
    if (item.original_height, item.original_width) != (height, width):
        message = f"is {item.original_height}x{item.original_width} (height x width), the first frame {height}x{width}"
        raise SegmentationError("wrong size", message)
    if item.image_rotation:
        message = f"its picture is turned by {item.image_rotation:g} degrees in Label Studio: annotate it as it is"
        raise SegmentationError("turned picture", message)
    place = f"video {video.name}, frame {frame}, region {item.id}: value"
    if item.type.lower() in POLYGONS:
        polygon = read_as(_Polygon, item.value, file, place)
        if polygon.closed is False:
            raise SegmentationError("invalid polygon", "the polygon was not closed")
        points = [(x * width / 100, y * height / 100) for x, y in polygon.points]  # they are percent
        return compress_segmentation([[number for point in points for number in point]], height, width)
    brush = read_as(_Brush, item.value, file, place)
    if brush.format != "rle":
        raise SegmentationError("bad RLE", f"brush mask: expected format 'rle', got {brief(brush.format)}")
    values = decode_brush_rle(brush.rle, max_values=height * width * 4)
    if values.size != height * width * 4:
        message = f"brush mask has {values.size} values, expected {height}*{width}*4 (RGBA)"
        raise SegmentationError("wrong RLE size", message)
    return encode_rle(values.reshape(height, width, 4)[..., 3] > 0)

"""CVAT: "CVAT for video 1.1", an XML with polygon and mask tracks of a task, a job or a project.

Source: CVAT's documentation of its XML annotation format, version 1.1.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ...model.limits import brief
from ...model.masks import encode_rle
from ...model.rle import Rle, SegmentationError, compress_segmentation
from .common import AnnotatedVideo, Source, checked_length, checked_size_hw, fail, folder_name
from .cvat_frames import CvatTask, TaskFrames, find_frames
from .schema import Identity, Integer, Name, Record, read_texts
from .xml_file import read_xml


class _Meta(Record):
    name: str = ""
    id: str = ""
    subset: str = ""
    size: Integer | None = None
    start_frame: Integer = 0
    frame_filter: str = ""


class _Size(Record):
    height: Integer
    width: Integer


class _Track(Record):
    id: Identity
    label: Name
    task_id: str = ""


class _Shape(Record):
    frame: Integer
    outside: bool = False
    points: str = ""


class _Mask(Record):
    left: Integer
    top: Integer
    width: Integer
    height: Integer
    rle: str


@dataclass
class _Video:
    """A video that is being filled: `task_id` of a project's tracks, its frames, and what messages say of it."""

    video: AnnotatedVideo
    frames: TaskFrames


def read_cvat_xml(source: Path, frames: Path | None, allow_outside: bool) -> Source:
    """Reads the export of a task, a job or a project of videos.

    Frame numbers are those of the video that was uploaded: index i of a task is frame `start_frame + step * i`. CVAT
    writes the shapes between keyframes, too; a frame between two of an object's shapes that has none and isn't marked
    as outside counts as absent and is noted.

    Args:
        source: `annotations.xml`, or the unpacked export with it.
        frames: Folder or video file with the frames; by default the export's `images` folder. Of a project, a folder
            with a folder or video file named as each task.
        allow_outside: Follow links out of these folders.

    Returns:
        One video for each task, with its name.

    Raises:
        DataSetError: If it is no such file, a shape is no mask (boxes, points, ...), or frames are missing.
    """
    xml_file = source / "annotations.xml" if source.is_dir() else source
    root, file = read_xml(xml_file), str(xml_file)
    meta = next((node for node in map(root.find, ("meta/task", "meta/job", "meta/project")) if node is not None), None)
    if root.tag != "annotations" or meta is None:
        fail("wrong format", "expected CVAT's XML of a task, job or project (meta/task, ...)", file)
    if root.find("image") is not None:
        message = "this is 'CVAT for images', which has no tracks: export as 'CVAT for video 1.1'"
        fail("wrong format", message, file)
    nodes = meta.findall("tasks/task") if meta.tag == "project" else [meta]
    if not nodes:
        fail("empty video", "the project has no task", file)
    tasks = [_read_task(node, root.find("meta"), xml_file) for node in nodes]
    twice = [name for name, count in Counter(task.task_id for task in tasks).items() if count > 1]
    if twice:
        fail("duplicate id", f"task id {twice[0]!r} is there twice", file)
    # The parts of a skeleton are labels of their own, with their skeleton as parent.
    labels = [label.findtext("name") or "" for label in meta.findall("labels/label") if not label.findtext("parent")]
    result = Source(file, list(dict.fromkeys(filter(None, labels))), [])
    videos: dict[str, _Video] = {}
    for task, task_frames in zip(tasks, find_frames(tasks, xml_file, frames, allow_outside), strict=True):
        for number in task_frames.missing:
            message = f"frame {number} has no picture and no object (was it deleted in CVAT?)"
            result.leave_out("frame without picture", message, task.name)
        video = AnnotatedVideo(task.name, *task_frames.size_hw, task_frames.pictures)
        videos[task.task_id] = _Video(video, task_frames)
        result.videos.append(video)
    _add_tracks(root, videos, result)
    return result


def _read_task(node: ElementTree.Element, meta: ElementTree.Element | None, xml_file: Path) -> CvatTask:
    file = str(xml_file)
    texts = {child.tag: child.text or "" for child in node if len(child) == 0 and child.text}
    task = read_texts(_Meta, texts, file, f"meta/{node.tag}")
    size_node = next((s for n in (node, meta) if n is not None and (s := n.find("original_size")) is not None), None)
    size_hw = None
    if size_node is not None:
        sides = {side.tag: side.text or "" for side in size_node}
        size = read_texts(_Size, sides, file, f"meta/{node.tag}/original_size")
        size_hw = checked_size_hw(size.height, size.width, file)
    step = re.fullmatch(r"\s*(?:step\s*=\s*([0-9]{1,9}))?\s*", task.frame_filter)
    if step is None or step[1] is not None and int(step[1]) < 1:
        fail("wrong format", f"frame_filter: expected nothing or step=N, got {brief(task.frame_filter)}", file)
    if task.start_frame < 0:
        fail("wrong format", f"start_frame: expected 0 or more, got {task.start_frame}", file)
    name = folder_name(task.name or xml_file.stem, file)
    length = None if task.size is None else checked_length(task.size, file, name)
    return CvatTask(task.id, name, task.subset, length, task.start_frame, int(step[1] or 1), size_hw)


def _add_tracks(root: ElementTree.Element, videos: dict[str, _Video], result: Source) -> None:
    seen: set[Identity] = set()
    attributes: Counter[str] = Counter()
    for index, node in enumerate(root.findall("track")):
        track = read_texts(_Track, node.attrib, result.file, f"track {index}")
        if track.id in seen:
            fail("duplicate id", "the track is there twice", result.file, None, track.id)
        seen.add(track.id)
        if len(videos) > 1 and track.task_id not in videos:
            message = f"task_id is {brief(track.task_id)}, the project's tasks are {brief(list(videos))}"
            fail("unknown video", message, result.file, None, track.id)
        video = videos.get(track.task_id) or next(iter(videos.values()))
        _add_track(node, track, video, result)
        attributes.update(str(attribute.get("name")) for attribute in node.iter("attribute"))
    for name, count in attributes.items():
        result.leave_out("attribute", f"{count} values of attribute {name!r}: there are classes only")


def _add_track(node: ElementTree.Element, track: _Track, target: _Video, result: Source) -> None:
    video, visible = target.video, -1
    for element in node:
        if element.tag == "attribute":
            continue
        shape = read_texts(_Shape, element.attrib, result.file, f"track {track.id}, {element.tag}")
        if shape.outside:
            visible = -1
            continue
        index = target.frames.index_of.get(shape.frame)
        if index is None:
            message = f"there is no such frame: {target.frames.describe()}"
            fail("bad frame", message, result.file, video.name, track.id, shape.frame)
        if 0 <= visible < index - 1:
            message = f"no shape on the {index - visible - 1} frames before, and no 'outside': absent there"
            result.leave_out("gap", message, video.name, track.id, shape.frame)
        visible = index
        try:
            rle = _shape_as_rle(element, shape, video, result.file)
        except SegmentationError as error:
            fail(error.kind, str(error), result.file, video.name, track.id, shape.frame)
        video.add(track.id, track.label, index, rle, result.file)


def _shape_as_rle(element: ElementTree.Element, shape: _Shape, video: AnnotatedVideo, file: str) -> Rle:
    if element.tag == "polygon":
        try:
            points = [[float(number) for number in point.split(",")] for point in shape.points.split(";")]
        except ValueError as error:
            raise SegmentationError("invalid polygon", f"points are no numbers: {error}") from error
        if any(len(point) != 2 for point in points):
            raise SegmentationError("invalid polygon", "expected points 'x,y;x,y;...'")
        return compress_segmentation([[number for point in points for number in point]], video.height, video.width)
    if element.tag != "mask":
        message = f"is a {element.tag}: only polygons and masks say which pixels an object has"
        raise SegmentationError("wrong shape", message)
    mask = read_texts(_Mask, element.attrib, file, f"video {video.name}, frame {shape.frame}, mask")
    return encode_rle(_decode_mask(mask, video.height, video.width))


def _decode_mask(mask: _Mask, height: int, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Mask (H, W): runs of zeros and ones, zeros first, along the rows of the box `left, top, width, height`."""
    try:
        runs = np.array([int(run) for run in mask.rle.split(",") if run.strip()], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise SegmentationError("bad RLE", f"the runs of the mask are no integers: {error}") from error
    fits = min(mask.left, mask.top) >= 0 and min(mask.width, mask.height) >= 1
    fits = fits and mask.left + mask.width <= width and mask.top + mask.height <= height
    # A run beyond the frame is refused before runs are added up, so that the sum can't wrap.
    if not fits or (runs < 0).any() or (runs > height * width).any() or runs.sum() != mask.width * mask.height:
        box = f"a box at ({mask.left}, {mask.top}) of {mask.width}x{mask.height}"
        message = f"mask of {sum(runs.tolist())} pixels in {box} in a frame of {width}x{height}"
        raise SegmentationError("bad RLE", message)
    pixels = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    decoded = np.zeros((height, width), dtype=bool)
    decoded[mask.top : mask.top + mask.height, mask.left : mask.left + mask.width] = pixels.reshape(
        mask.height, mask.width
    )
    return decoded

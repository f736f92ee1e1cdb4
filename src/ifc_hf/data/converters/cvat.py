"""CVAT: "CVAT for video 1.1", an XML with polygon and mask tracks.

Source: CVAT's documentation of its XML annotation format, version 1.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...model.masks import encode_rle
from ...model.rle import SegmentationError, compress_segmentation
from .common import AnnotatedVideo, Source, fail, list_pictures


def read_cvat_xml(source: Path, frames: Path | None = None) -> Source:
    """Read the export of a video task.

    Args:
        source: `annotations.xml`, or the unpacked export with it.
        frames: Folder or video file with the frames; by default the export's `images` folder.

    Returns:
        One video with the task's name.

    Raises:
        DataSetError: If it is no such file, a shape is no mask (boxes, points, ...), or frames are missing.
    """
    xml_file = source / "annotations.xml" if source.is_dir() else source
    file = str(xml_file)
    try:
        root = ElementTree.parse(xml_file).getroot()
    except (OSError, ElementTree.ParseError) as error:
        fail("bad XML", f"can't be read as XML: {error}", file)
    task = next((root.find(f"meta/{kind}") for kind in ("task", "job") if root.find(f"meta/{kind}") is not None), None)
    if root.tag != "annotations" or task is None:
        fail(
            "wrong format",
            "expected CVAT's XML of one task or job (meta/task); export the tasks of a project singly",
            file,
        )
    if root.find("image") is not None:
        message = "this is 'CVAT for images', which has no tracks: export as 'CVAT for video 1.1'"
        fail("wrong format", message, file)
    labels = [label.text or "" for label in task.findall("labels/label/name")]
    name = (task.findtext("name") or xml_file.stem).strip().replace("/", "_")
    height, width = _frame_size_hw(root, task, file)
    pictures = frames if frames and frames.is_file() else list_pictures(frames or xml_file.parent / "images")
    # Frame numbers of a job count from the start of its task.
    first = int(task.findtext("start_frame") or 0) if task.tag == "job" else 0
    length = len(pictures) if isinstance(pictures, list) else int(task.findtext("size") or 0)
    video = AnnotatedVideo(name, height, width, pictures, length)
    for track in root.findall("track"):
        for shape in track:
            if shape.get("outside") == "1":
                continue
            where = (file, name, track.get("id"), int(shape.get("frame", -1)))
            try:
                rle = _shape_as_rle(shape, height, width, where)
            except SegmentationError as error:
                fail(error.kind, str(error), *where)
            video.add(track.get("id"), track.get("label", ""), where[-1] - first, rle, file)
    return Source(file, labels, [video])


def _frame_size_hw(root: ElementTree.Element, task: ElementTree.Element, file: str) -> tuple[int, int]:
    for place in (task, root.find("meta")):
        size = None if place is None else place.find("original_size")
        if size is not None:
            return int(size.findtext("height") or 0), int(size.findtext("width") or 0)
    fail("wrong format", "meta has no original_size: is this an export of a video task?", file)


def _shape_as_rle(shape: ElementTree.Element, height: int, width: int, where: tuple[Any, ...]) -> dict[str, Any]:
    if shape.tag == "polygon":
        points = [
            float(number) for point in shape.get("points", "").split(";") for number in point.split(",") if number
        ]
        return compress_segmentation([points], height, width)
    if shape.tag == "mask":
        return encode_rle(_decode_mask(shape, height, width, where))
    fail("wrong shape", f"is a {shape.tag}: only polygons and masks say which pixels an object has", *where)


def _decode_mask(shape: ElementTree.Element, height: int, width: int, where: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    """Mask (H, W): runs of zeros and ones, zeros first, along the rows of the box `left, top, width, height`."""
    left, top, box_width, box_height = (int(shape.get(name, 0)) for name in ("left", "top", "width", "height"))
    runs = np.array([int(run) for run in shape.get("rle", "").split(",") if run.strip()], dtype=np.int64)
    inside = left >= 0 and top >= 0 and left + box_width <= width and top + box_height <= height
    if not inside or (runs < 0).any() or runs.sum() != box_width * box_height:
        box = f"a box at ({left}, {top}) of {box_width}x{box_height}"
        fail("bad RLE", f"mask of {runs.sum()} pixels in {box} in a frame of {width}x{height}", *where)
    mask = np.zeros((height, width), dtype=bool)
    pixels = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    mask[top : top + box_height, left : left + box_width] = pixels.reshape(box_height, box_width)
    return mask

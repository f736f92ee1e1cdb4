"""Label Studio: brush masks and polygons on the frames of a video, each frame a task.

Its video tasks hold boxes only (`VideoRectangle`), so a video has to be annotated as pictures to get masks.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from ...model.masks import encode_rle
from ...model.rle import SegmentationError, compress_segmentation
from ..frames import picture_size_hw
from ..problems import read_data_file
from .common import AnnotatedVideo, Source, fail, list_pictures

MASK_TYPES = ("brushlabels", "polygonlabels")
UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts it before the name of every uploaded file


def read_label_studio(source: Path, frames: Path | None = None) -> Source:
    """Read the JSON export of a project whose tasks are the frames of one video.

    Objects are told apart by a per-region `Number` or `TextArea` whose name contains "track"; a label that is there
    once per frame needs none.

    Args:
        source: The JSON.
        frames: Folder with the frames; by default the JSON's.

    Returns:
        One video with the JSON's name.

    Raises:
        DataSetError: If it is no such file, has video tasks, identities are missing, or a mask can't be read.
    """
    file, tasks = str(source), read_data_file(source)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) and "data" in task for task in tasks):
        fail("wrong format", "expected Label Studio's JSON export: a list of tasks with 'data'", file)
    pictures = list_pictures(frames or source.parent)
    height, width = picture_size_hw(pictures[0])
    video = AnnotatedVideo(source.stem, height, width, pictures, len(pictures))
    frame_of = {picture.name: index for index, picture in enumerate(pictures)}
    for task in tasks:
        _add_task(video, task, frame_of, file)
    return Source(file, [], [video])


def _add_task(video: AnnotatedVideo, task: dict[str, Any], frame_of: dict[str, int], file: str) -> None:
    results = [item for annotation in task.get("annotations", [])[:1] for item in annotation.get("result", [])]
    if any(item.get("type") == "videorectangle" for item in results):
        message = "has VideoRectangle boxes, no masks: annotate the frames as images with brush or polygon"
        fail("wrong format", message, file, video.name, task.get("id"))
    names = [unquote(str(value)).replace("=", "/").rpartition("/")[2] for value in task["data"].values()]
    names += [UPLOAD_PREFIX.sub("", name) for name in names]
    frame = next((frame_of[name] for name in names if name in frame_of), None)
    if frame is None:
        fail("missing frame", f"there is no picture {names[:1]} among the frames", file, video.name, task.get("id"))
    regions = [item for item in results if item.get("type") in MASK_TYPES]
    labels = Counter(item["value"][item["type"]][0] for item in regions)
    tracks = {item["id"]: _text(item["value"]) for item in results if "track" in str(item.get("from_name")).lower()}
    for item in regions:
        label = item["value"][item["type"]][0]
        track = tracks.get(item.get("id"))
        if track is None and labels[label] > 1:
            fail(
                "no identity",
                f"{labels[label]} regions {label!r} without a track number",
                file,
                video.name,
                None,
                frame,
            )
        size_hw = (item.get("original_height"), item.get("original_width"))
        if size_hw != (video.height, video.width):
            message = f"is {size_hw[0]}x{size_hw[1]} (height x width), the first frame {video.height}x{video.width}"
            fail("wrong size", message, file, video.name, item.get("id"), frame)
        try:
            rle = _region_as_rle(item, video.height, video.width)
        except SegmentationError as error:
            fail(error.kind, str(error), file, video.name, item.get("id"), frame)
        video.add(label if track is None else f"{label} {track}", label, frame, rle, file)


def _text(value: dict[str, Any]) -> str:
    content = value.get("number", value.get("text"))
    return str(content[0] if isinstance(content, list) and content else content)


def _region_as_rle(item: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    if item["type"] == "polygonlabels":  # percent of the picture's size
        points = np.asarray(item["value"].get("points"), dtype=np.float64).reshape(-1, 2) * [width / 100, height / 100]
        return compress_segmentation([points.flatten().tolist()], height, width)
    values = decode_brush_rle(item["value"].get("rle") or [])
    if values.size != height * width * 4:
        message = f"brush mask has {values.size} values, expected {height}*{width}*4 (RGBA)"
        raise SegmentationError("wrong RLE size", message)
    return encode_rle(values.reshape(height, width, 4)[..., 3] > 0)


def decode_brush_rle(data: list[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decode the bytes of a brush mask to the flat RGBA picture.

    A stream of bits, highest first: 32 bits number of values, 5 bits size of a value minus 1, four times 4 bits size
    of a run length minus 1. Then blocks: 1 bit "is a run", 2 bits which of the four sizes, the length minus 1 in that
    many bits, and one value for a run, else `length` values.

    Args:
        data: Bytes as numbers, `value.rle` of a region.

    Returns:
        (values,) uint8.

    Raises:
        SegmentationError: If the stream is cut off.

    Source: the format of the JavaScript package rle-pack, which Label Studio uses.
    """
    bits = "".join(f"{byte:08b}" for byte in data)
    position = 0

    def read(size: int) -> int:
        nonlocal position
        if position + size > len(bits):
            raise SegmentationError("bad RLE", f"brush mask is cut off after {len(data)} bytes")
        position += size
        return int(bits[position - size : position], 2)

    count, word_size = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    parts: list[np.ndarray[Any, Any]] = []
    done = 0
    while done < count:
        is_run, length = read(1), read(sizes[read(2)]) + 1
        values = [read(word_size)] * length if is_run else [read(word_size) for _ in range(length)]
        parts.append(np.array(values, dtype=np.uint8))
        done += length
    return np.concatenate(parts)[:count] if parts else np.zeros(0, dtype=np.uint8)

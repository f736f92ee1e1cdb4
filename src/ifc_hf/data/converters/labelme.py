"""labelme: a JSON beside every frame, with polygons and masks; `group_id` says which objects are the same."""

from __future__ import annotations

import base64
import io
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...model.masks import encode_rle
from ...model.rle import Rle, SegmentationError, compress_segmentation
from ..problems import read_data_file
from .common import AnnotatedVideo, Source, checked_length, fail, folder_name
from .pictures import below, frame_size_hw, list_pictures, pictures_by_stem, read_values
from .schema import Identity, Name, Pixels, Record, read_as, read_list


class _File(Record):
    shapes: list[Any]
    imageHeight: Pixels | None = None  # noqa: N815 -- labelme's names
    imageWidth: Pixels | None = None  # noqa: N815
    imagePath: str | None = None  # noqa: N815


class _Shape(Record):
    label: Name
    points: list[tuple[float, float]]
    shape_type: str = "polygon"
    group_id: Identity | None = None
    mask: str | None = None


def read_labelme(source: Path, frames: Path | None, allow_outside: bool) -> Source:
    """Reads labelme files: every folder that holds some is a video, and all its pictures are frames.

    labelme has no tracks. Shapes of one label and `group_id` are one object, within a frame and from frame to frame. A
    shape without `group_id` is identified by its label, which then must be there once per frame. A frame without JSON
    has no objects.

    Args:
        source: Folder with the frames and files of a video, or a folder of such folders.
        frames: Folder with the pictures, if they are not beside the files (one video only).
        allow_outside: Follow links out of these folders.

    Returns:
        The videos, named as their folders.

    Raises:
        DataSetError: If there is no file, identities are missing, or a shape is no mask.
    """
    names = sorted(path.relative_to(source) for path in source.rglob("*.json") if not path.name.startswith("."))
    files: dict[Path, list[Path]] = {}
    for name in names:
        path = below(source, name.as_posix(), allow_outside, str(source))
        files.setdefault(path.parent, []).append(path)
    if not files:
        fail("wrong format", "expected a folder with labelme files: there is no JSON in it", str(source))
    if frames is not None and len(files) > 1:
        fail("missing frame", f"{len(files)} folders with labelme files, one with their pictures", str(source))
    result = Source(str(source), [], [])
    for folder, json_files in files.items():
        pictures = list_pictures(frames or folder, allow_outside)
        result.videos.append(_read_video(folder, json_files, pictures, source))
    return result


def _read_video(folder: Path, json_files: list[Path], pictures: list[Path], source: Path) -> AnnotatedVideo:
    relative = folder.relative_to(source).as_posix()
    name = folder_name(folder.absolute().name if relative == "." else relative, str(folder))
    checked_length(len(pictures), str(folder), name)
    size_hw = frame_size_hw(pictures[0], str(folder), name, 0)
    video = AnnotatedVideo(name, *size_hw, pictures)
    by_stem = pictures_by_stem(pictures, str(folder))
    frame_of = {picture: frame for frame, picture in enumerate(pictures)}
    read: dict[Path, Path] = {}
    for json_file in json_files:
        content = read_as(_File, read_data_file(json_file), str(json_file), "file")
        named = PurePosixPath((content.imagePath or "").replace("\\", "/")).stem
        picture = by_stem.get(json_file.stem) or by_stem.get(named)
        if picture is None:
            message = f"there is no picture {json_file.stem}.* in {pictures[0].parent}"
            fail("missing frame", message, str(json_file), name)
        if picture in read:
            message = f"annotates {picture.name}, as {read[picture].name} does"
            fail("duplicate frame", message, str(json_file), name)
        read[picture] = json_file
        _add_frame(video, frame_of[picture], content, str(json_file))
    return video


def _add_frame(video: AnnotatedVideo, frame: int, content: _File, file: str) -> None:
    size_hw = (content.imageHeight or video.height, content.imageWidth or video.width)
    if size_hw != (video.height, video.width):
        message = f"is {size_hw[0]}x{size_hw[1]} (height x width), the first frame {video.height}x{video.width}"
        fail("wrong size", message, file, video.name, frame=frame)
    shapes = read_list(_Shape, content.shapes, file, "shapes")
    ungrouped = Counter(shape.label for shape in shapes if shape.group_id is None)
    for shape in shapes:
        if shape.group_id is None and ungrouped[shape.label] > 1:
            message = f"{ungrouped[shape.label]} shapes {shape.label!r} without group_id: give every object one"
            fail("no identity", message, file, video.name, frame=frame)
        track = shape.label if shape.group_id is None else f"{shape.label} {shape.group_id}"
        try:
            rle = _shape_as_rle(shape, video.height, video.width)
        except SegmentationError as error:
            fail(error.kind, str(error), file, video.name, track, frame)
        identity = (shape.label, shape.group_id)
        video.add(identity, shape.label, frame, rle, file, join=shape.group_id is not None)


def _shape_as_rle(shape: _Shape, height: int, width: int) -> Rle:
    if shape.shape_type == "polygon":
        return compress_segmentation([[number for point in shape.points for number in point]], height, width)
    if shape.shape_type != "mask":
        message = f"is a {shape.shape_type}: only polygons and masks say which pixels an object has"
        raise SegmentationError("wrong shape", message)
    try:
        part = read_values(io.BytesIO(base64.b64decode(shape.mask or "", validate=True)), limit_hw=(height, width))
    except ValueError as error:
        raise SegmentationError("bad annotation", f"the mask can't be read: {error}") from error
    if part.ndim != 2 or not shape.points or not np.isfinite(shape.points[0]).all():
        message = f"expected a mask of one channel and the corner where it begins, got shape {part.shape}"
        raise SegmentationError("bad annotation", message)
    left, top = (round(number) for number in shape.points[0])
    if min(left, top) < 0 or top + part.shape[0] > height or left + part.shape[1] > width:
        message = f"mask of {part.shape[0]}x{part.shape[1]} at ({left}, {top}) in a frame of {height}x{width}"
        raise SegmentationError("bad annotation", f"{message} (height x width)")
    mask = np.zeros((height, width), dtype=bool)
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part.astype(bool)
    return encode_rle(mask)

"""labelme: a JSON beside every frame, with polygons and masks; `group_id` says which objects are the same."""

from __future__ import annotations

import base64
import binascii
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ...model.masks import encode_rle
from ...model.rle import SegmentationError, compress_segmentation
from ..frames import picture_size_hw
from ..problems import read_data_file
from .common import AnnotatedVideo, Source, fail, list_pictures


def read_labelme(source: Path, frames: Path | None = None) -> Source:
    """Read labelme files: every folder that holds some is a video, and all its pictures are frames.

    labelme has no tracks. Shapes of one label and `group_id` are one object, within a frame and from frame to frame. A
    shape without `group_id` is identified by its label, which then must be there once per frame. A frame without JSON
    has no objects.

    Args:
        source: Folder with the frames and files of a video, or a folder of such folders.
        frames: Folder with the pictures, if they are not beside the files (one video only).

    Returns:
        The videos, named as their folders.

    Raises:
        DataSetError: If there is no file, identities are missing, or a shape is no mask.
    """
    folders = sorted({path.parent for path in source.rglob("*.json")})
    if not folders:
        fail("wrong format", "expected a folder with labelme files: there is no JSON in it", str(source))
    return Source(str(source), [], [_read_video(folder, frames or folder, source) for folder in folders])


def _read_video(folder: Path, images: Path, source: Path) -> AnnotatedVideo:
    pictures = list_pictures(images)
    height, width = picture_size_hw(pictures[0])
    relative = folder.relative_to(source).as_posix().replace("/", "_")
    video = AnnotatedVideo(folder.name if relative == "." else relative, height, width, pictures, len(pictures))
    known = {picture.stem for picture in pictures}
    for json_file in folder.glob("*.json"):
        if json_file.stem not in known:
            fail("missing frame", f"there is no picture {json_file.stem}.* in {images}", str(json_file), video.name)
    for frame, picture in enumerate(pictures):
        json_file = folder / f"{picture.stem}.json"
        if json_file.is_file():
            _add_frame(video, frame, json_file)
    return video


def _add_frame(video: AnnotatedVideo, frame: int, json_file: Path) -> None:
    file, content = str(json_file), read_data_file(json_file)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        fail("wrong format", "expected a labelme file with a list 'shapes'", file, video.name, frame=frame)
    size_hw = (content.get("imageHeight") or video.height, content.get("imageWidth") or video.width)
    if size_hw != (video.height, video.width):
        message = (
            f"is {size_hw[0]}x{size_hw[1]} (height x width), the video's first frame {video.height}x{video.width}"
        )
        fail("wrong size", message, file, video.name, frame=frame)
    ungrouped = Counter(shape.get("label") for shape in content["shapes"] if shape.get("group_id") is None)
    for shape in content["shapes"]:
        label, group_id = str(shape.get("label")), shape.get("group_id")
        if group_id is None and ungrouped[shape.get("label")] > 1:
            message = f"{ungrouped[label]} shapes {label!r} without group_id: give every object a group_id of its own"
            fail("no identity", message, file, video.name, frame=frame)
        track = label if group_id is None else f"{label} {group_id}"
        try:
            rle = _shape_as_rle(shape, video.height, video.width)
        except SegmentationError as error:
            fail(error.kind, str(error), file, video.name, track, frame)
        video.add(track, label, frame, rle, file)


def _shape_as_rle(shape: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    kind = shape.get("shape_type", "polygon")
    try:
        points = np.asarray(shape.get("points"), dtype=np.float64).reshape(-1, 2)
        if kind == "polygon":
            return compress_segmentation([points.flatten().tolist()], height, width)
        if kind != "mask":
            message = f"is a {kind}: only polygons and masks say which pixels an object has"
            raise SegmentationError("wrong shape", message)
        with Image.open(io.BytesIO(base64.b64decode(shape.get("mask") or ""))) as picture:
            part = np.asarray(picture).astype(bool)
        left, top = (int(value) for value in points[0])
        mask = np.zeros((height, width), dtype=bool)
        mask[top : top + part.shape[0], left : left + part.shape[1]] = part
        return encode_rle(mask)
    except (binascii.Error, UnidentifiedImageError, IndexError, TypeError, OverflowError) as error:
        raise SegmentationError("bad annotation", f"the {kind} can't be read: {error}") from error
    except SegmentationError:
        raise
    except ValueError as error:
        raise SegmentationError("bad annotation", f"the {kind} can't be read: {error}") from error

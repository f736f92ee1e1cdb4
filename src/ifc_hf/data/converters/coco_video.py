"""COCO files of videos: images that belong to videos, annotations that belong to tracks.

The dialects of CVAT's COCO export (`attributes.track_id`), mmtracking and TAO (`video_id`, `frame_id`, `instance_id`
or `track_id`) are understood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...model.limits import brief
from ...model.picture_files import natural_order
from ...model.rle import SegmentationError, compress_segmentation
from ..problems import read_data_file
from .common import AnnotatedVideo, Source, checked_length, checked_size_hw, fail, folder_name
from .pictures import below
from .schema import Identity, Integer, Name, Pixels, Record, read_as, read_list

PLACES = ("annotations/instances_default.json", "_annotations.coco.json", "annotations.json", "instances.json")


class _File(Record):
    images: list[Any]
    categories: list[Any]
    annotations: list[Any] | None = None
    videos: list[Any] | None = None


class _Category(Record):
    id: Identity
    name: Name
    supercategory: str | None = None


class _Video(Record):
    id: Identity
    name: str | None = None


class _Image(Record):
    id: Identity
    file_name: Name
    height: Pixels
    width: Pixels
    video_id: Identity | None = None
    frame_id: Integer | None = None
    frame_index: Integer | None = None


class _Attributes(Record):
    track_id: Identity | None = None


class _Annotation(Record):
    image_id: Identity
    category_id: Identity
    id: Identity | None = None
    segmentation: Any = None
    iscrowd: Integer | bool | None = None
    track_id: Identity | None = None
    instance_id: Identity | None = None
    attributes: _Attributes | None = None


def read_coco_video(source: Path, frames: Path | None, allow_outside: bool, drop_invalid: bool = False) -> Source:
    """Reads a COCO file of videos.

    Images are grouped by `video_id`, or else by the folder in their `file_name`, and sorted by `frame_id` (or
    `frame_index`), or else by name.

    Args:
        source: The JSON, or an unpacked export with one of `PLACES` in it.
        frames: Folder that the file names start from; by default `images` of the export, or the JSON's folder.
        allow_outside: Let file names lead out of that folder.
        drop_invalid: Leave out masks that can't be read, such as polygons of two points, instead of refusing the file.

    Returns:
        The videos.

    Raises:
        DataSetError: If it is no COCO file, ids are there twice, sizes within a video differ, or an annotation has no
            track, mask or known image and category.
    """
    found = [source / place for place in PLACES if (source / place).is_file()]
    json_file = source if not source.is_dir() else found[0] if found else source / PLACES[0]
    file = str(json_file)
    content = read_as(_File, read_data_file(json_file), file, "file")
    images = read_list(_Image, content.images, file, "images")
    result = Source(file, [], [])
    names = _class_names(content, result)
    result.categories = list(names.values())
    places = [json_file.parent.parent / "images" / "default", json_file.parent.parent / "images", json_file.parent]
    folder = frames or next((place for place in places if _holds(place, images)), json_file.parent)
    place_of = _group(content, images, folder, allow_outside, result)
    for annotation in read_list(_Annotation, content.annotations or [], file, "annotations"):
        _add_annotation(annotation, place_of, names, result, drop_invalid)
    return result


def _holds(place: Path, images: Sequence[_Image]) -> bool:
    try:
        return bool(images) and (place / images[0].file_name.replace("\\", "/")).is_file()
    except (OSError, ValueError):  # a name that no file can have; reading the frames says so
        return False


def _class_names(content: _File, result: Source) -> dict[Identity, str]:
    """Name of every category id, without those that stand for a group of classes.

    Roboflow adds such a category: no annotation has it, it is the supercategory of all others, or has their name.
    """
    names: dict[Identity, str] = {}
    categories = read_list(_Category, content.categories, result.file, "categories")
    counts = Counter(category.name for category in categories)
    used = {repr(item.get("category_id")) for item in content.annotations or [] if isinstance(item, dict)}
    for category in categories:
        others = [other.supercategory for other in categories if other is not category]
        is_group = counts[category.name] > 1 or (bool(others) and all(name == category.name for name in others))
        is_top = category.supercategory in (None, "", "none")
        if is_group and is_top and repr(category.id) not in used:
            counts[category.name] -= 1
            message = f"id {category.id}, {category.name!r}: no class, but the group of the others"
            result.leave_out("empty category", message)
        elif category.id in names or category.name in names.values():
            message = f"category id {category.id} or name {category.name!r} is there twice"
            fail("duplicate category", message, result.file)
        else:
            names[category.id] = category.name
    return names


def _group(
    content: _File, images: Sequence[_Image], folder: Path, allow_outside: bool, result: Source
) -> dict[Identity, tuple[AnnotatedVideo, int]]:
    """Adds the videos to the result; returns video and frame index of every image id."""
    file = result.file
    groups: dict[tuple[str, Identity], list[_Image]] = {}
    for image in images:
        parent = PurePosixPath(image.file_name.replace("\\", "/")).parent.as_posix()
        group = ("folder", parent) if image.video_id is None else ("video", image.video_id)
        groups.setdefault(group, []).append(image)
    names: dict[Identity, str] = {}
    for listed in read_list(_Video, content.videos or [], file, "videos"):
        if listed.id in names:
            fail("duplicate id", f"video id {listed.id} is there twice", file)
        names[listed.id] = listed.name or str(listed.id)
        if ("video", listed.id) not in groups:
            result.leave_out("empty video", f"video {listed.id} ({brief(names[listed.id])}) has no image")
    place_of: dict[Identity, tuple[AnnotatedVideo, int]] = {}
    for (kind, key), members in groups.items():
        default_name = Path(file).stem if key == "." else str(key)
        name = folder_name(names.get(key, default_name) if kind == "video" else default_name, file)
        checked_length(len(members), file, name)
        ordered = _in_order(members, file, name)
        size_hw = checked_size_hw(ordered[0].height, ordered[0].width, file, name)
        pictures = [below(folder, image.file_name, allow_outside, file) for image in ordered]
        video = AnnotatedVideo(name, *size_hw, pictures)
        for frame, image in enumerate(ordered):
            if image.id in place_of:
                fail("duplicate id", f"image id {image.id} is there twice", file, name, frame=frame)
            if (image.height, image.width) != size_hw:
                message = f"image {image.id} is {image.height}x{image.width} (height x width), the first one "
                fail("wrong size", f"{message}{size_hw[0]}x{size_hw[1]}", file, name, frame=frame)
            place_of[image.id] = (video, frame)
        result.videos.append(video)
    return place_of


def _in_order(images: Sequence[_Image], file: str, video: str) -> list[_Image]:
    for key in ("frame_id", "frame_index"):
        numbers = [getattr(image, key) for image in images]
        if None not in numbers:
            twice = [number for number, count in Counter(numbers).items() if count > 1]
            if twice:
                fail("duplicate frame", f"{key} {twice[0]} is there twice: which one is first?", file, video)
            return sorted(images, key=lambda image: getattr(image, key))
    return sorted(images, key=lambda image: natural_order(Path(image.file_name)))


def _add_annotation(
    annotation: _Annotation,
    place_of: dict[Identity, tuple[AnnotatedVideo, int]],
    names: dict[Identity, str],
    result: Source,
    drop_invalid: bool,
) -> None:
    file = result.file
    if annotation.image_id not in place_of:
        fail("unknown image", f"there is no image with id {annotation.image_id!r}", file, None, annotation.id)
    video, frame = place_of[annotation.image_id]
    if annotation.category_id not in names:
        message = f"category_id is {annotation.category_id!r}, the file has {brief(list(names))}"
        fail("unknown category", message, file, video.name, annotation.id, frame)
    in_attributes = annotation.attributes.track_id if annotation.attributes else None
    keys = [annotation.track_id, annotation.instance_id, in_attributes]
    track = next((key for key in keys if key is not None), None)
    if track is None:
        message = "has no track_id or instance_id (in CVAT, annotate with tracks, not shapes)"
        fail("no identity", message, file, video.name, annotation.id, frame)
    if annotation.iscrowd not in (None, 0, 1):
        message = f"iscrowd: expected 0 or 1, got {annotation.iscrowd}"
        fail("bad annotation", message, file, video.name, annotation.id, frame)
    try:
        rle = compress_segmentation(annotation.segmentation, video.height, video.width)
    except SegmentationError as error:
        if not drop_invalid:
            fail(error.kind, str(error), file, video.name, annotation.id, frame)
        result.leave_out(error.kind, str(error), video.name, annotation.id, frame)
        return
    video.add(track, names[annotation.category_id], frame, rle, file, crowd=bool(annotation.iscrowd))

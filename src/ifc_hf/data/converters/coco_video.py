"""COCO files of videos: images that belong to videos, annotations that belong to tracks.

The dialects of CVAT's COCO export (`attributes.track_id`), mmtracking and TAO (`video_id`, `frame_id`, `instance_id`
or `track_id`) are understood.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...model.rle import SegmentationError, compress_segmentation
from ..parse import coco_as_ytvis
from ..problems import read_data_file
from .common import AnnotatedVideo, Source, fail, in_number_order


def read_coco_video(source: Path, frames: Path | None = None) -> Source:
    """Read a COCO file of videos.

    Images are grouped by `video_id`, or else by the folder in their `file_name`, and sorted by `frame_id` (or
    `frame_index`), or else by name.

    Args:
        source: The JSON, or CVAT's unpacked export (`annotations/instances_default.json`).
        frames: Folder that the file names start from; by default `images` of the export, or the JSON's folder.

    Returns:
        The videos.

    Raises:
        DataSetError: If it is no COCO file, or an annotation has no track, mask or known image and category.
    """
    json_file = source / "annotations" / "instances_default.json" if source.is_dir() else source
    file, content = str(json_file), read_data_file(json_file)
    coco_as_ytvis(content, file)  # says what is wrong with the file as a whole
    places = [json_file.parent.parent / "images" / "default", json_file.parent.parent / "images", json_file.parent]
    folder = frames or next(place for place in places if place.is_dir())
    names = {category["id"]: category["name"] for category in content["categories"]}
    video_names = {video["id"]: video.get("name") or str(video["id"]) for video in content.get("videos", [])}
    groups: dict[Any, list[dict[str, Any]]] = {}
    for image in content["images"]:
        groups.setdefault(image.get("video_id", Path(image["file_name"]).parent.as_posix()), []).append(image)
    place_of: dict[Any, tuple[AnnotatedVideo, int]] = {}
    for key, images in groups.items():
        ordered = _in_order(images)
        default_name = json_file.stem if key == "." else str(key)
        name = str(video_names.get(key, default_name)).strip("/").replace("/", "_")
        pictures = [folder / image["file_name"] for image in ordered]
        video = AnnotatedVideo(name, ordered[0]["height"], ordered[0]["width"], pictures, len(pictures))
        place_of.update({image["id"]: (video, frame) for frame, image in enumerate(ordered)})
    for annotation in content.get("annotations") or []:
        _add_annotation(annotation, place_of, names, file)
    videos = list({id(video): video for video, _ in place_of.values()}.values())
    return Source(file, [names[category_id] for category_id in sorted(names)], videos)


def _in_order(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for key in ("frame_id", "frame_index"):
        if all(key in image for image in images):
            return sorted(images, key=lambda image: int(image[key]))
    order = {path: index for index, path in enumerate(in_number_order(Path(image["file_name"]) for image in images))}
    return sorted(images, key=lambda image: order[Path(image["file_name"])])


def _add_annotation(
    annotation: dict[str, Any], place_of: dict[Any, tuple[AnnotatedVideo, int]], names: dict[Any, str], file: str
) -> None:
    annotation_id = annotation.get("id")
    if annotation.get("image_id") not in place_of:
        fail("unknown image", f"there is no image with id {annotation.get('image_id')!r}", file, None, annotation_id)
    video, frame = place_of[annotation["image_id"]]
    if annotation.get("category_id") not in names:
        message = f"category_id is {annotation.get('category_id')!r}, the file has {sorted(names)}"
        fail("unknown category", message, file, video.name, annotation_id, frame)
    attributes = annotation.get("attributes") or {}
    keys = [annotation.get("track_id"), annotation.get("instance_id"), attributes.get("track_id")]
    track = next((key for key in keys if key is not None), None)
    if track is None:
        message = "has no track_id or instance_id (in CVAT, annotate with tracks, not shapes)"
        fail("no identity", message, file, video.name, annotation_id, frame)
    try:
        rle = compress_segmentation(annotation.get("segmentation"), video.height, video.width)
    except SegmentationError as error:
        fail(error.kind, str(error), file, video.name, annotation_id, frame)
    video.add(track, names[annotation["category_id"]], frame, rle, file)

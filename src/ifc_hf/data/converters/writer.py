"""Write what a converter read in the official layout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm.auto import tqdm

from ...files import JsonObject, whole_folder, write_json, write_picture
from ...model.reading import VideoError
from ...model.rle import measure_rles
from ...model.video_files import read_timed_frames
from .classes import number_classes
from .common import AnnotatedVideo, Source, Track, VideoPictures, fail, folder_name
from .pictures import frame_size_hw

JPEG_QUALITY = 95


def write_ytvis(
    source: Source, output: str | os.PathLike[str], split: str = "train", classes: Sequence[str] | None = None
) -> Path:
    """Writes `<output>/<split>/JPEGImages/<video>/<frame>` and then `<output>/<split>.json`.

    Pictures are copied as they are; of a video file the frames are decoded and written as JPEG.

    Args:
        source: What a converter read. Masks without a pixel are noted in its `left_out`.
        output: The data set's folder.
        split: Name of the split.
        classes: All class names in the order of their ids; see `number_classes`.

    Returns:
        The JSON.

    Raises:
        DataSetError: If there is no video, two have one name, a frame is missing or of another size than its video, or
            a class is unknown.
    """
    if folder_name(split, source.file) != split or split.startswith("."):
        fail("wrong format", f"split: expected a plain name, got {split!r}", source.file)
    if not source.videos:
        fail("empty video", "there is no video", source.file)
    names = [video.name.casefold() for video in source.videos]  # some file systems don't tell cases apart
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        fail("duplicate id", f"two videos have the same name: {twice}", source.file)
    output = Path(output)
    content = describe(source, number_classes(source, output, split, classes))
    for video, row in zip(tqdm(source.videos, desc=f"Writing {split}", unit="video", disable=None),
                          content["videos"], strict=True):  # fmt: skip
        target = output / split / "JPEGImages" / video.name
        pictures = [video.frames.file] if isinstance(video.frames, VideoPictures) else video.frames
        if any(target.resolve() in path.resolve().parents for path in pictures):  # it would be replaced
            fail("bad video", f"its frames lie in {target}, where they are to be written", source.file, video.name)
        with whole_folder(target) as folder:
            file_names = _write_frames(video, folder, source.file)
        row["file_names"] = [f"{video.name}/{name}" for name in file_names]
    json_file = output / f"{split}.json"
    write_json(json_file, content)
    return json_file


def describe(source: Source, class_names: Sequence[str]) -> JsonObject:
    """The content of the JSON but for the names of the frames. Masks without a pixel are left out and noted."""
    category_ids = {name: index + 1 for index, name in enumerate(class_names)}
    videos: list[JsonObject] = []
    annotations: list[JsonObject] = []
    for video in source.videos:
        head = {"width": video.width, "height": video.height, "length": video.length}
        videos.append({"id": len(videos) + 1, **head, "file_names": []})
        for identity, track in video.tracks.items():
            columns = _columns(video, identity, track, source)
            if any(columns["segmentations"]):
                ids = {
                    "id": len(annotations) + 1,
                    "video_id": len(videos),
                    "category_id": category_ids[track.category],
                }
                annotations.append({**ids, "iscrowd": int(track.is_crowd), **head, **columns})
            else:
                source.leave_out("empty track", "none of its masks has a pixel", video.name, identity)
    categories = [{"id": category_id, "name": name} for name, category_id in category_ids.items()]
    return {"videos": videos, "categories": categories, "annotations": annotations}


def _columns(video: AnnotatedVideo, identity: object, track: Track, source: Source) -> dict[str, list[Any]]:
    """Mask, box and area of a track on every frame; None where it has no mask."""
    columns: dict[str, list[Any]] = {name: [None] * video.length for name in ("segmentations", "bboxes", "areas")}
    measures = measure_rles(list(track.masks.values()), with_boxes=True)
    boxes_xywh = [] if measures.boxes_xywh is None else measures.boxes_xywh.tolist()
    for (frame, rle), area, box in zip(track.masks.items(), measures.areas.tolist(), boxes_xywh, strict=True):
        if area:
            values = (rle, [float(edge) for edge in box], float(area))
            for column, value in zip(columns.values(), values, strict=True):
                column[frame] = value
        else:
            source.leave_out("empty mask", "the mask has no pixel", video.name, identity, frame)
    return columns


def _write_frames(video: AnnotatedVideo, folder: Path, file: str) -> list[str]:
    """Copies or decodes the frames; returns their names."""
    if isinstance(video.frames, VideoPictures):
        return _decode_frames(video, video.frames, folder, file)
    names = [f"{index:05d}{path.suffix.lower()}" for index, path in enumerate(video.frames)]
    for index, path in enumerate(video.frames):
        _check_size(video, frame_size_hw(path, file, video.name, index), path, file, index)
        shutil.copyfile(path, folder / names[index])
    return names


def _decode_frames(video: AnnotatedVideo, pictures: VideoPictures, folder: Path, file: str) -> list[str]:
    names: list[str] = []
    number = -1
    try:
        reading = read_timed_frames(pictures.file)
        for number, (_, frame) in enumerate(reading):
            if reading.bad_packets:  # a frame was left out: from here on, numbers and frames don't belong together
                message = f"{reading.problem}; convert with pictures instead"
                fail("unreadable frame", message, file, video.name, frame=len(names))
            if number not in pictures.indices:
                continue
            _check_size(video, frame.shape[:2], pictures.file, file, len(names))
            names.append(f"{len(names):05d}.jpg")
            write_picture(Image.fromarray(frame), folder / names[-1], quality=JPEG_QUALITY)
            if len(names) == video.length:
                reading.close()
                return names
    except VideoError as error:
        fail("unreadable frame", str(error), file, video.name, frame=len(names))
    message = f"{pictures.file} has {number + 1} frames, {video.length} are annotated, the last one is number"
    fail("missing frame", f"{message} {pictures.indices[-1]} (from 0)", file, video.name, frame=len(names))


def _check_size(video: AnnotatedVideo, size_hw: tuple[int, ...], path: Path, file: str, frame: int) -> None:
    if tuple(size_hw) != (video.height, video.width):
        message = f"{path} is {size_hw[0]}x{size_hw[1]} (height x width), annotated at {video.height}x{video.width}"
        fail("wrong size", message, file, video.name, frame=frame)

"""Write what a converter read in the official layout."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ...files import whole_folder, write_json
from ...model.rle import rle_area, rle_box_xywh
from .common import AnnotatedVideo, Source, fail

JPEG_QUALITY = 95


def write_ytvis(source: Source, output: str | os.PathLike[str], split: str = "train") -> Path:
    """Write `<output>/<split>/JPEGImages/<video>/<frame>` and then `<output>/<split>.json`.

    Pictures are copied as they are; of a video file every frame is decoded and written as JPEG.

    Args:
        source: What a converter read.
        output: The data set's folder.
        split: Name of the split.

    Returns:
        The JSON.

    Raises:
        DataSetError: If there is no video, two have one name, or a video file has too few frames.
    """
    if not source.videos:
        fail("empty video", "there is no video", source.file)
    names = [video.name for video in source.videos]
    if len(set(names)) < len(names):
        fail("duplicate id", f"two videos have the same name: {sorted(names)}", source.file)
    used = {category for video in source.videos for category, _ in video.tracks.values()}
    categories = [*source.categories, *sorted(used - set(source.categories))]
    category_ids = {name: index + 1 for index, name in enumerate(categories)}
    output = Path(output)
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for video in tqdm(source.videos, desc=f"Writing {split}", unit="video", disable=None):
        target = output / split / "JPEGImages" / video.name
        pictures = [video.frames] if isinstance(video.frames, Path) else video.frames
        if any(target.resolve() in path.resolve().parents for path in pictures):  # it would be replaced
            fail("bad video", f"its frames lie in {target}, where they are to be written", source.file, video.name)
        with whole_folder(target) as folder:
            file_names = _write_frames(video, folder, source.file)
        head = {"id": len(videos) + 1, "width": video.width, "height": video.height, "length": video.length}
        videos.append({**head, "file_names": [f"{video.name}/{name}" for name in file_names]})
        for category, masks in video.tracks.values():
            present = {frame: rle for frame, rle in masks.items() if rle_area(rle)}
            if not present:
                continue
            segmentations = [present.get(frame) for frame in range(video.length)]
            annotations.append({
                "id": len(annotations) + 1, "video_id": len(videos), "category_id": category_ids[category],
                "iscrowd": 0, "length": video.length, "width": video.width, "height": video.height,
                "segmentations": segmentations,
                "bboxes": [None if rle is None else rle_box_xywh(rle) for rle in segmentations],
                "areas": [None if rle is None else rle_area(rle) for rle in segmentations],
            })  # fmt: skip
    names_and_ids = [{"id": category_id, "name": name} for name, category_id in category_ids.items()]
    json_file = output / f"{split}.json"
    write_json(json_file, {"videos": videos, "categories": names_and_ids, "annotations": annotations})
    return json_file


def _write_frames(video: AnnotatedVideo, folder: Path, file: str) -> list[str]:
    """Copy or decode the frames; returns their names."""
    if isinstance(video.frames, Path):
        return _decode_frames(video, folder, file)
    names = [f"{index:05d}{path.suffix.lower()}" for index, path in enumerate(video.frames)]
    for name, path in zip(names, video.frames, strict=True):
        if not path.is_file():
            fail("missing frame", f"no such file: {path}", file, video.name, frame=names.index(name))
        shutil.copyfile(path, folder / name)
    return names


def _decode_frames(video: AnnotatedVideo, folder: Path, file: str) -> list[str]:
    import av  # heavy, and only for video files

    names = []
    with av.open(str(video.frames)) as container:
        for index, frame in zip(range(video.length), container.decode(video=0), strict=False):
            if (frame.height, frame.width) != (video.height, video.width):
                message = f"is {frame.height}x{frame.width} (height x width) in {video.frames}"
                fail(
                    "wrong size",
                    f"{message}, annotated at {video.height}x{video.width}",
                    file,
                    video.name,
                    None,
                    index,
                )
            names.append(f"{index:05d}.jpg")
            frame.to_image().save(folder / names[-1], quality=JPEG_QUALITY)
    if len(names) < video.length:
        fail(
            "missing frame", f"{video.frames} has {len(names)} frames, {video.length} are annotated", file, video.name
        )
    return names

"""MOTS PNG, as CVAT and Datumaro export it, and other folders of masks whose values are object numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ...model.masks import encode_rle
from ...model.picture_files import natural_order
from .common import AnnotatedVideo, Source, checked_length, fail, folder_name
from .pictures import below, check_file, frame_size_hw, list_pictures, pictures_by_stem, read_values

INSTANCES_PER_CLASS = 1000
IGNORED_CLASS = 10  # KITTI MOTS: a region that nobody annotated
IGNORED_LABELS = ("__ignore__", "ignore")
VOID = 255  # of 8-bit pictures: pixels that belong to nothing for sure
ONLY_CLASS = "object"  # of plain numbers without labels.txt


def read_mots_png(source: Path, frames: Path | None, allow_outside: bool) -> Source:
    """Reads a MOTS PNG export: every folder with `instances` (and `images` beside it) is a video.

    A value is 1000 * class + instance, the class counted from 1 in `labels.txt`; or all values of a video are plain
    numbers 1, 2, ..., where `labels.txt` has one class at most.

    Args:
        source: The unpacked export, `<subset>/instances/{labels.txt, <frame>.png}` and `<subset>/images/<frame>.jpg`.
        frames: Folder with the pictures of all subsets, or with a folder for each, if `images` is missing.
        allow_outside: Follow links out of these folders.

    Returns:
        The videos, named as the subsets.

    Raises:
        DataSetError: If there is no such folder, a PNG has no numbers, or a class has no name.
    """
    folders = sorted(path for path in [source / "instances", *source.glob("*/instances")] if path.is_dir())
    if not folders:
        fail("wrong format", "expected a MOTS PNG export: no folder 'instances' in it", str(source))
    result = Source(str(source), [], [])
    for folder in folders:
        below(source, folder.relative_to(source).as_posix(), allow_outside, str(source))
        labels = _read_labels(folder, allow_outside)
        new = [label for label in labels if label not in result.categories and label.lower() not in IGNORED_LABELS]
        result.categories += new
        images = folder.parent / "images" if frames is None else frames
        if frames is not None and (frames / folder.parent.name).is_dir():
            images = frames / folder.parent.name
        result.videos.append(_read_video(folder, labels, images, allow_outside, result))
    return result


def _read_labels(folder: Path, allow_outside: bool) -> list[str]:
    labels_file = below(folder, "labels.txt", allow_outside, str(folder))
    if not labels_file.exists():
        return []
    try:
        lines = check_file(labels_file).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        fail("wrong format", f"not UTF-8 text: {error}", str(labels_file))
    labels = [line.strip() for line in lines if line.strip()]
    if len(set(labels)) < len(labels):
        fail("duplicate category", f"a class is there twice: {labels}", str(labels_file))
    return labels


def _read_video(folder: Path, labels: list[str], images: Path, allow_outside: bool, result: Source) -> AnnotatedVideo:
    file = str(folder)
    name = folder_name(folder.absolute().parent.name, file)
    png_names = [path.name for path in folder.iterdir() if path.suffix.lower() == ".png" and path.name[0] != "."]
    pngs = sorted((below(folder, png_name, allow_outside, file) for png_name in png_names), key=natural_order)
    if not pngs:
        fail("empty video", "there is no PNG", file, name)
    checked_length(len(pngs), file, name)
    pictures = pictures_by_stem(list_pictures(images, allow_outside, file), file)
    missing = [png.stem for png in pngs if png.stem not in pictures]
    if missing:
        message = f"{len(missing)} of {len(pngs)} frames are not in {images}, first {missing[0]}"
        fail("missing frame", message, file, name)
    unused = sorted((Path(stem) for stem in set(pictures) - {png.stem for png in pngs}), key=natural_order)
    if unused:
        result.leave_out("frame without PNG", f"{len(unused)} pictures, first {unused[0]}", name)
    size_hw = frame_size_hw(pictures[pngs[0].stem], file, name, 0)
    video = AnnotatedVideo(name, *size_hw, [pictures[png.stem] for png in pngs])
    ignored: Counter[str] = Counter()
    with_classes = None
    for frame, png in enumerate(pngs):
        numbers = _read_png(png, name, frame, size_hw)
        if numbers.shape != size_hw:
            message = f"expected numbers of {video.height}x{video.width}, got shape {numbers.shape}"
            fail("wrong size", message, str(png), name, frame=frame)
        values = [int(value) for value in np.unique(numbers) if value != 0]
        if numbers.dtype == np.uint8 and VOID in values:
            ignored[f"value {VOID}, pixels that belong to nothing"] += 1
            values.remove(VOID)
        for value in values:
            with_classes = value >= INSTANCES_PER_CLASS if with_classes is None else with_classes
            if with_classes != (value >= INSTANCES_PER_CLASS):
                message = f"values above and below {INSTANCES_PER_CLASS}: plain numbers, or 1000 * class + instance?"
                fail("unknown category", message, str(png), name, value, frame)
            label = _label_of(value, labels, str(png), name, frame)
            if label is None or label.lower() in IGNORED_LABELS:
                ignored[f"class {label or IGNORED_CLASS}, a region that nobody annotated"] += 1
                continue
            video.add(value, label, frame, encode_rle(numbers == value), str(png))
    for what, count in ignored.items():
        result.leave_out("ignored region", f"{what}, on {count} frames", name)
    return video


def _label_of(value: int, labels: list[str], png: str, video: str, frame: int) -> str | None:
    """Class of a value; None for KITTI's ignored region."""
    class_id = value // INSTANCES_PER_CLASS
    if class_id == 0:
        if len(labels) > 1:
            message = f"a plain number, but labels.txt has {len(labels)} classes: which one is it?"
            fail("unknown category", message, png, video, value, frame)
        return labels[0] if labels else ONLY_CLASS
    if class_id == IGNORED_CLASS and len(labels) < IGNORED_CLASS:
        return None
    if class_id > len(labels):
        message = f"class {class_id} has no name: labels.txt has {len(labels)}"
        fail("unknown category", message, png, video, value, frame)
    return labels[class_id - 1]


def _read_png(png: Path, video: str, frame: int, limit_hw: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Numbers (H, W) of a PNG of one channel: 16 bit, 8 bit, 1 bit, or indices of a palette."""
    check_file(png)
    try:
        numbers = read_values(png, limit_hw)
    except ValueError as error:
        fail("bad PNG", str(error), str(png), video, frame=frame)
    if numbers.dtype == bool:
        numbers = numbers.astype(np.uint8)
    if numbers.ndim != 2 or numbers.dtype.kind not in "ui":
        message = f"expected numbers of one channel, got shape {numbers.shape} of {numbers.dtype}"
        fail("bad PNG", message, str(png), video, frame=frame)
    return numbers

"""MOTS PNG, as CVAT and Datumaro export it: 16-bit pictures whose values are 1000 * class + instance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ...model.masks import encode_rle
from .common import AnnotatedVideo, Source, fail, in_number_order

INSTANCES_PER_CLASS = 1000
IGNORED_CLASS = 10  # KITTI MOTS: a region that nobody annotated


def read_mots_png(source: Path, frames: Path | None = None) -> Source:
    """Read a MOTS PNG export: every folder with `instances` (and `images` beside it) is a video.

    Args:
        source: The unpacked export, `<subset>/instances/{labels.txt, <frame>.png}` and `<subset>/images/<frame>.jpg`.
        frames: Folder with the pictures of all subsets, if `images` is missing.

    Returns:
        The videos, named as the subsets.

    Raises:
        DataSetError: If there is no such folder, a PNG has no 16-bit numbers, or a class has no name.
    """
    folders = sorted(path for path in [source / "instances", *source.glob("*/instances")] if path.is_dir())
    if not folders:
        fail("wrong format", "expected a MOTS PNG export: no folder 'instances' in it", str(source))
    categories: list[str] = []
    videos = []
    for folder in folders:
        labels_file = folder / "labels.txt"
        labels = labels_file.read_text(encoding="utf-8").splitlines() if labels_file.is_file() else []
        labels = [label.strip() for label in labels if label.strip()]
        categories += [label for label in labels if label not in categories]
        videos.append(_read_video(folder, labels, frames or folder.parent / "images"))
    return Source(str(source), categories, videos)


def _read_video(folder: Path, labels: list[str], images: Path) -> AnnotatedVideo:
    file, name = str(folder), folder.parent.name
    pngs = in_number_order(folder.glob("*.png"))
    if not pngs:
        fail("empty video", "there is no PNG", file, name)
    pictures = {path.stem: path for path in images.iterdir()} if images.is_dir() else {}
    missing = [png.stem for png in pngs if png.stem not in pictures]
    if missing:
        fail(
            "missing frame",
            f"{len(missing)} of {len(pngs)} frames are not in {images}, first {missing[0]}",
            file,
            name,
        )
    with Image.open(pngs[0]) as first:
        width, height = first.size
    video = AnnotatedVideo(name, height, width, [pictures[png.stem] for png in pngs], len(pngs))
    for frame, png in enumerate(pngs):
        with Image.open(png) as picture:
            numbers = np.asarray(picture)
        if numbers.ndim != 2 or numbers.shape != (height, width):
            message = f"expected numbers of {height}x{width}, got shape {numbers.shape}"
            fail("wrong size", message, str(png), name, frame=frame)
        for number in np.unique(numbers):
            class_id, _ = divmod(int(number), INSTANCES_PER_CLASS)
            if class_id == 0 or (class_id == IGNORED_CLASS and len(labels) < IGNORED_CLASS):
                continue
            if class_id > len(labels):
                message = f"class {class_id} has no name: labels.txt has {len(labels)}"
                fail("unknown category", message, str(png), name, int(number), frame)
            video.add(int(number), labels[class_id - 1], frame, encode_rle(numbers == number), str(png))
    return video

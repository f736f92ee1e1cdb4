"""Folders with palette PNGs, as YouTube-VOS and DAVIS have them, read as YouTube-VIS."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..files import FileError, JsonObject, inside
from ..model.limits import brief
from ..model.masks import encode_rle
from .frames import open_picture
from .parse import ParsedSplit, parse_ytvis
from .problems import DataSetError, Problem, read_data_file

VOID = 255  # DAVIS marks pixels that belong to nobody with it
ONLY_CATEGORY = "object"  # DAVIS names no classes


def parse_palette_folder(image_folder: Path, split: str, allow_outside: bool = False) -> ParsedSplit:
    """Parse the PNGs beside a folder with frames. The value of a pixel is the number of its object, 0 is background.

    Only frames that have a PNG count: YouTube-VOS annotates every fifth.

    Args:
        image_folder: `<root>/<split>/JPEGImages`, with `Annotations` and `meta.json` (the objects' categories) beside
            it; or `<root>/JPEGImages/480p`, with `Annotations/480p` and `ImageSets/*/<split>.txt`.
        split: Which list of DAVIS.
        allow_outside: Read PNGs that names or links lead to outside of the folder; see `files.inside`.

    Returns:
        Rows and problems. Video ids count the names in alphabetical order, from 1.

    Raises:
        DataSetError: If a PNG can't be read or is no palette picture.
    """
    content = palette_folder_as_ytvis(image_folder, split, allow_outside)
    return parse_ytvis(content, str(annotation_folder(image_folder)))


def palette_folder_as_ytvis(image_folder: Path, split: str, allow_outside: bool) -> JsonObject:
    """Content of a YouTube-VIS file for such a folder; see `parse_palette_folder`."""
    folder = annotation_folder(image_folder)
    category_of = _read_meta(image_folder.parent / "meta.json")
    categories: dict[str, int] = {}
    videos: list[JsonObject] = []
    annotations: list[JsonObject] = []
    for name in tqdm(video_names(image_folder, split), desc=f"Reading {folder}", leave=False, disable=None):
        pictures = [(path, read_palette_png(path)) for path in palette_pngs(folder, name, allow_outside)]
        if not pictures:
            raise DataSetError([Problem("empty video", "there is no PNG", str(folder), f"video {name}")])
        height, width = pictures[0][1].shape
        for path, picture in pictures:
            if picture.shape != (height, width):
                message = f"is {picture.shape[0]}x{picture.shape[1]} (height x width), the first is {height}x{width}"
                raise DataSetError([Problem("wrong size", message, str(path), f"video {name}")])
        video = {"id": len(videos) + 1, "width": width, "height": height, "length": len(pictures)}
        videos.append({**video, "file_names": [f"{name}/{path.stem}.jpg" for path, _ in pictures]})
        numbers = sorted(set().union(*(set(np.unique(picture)) for _, picture in pictures)) - {0, VOID})
        for number in numbers:
            category = category_of.get((name, str(number)), ONLY_CATEGORY)
            masks = [picture == number for _, picture in pictures]
            annotations.append({
                "id": len(annotations) + 1, "video_id": len(videos), "iscrowd": 0,
                "category_id": categories.setdefault(category, len(categories) + 1),
                "segmentations": [encode_rle(mask) if mask.any() else None for mask in masks],
            })  # fmt: skip
    # Ids in the order of the names, so that they don't depend on which video comes first.
    names = sorted(categories)
    new_ids = {categories[name]: index + 1 for index, name in enumerate(names)}
    for annotation in annotations:
        annotation["category_id"] = new_ids[annotation["category_id"]]
    return {
        "videos": videos,
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(names)],
        "annotations": annotations,
    }


def palette_folder_hash(image_folder: Path, split: str, allow_outside: bool = False) -> str:
    """Changes when meta.json or any PNG changes: their names, sizes and times of change."""
    digest = hashlib.sha256()
    meta_file = image_folder.parent / "meta.json"
    digest.update(meta_file.read_bytes() if meta_file.is_file() else b"")
    for path in _annotation_files(image_folder, split, allow_outside):
        stat = path.stat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _annotation_files(image_folder: Path, split: str, allow_outside: bool) -> Iterator[Path]:
    for name in video_names(image_folder, split):
        yield from palette_pngs(annotation_folder(image_folder), name, allow_outside)


def palette_pngs(folder: Path, name: str, allow_outside: bool) -> list[Path]:
    """The PNGs of one video, in order.

    Raises:
        DataSetError: If its name or a link leads out of the folder, or one is a device or pipe.
    """
    try:
        names = sorted(path.name for path in inside(folder, name, allow_outside).glob("*.png"))
        return [inside(folder, f"{name}/{png}", allow_outside) for png in names]
    except FileError as error:
        raise DataSetError([Problem("frame outside", str(error), str(folder), f"video {name[:200]}")]) from error


def _read_meta(meta_file: Path) -> dict[tuple[str, str], str]:
    """Category by video and number of the object.

    Raises:
        DataSetError: If the file has another form.
    """
    if not meta_file.exists():
        return {}
    content, found = read_data_file(meta_file), {}
    try:
        for name, video in content["videos"].items():
            for number, item in video.get("objects", {}).items():
                found[name, number] = item.get("category", ONLY_CATEGORY)
    except (AttributeError, KeyError, TypeError) as error:
        message = 'expected {"videos": {name: {"objects": {number: {"category": ...}}}}}'
        raise DataSetError([Problem("wrong format", message, str(meta_file))]) from error
    wrong = [category for category in found.values() if not isinstance(category, str)]
    if wrong:
        message = f"category: expected a name, got {brief(wrong[0])}"
        raise DataSetError([Problem("wrong format", message, str(meta_file))])
    return found


def annotation_folder(image_folder: Path) -> Path:
    """`Annotations` for `JPEGImages`, `Annotations/480p` for `JPEGImages/480p`."""
    if image_folder.name == "JPEGImages":
        return image_folder.parent / "Annotations"
    return image_folder.parent.parent / "Annotations" / image_folder.name


def video_names(image_folder: Path, split: str) -> list[str]:
    """Names of the split's videos in alphabetical order: DAVIS lists them, YouTube-VOS has a folder per split."""
    lists = sorted((image_folder.parent.parent / "ImageSets").glob(f"*/{split}.txt"))
    if lists:
        return sorted(lists[-1].read_text().split())
    return sorted(path.name for path in annotation_folder(image_folder).iterdir() if path.is_dir())


def read_palette_png(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Object numbers of a picture, (H, W).

    Raises:
        DataSetError: If it can't be read or has colours instead of numbers.
    """
    try:
        with open_picture(path, str(path)) as picture:
            mode, numbers = picture.mode, np.asarray(picture)
    except FileError as error:
        raise DataSetError([Problem("bad PNG", str(error), str(path))]) from error
    if mode not in ("P", "L"):
        raise DataSetError([Problem("bad PNG", f"expected a palette PNG (mode P or L), got mode {mode}", str(path))])
    return numbers

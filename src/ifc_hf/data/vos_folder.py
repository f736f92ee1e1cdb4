"""Folders with palette PNGs, as YouTube-VOS and DAVIS have them, read as YouTube-VIS."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from ..model.masks import encode_rle
from .parse import ParsedSplit, parse_ytvis
from .problems import DataSetError, Problem, read_data_file

VOID = 255  # DAVIS marks pixels that belong to nobody with it
ONLY_CATEGORY = "object"  # DAVIS names no classes


def parse_palette_folder(image_folder: Path, split: str) -> ParsedSplit:
    """Parse the PNGs beside a folder with frames. The value of a pixel is the number of its object, 0 is background.

    Only frames that have a PNG count: YouTube-VOS annotates every fifth.

    Args:
        image_folder: `<root>/<split>/JPEGImages`, with `Annotations` and `meta.json` (the objects' categories) beside
            it; or `<root>/JPEGImages/480p`, with `Annotations/480p` and `ImageSets/*/<split>.txt`.
        split: Which list of DAVIS.

    Returns:
        Rows and problems. Video ids count the names in alphabetical order, from 1.

    Raises:
        DataSetError: If a PNG can't be read or is no palette picture.
    """
    return parse_ytvis(palette_folder_as_ytvis(image_folder, split), str(annotation_folder(image_folder)))


def palette_folder_as_ytvis(image_folder: Path, split: str) -> dict[str, Any]:
    """Content of a YouTube-VIS file for such a folder; see `parse_palette_folder`."""
    folder = annotation_folder(image_folder)
    meta_file = image_folder.parent / "meta.json"
    meta = read_data_file(meta_file)["videos"] if meta_file.is_file() else {}
    categories: dict[str, int] = {}
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for name in tqdm(video_names(image_folder, split), desc=f"Reading {folder}", leave=False, disable=None):
        pictures = [(path, read_palette_png(path)) for path in sorted((folder / name).glob("*.png"))]
        if not pictures:
            raise DataSetError([Problem("empty video", "there is no PNG", str(folder), f"video {name}")])
        height, width = pictures[0][1].shape
        video = {"id": len(videos) + 1, "width": width, "height": height, "length": len(pictures)}
        videos.append({**video, "file_names": [f"{name}/{path.stem}.jpg" for path, _ in pictures]})
        numbers = sorted(set().union(*(set(np.unique(picture)) for _, picture in pictures)) - {0, VOID})
        for number in numbers:
            category = meta.get(name, {}).get("objects", {}).get(str(number), {}).get("category", ONLY_CATEGORY)
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


def palette_folder_hash(image_folder: Path, split: str) -> str:
    """Changes when meta.json or any PNG changes: their names, sizes and times of change."""
    digest = hashlib.sha256()
    meta_file = image_folder.parent / "meta.json"
    digest.update(meta_file.read_bytes() if meta_file.is_file() else b"")
    for path in _annotation_files(image_folder, split):
        stat = path.stat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _annotation_files(image_folder: Path, split: str) -> Iterator[Path]:
    for name in video_names(image_folder, split):
        yield from sorted((annotation_folder(image_folder) / name).glob("*.png"))


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
        with Image.open(path) as picture:
            if picture.mode not in ("P", "L"):
                message = f"expected a palette PNG (mode P or L), got mode {picture.mode}"
                raise DataSetError([Problem("bad PNG", message, str(path))])
            return np.asarray(picture)
    except OSError as error:
        raise DataSetError([Problem("bad PNG", f"can't be read as a picture: {error}", str(path))]) from error

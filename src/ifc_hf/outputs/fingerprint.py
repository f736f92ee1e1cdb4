"""Fingerprints of videos and model folders: whether finished results belong to what lies there now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from ..model.picture_files import is_listed, is_picture
from ..model.video_inputs import is_pattern, matching_files

BLOCK_BYTES = 1 << 20
NUM_BLOCKS = 16  # of a larger file: as many, evenly spread, the first and the last among them
# What decides about a model's outputs: weights, their index, configurations.
MODEL_SUFFIXES = (".safetensors", ".bin", ".json")


def source_fingerprint(place: str | int) -> str | None:
    """Fingerprint of a video.

    Args:
        place: As in `VideoSource`.

    Returns:
        Of a file its size and a hash of its content (of a large one: of parts of it, with the time of its last
        change); of a folder or pattern of pictures a hash of names, sizes and times of change. None for what is no
        file.

    Raises:
        OSError: If a file can't be read.
    """
    if isinstance(place, int):
        return None
    if is_pattern(place):
        return listing_fingerprint(Path(file) for file in matching_files(place))
    path = Path(place)
    if path.is_dir():
        return listing_fingerprint(file for file in path.iterdir() if is_listed(file))
    return file_fingerprint(path) if path.is_file() else None


def model_fingerprint(folder: Path | None) -> str | None:
    """Fingerprint of a model folder; None if there is none.

    Raises:
        OSError: If a file can't be read.
    """
    if folder is None:
        return None
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in MODEL_SUFFIXES and file.is_file():
            digest.update(f"{file.name}\0{file_fingerprint(file)}\0".encode())
    return digest.hexdigest()


def listing_fingerprint(files: Iterable[Path]) -> str:
    """Of the pictures among some files: names, sizes and times of change; what else lies beside them is not read."""
    digest = hashlib.sha256()
    for file in sorted(filter(is_picture, files)):
        state = file.stat()
        digest.update(os.fsencode(file.name) + f"\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def file_fingerprint(path: Path) -> str:
    """Size and hash of a file's content; of a large one of samples, with the time of its last change."""
    with open(path, "rb") as stream:
        state = os.fstat(stream.fileno())
        digest = hashlib.sha256()
        if state.st_size <= NUM_BLOCKS * BLOCK_BYTES:
            digest.update(stream.read())
            return f"{state.st_size}-{digest.hexdigest()}"
        for block in range(NUM_BLOCKS):
            stream.seek(block * (state.st_size - BLOCK_BYTES) // (NUM_BLOCKS - 1))
            digest.update(stream.read(BLOCK_BYTES))
        return f"{state.st_size}-{digest.hexdigest()}-{state.st_mtime_ns}"

"""The pictures that annotations belong to: found below their folder, and of the size that is stated."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ...files import FileError, check_regular, inside
from ...model.picture_files import is_picture, natural_order
from ..frames import picture_size_hw
from .common import checked_size_hw, fail


def list_pictures(folder: Path, allow_outside: bool, file: str | None = None) -> list[Path]:
    """Pictures of a folder in the order in which a person counts: frame_2 before frame_10. Hidden files are none.

    Args:
        folder: The folder.
        allow_outside: Follow links that lead out of the folder.
        file: The annotation file, for messages; default: the folder.

    Raises:
        DataSetError: If there is none, or one is a link out of the folder or no regular file.
    """
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    names = [name for name in names if is_picture(name) and not name.startswith(".")]
    if not names:
        fail("missing frame", f"expected a folder with pictures: {folder}", file or str(folder))
    return sorted((below(folder, name, allow_outside, file or str(folder)) for name in names), key=natural_order)


def pictures_by_stem(pictures: Iterable[Path], file: str) -> dict[str, Path]:
    """Pictures by their names without suffix.

    Raises:
        DataSetError: If two pictures differ in their suffix only: it isn't known which one was annotated.
    """
    found: dict[str, Path] = {}
    for picture in pictures:
        if picture.stem in found:
            message = f"{found[picture.stem].name} and {picture.name}: which one do the annotations belong to?"
            fail("duplicate frame", message, file)
        found[picture.stem] = picture
    return found


def below(folder: Path, name: str, allow_outside: bool, file: str) -> Path:
    """Path of a file that an annotation file names; see `ifc_hf.files.inside`.

    Raises:
        DataSetError: If the name leads out of the folder, or to no regular file.
    """
    try:
        return inside(folder, name.replace("\\", "/"), allow_outside)
    except FileError as error:
        fail("outside", str(error), file)


def check_file(path: Path) -> Path:
    """A file that the user names: any regular one.

    Raises:
        DataSetError: If it is missing, a folder or a device.
    """
    try:
        check_regular(path)
    except FileError as error:
        fail("missing file", str(error).removeprefix(f"{path}: "), str(path))
    return path


def frame_size_hw(picture: Path, file: str, video: str, frame: int) -> tuple[int, int]:
    """Height and width of a frame as it is shown, from its header.

    Raises:
        DataSetError: If it is missing, no picture, or beyond the limits.
    """
    try:
        check_regular(picture)
        size_hw = picture_size_hw(picture)
    except FileError as error:
        fail("missing frame", str(error), file, video, frame=frame)
    except Exception as error:  # Pillow's classes share no ancestor: its plugins raise what they meet
        fail("unreadable frame", f"{picture} can't be read as a picture: {error}", file, video, frame=frame)
    return checked_size_hw(*size_hw, file=str(picture))


def read_values(stream: Path | BinaryIO, limit_hw: tuple[int, int]) -> np.ndarray[Any, Any]:
    """The numbers of a picture, as they are stored.

    Args:
        stream: The picture's file.
        limit_hw: A picture that is higher or wider is refused before its pixels are decoded.

    Raises:
        ValueError: If the picture is broken or too large.
    """
    try:
        with Image.open(stream) as picture:
            width, height = picture.size
            if height <= limit_hw[0] and width <= limit_hw[1]:
                return np.asarray(picture)
    except Exception as error:  # as above
        raise ValueError(f"can't be read as a picture: {error}") from error
    raise ValueError(f"{height}x{width} (height x width), more than the frame's {limit_hw[0]}x{limit_hw[1]}")

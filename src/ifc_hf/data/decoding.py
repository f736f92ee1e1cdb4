"""From rows of a data set to pictures in memory."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageOps

from ..files import FileError
from .frames import open_picture


def open_frame(frame: Any, where: str) -> Image.Image:
    """Reads one picture as upright RGB.

    Args:
        frame: `{"path": ..., "bytes": ...}` as undecoded `datasets` images come (one may be None), or a PIL image.
        where: Video and frame, for messages.

    Raises:
        ValueError: If it is missing or no picture.
    """
    if isinstance(frame, Image.Image):
        return ImageOps.exif_transpose(frame).convert("RGB")
    path, data = frame["path"], frame["bytes"]
    try:
        with open_picture(path if data is None else io.BytesIO(data), path or "the embedded picture") as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except FileError as error:
        raise ValueError(f"{where}: {error}") from error

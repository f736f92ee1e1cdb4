"""From rows of a data set to pictures in memory."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError


def open_frame(frame: Any, where: str) -> Image.Image:
    """Read one picture as upright RGB.

    Args:
        frame: `{"path": ..., "bytes": ...}` as undecoded `datasets` images come (one may be None), or a PIL image.
        where: Video and frame, for messages.

    Raises:
        ValueError: If it is missing or no picture.
    """
    if isinstance(frame, Image.Image):
        return ImageOps.exif_transpose(frame).convert("RGB")
    source = frame["path"] if frame["bytes"] is None else io.BytesIO(frame["bytes"])
    try:
        with Image.open(source) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{where}: {frame['path'] or 'the embedded picture'} can't be read: {error}") from error

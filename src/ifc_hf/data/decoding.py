"""From rows of a data set to pictures and masks in memory."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ..model.masks import decode_rle


def decode_masks(segmentations: Sequence[Any], size_hw: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Masks (N, H, W) of one frame's RLEs; None gives an empty mask.

    Raises:
        ValueError: If a mask has another size than the picture.
    """
    masks = np.zeros((len(segmentations), *size_hw), dtype=bool)
    for index, segmentation in enumerate(segmentations):
        if segmentation is None:
            continue
        mask = decode_rle(segmentation)
        if mask.shape != size_hw:
            raise ValueError(f"{where}: the mask of object {index} is {mask.shape}, the picture is {size_hw} (H, W)")
        masks[index] = mask
    return masks


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

"""Converters from the files of annotation tools to the YouTube-VIS format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .coco_video import read_coco_video
from .common import AnnotatedVideo, Source
from .cvat import read_cvat_xml
from .label_studio import read_label_studio
from .labelme import read_labelme
from .mots import read_mots_png
from .writer import write_ytvis

# A reader takes the annotation file or folder and, where the frames lie elsewhere, their folder or video file.
READERS: dict[str, Callable[[Path, Path | None], Source]] = {
    "cvat": read_cvat_xml,
    "mots": read_mots_png,
    "coco-video": read_coco_video,
    "labelme": read_labelme,
    "label-studio": read_label_studio,
}


def convert(
    source: str | os.PathLike[str],
    source_format: str,
    output: str | os.PathLike[str],
    split: str = "train",
    frames: str | os.PathLike[str] | None = None,
) -> Path:
    """Convert annotations to a split in the official layout: `<split>.json` and `<split>/JPEGImages/<video>/<frame>`.

    Args:
        source: The annotation file or folder.
        source_format: "cvat" (video XML 1.1), "mots" (PNG export), "coco-video" (also CVAT's COCO export), "labelme"
            or "label-studio".
        output: The data set's folder. Another split of the same data set may be there already.
        split: Name of the split.
        frames: Folder or video file with the frames, if they are not where the tool puts them.

    Returns:
        The JSON that was written.

    Raises:
        ValueError: If the format is unknown.
        DataSetError: (a ValueError) Naming file, object and frame.
    """
    if source_format not in READERS:
        raise ValueError(f"source_format: expected one of {sorted(READERS)}, got {source_format!r}")
    return write_ytvis(READERS[source_format](Path(source), None if frames is None else Path(frames)), output, split)


__all__ = ["READERS", "AnnotatedVideo", "Source", "convert", "write_ytvis"]

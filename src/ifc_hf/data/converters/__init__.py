"""Converters from the files of annotation tools to the YouTube-VIS format."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..problems import DataSetError, Problem
from .archives import unpacked
from .classes import read_class_file
from .coco_video import read_coco_video
from .common import AnnotatedVideo, Source
from .cvat import read_cvat_xml
from .label_studio import read_label_studio
from .labelme import read_labelme
from .mots import read_mots_png
from .writer import write_ytvis
from .ytvis_sets import read_sets

AnyPath = str | os.PathLike[str]

# A reader takes the annotation file or folder, the folder or video file with the frames where they lie elsewhere, and
# whether names may lead out of these folders.
READERS: dict[str, Callable[[Path, Path | None, bool], Source]] = {
    "cvat": read_cvat_xml,
    "mots": read_mots_png,
    "coco-video": read_coco_video,
    "labelme": read_labelme,
    "label-studio": read_label_studio,
}


@dataclass(frozen=True)
class WrittenSplit:
    """What was written.

    Attributes:
        json_file: The split's JSON.
        left_out: What the source has and the split hasn't, each with its place.
    """

    json_file: Path
    left_out: list[Problem]


def convert(
    source: AnyPath,
    source_format: str,
    output: AnyPath,
    split: str = "train",
    frames: AnyPath | None = None,
    classes: AnyPath | None = None,
    allow_outside: bool = False,
    invalid_annotations: str = "error",
) -> WrittenSplit:
    """Converts annotations to a split in the official layout: `<split>.json` and `<split>/JPEGImages/<video>/<frame>`.

    Args:
        source: The annotation file or folder, or a zip archive of it.
        source_format: "cvat" (video XML 1.1), "mots" (PNG export), "coco-video" (also CVAT's COCO export), "labelme"
            or "label-studio".
        output: The data set's folder. Another split of the same data set may be there already: its classes keep their
            ids, and a class that it doesn't have is refused.
        split: Name of the split.
        frames: Folder or video file with the frames, if they are not where the tool puts them.
        classes: File with all class names in the order of their ids: a line each, or a JSON list. By default they are
            those of the splits in the output, or of the source.
        allow_outside: Let file names and links lead out of the source's folder.
        invalid_annotations: "error", or "drop" the masks of a COCO file that can't be read, such as polygons of two
            points: they are then among what was left out.

    Returns:
        The JSON that was written, and what was left out.

    Raises:
        ValueError: If the format is unknown, or one in which nothing can be dropped.
        DataSetError: (a ValueError) Naming file, object and frame.
    """
    if source_format not in READERS:
        raise ValueError(f"source_format: expected one of {sorted(READERS)}, got {source_format!r}")
    read_source = READERS[source_format]
    if invalid_annotations == "drop":
        if source_format != "coco-video":
            raise ValueError(f"invalid_annotations: only those of coco-video can be dropped, not of {source_format}")
        read_source = partial(read_coco_video, drop_invalid=True)
    names = None if classes is None else read_class_file(Path(classes))
    with unpacked(Path(source)) as folder:
        try:
            read = read_source(folder, None if frames is None else Path(frames), allow_outside)
            return WrittenSplit(write_ytvis(read, output, split, names), _renamed(read.left_out, folder, source))
        except DataSetError as error:
            raise DataSetError(_renamed(error.problems, folder, source)) from error


def merge(
    sources: Sequence[AnyPath],
    output: AnyPath,
    split: str = "train",
    classes: AnyPath | None = None,
    allow_outside: bool = False,
) -> WrittenSplit:
    """Merges one split of several data sets in the YouTube-VIS format; see `read_sets`.

    Args:
        sources: The data sets' folders.
        output: The folder of the data set to write.
        split: Name of the split, in all of them.
        classes: As for `convert`.
        allow_outside: As for `convert`.

    Raises:
        DataSetError: Naming file, object and frame.
    """
    names = None if classes is None else read_class_file(Path(classes))
    read = read_sets([Path(source) for source in sources], split, allow_outside)
    return WrittenSplit(write_ytvis(read, output, split, names), read.left_out)


def _renamed(problems: Sequence[Problem], folder: Path, source: AnyPath) -> list[Problem]:
    """Problems that name the archive where they name the folder that it was unpacked into."""
    old, new = str(folder), str(source)
    return [replace(p, file=p.file.replace(old, new), message=p.message.replace(old, new)) for p in problems]


__all__ = ["READERS", "AnnotatedVideo", "Source", "WrittenSplit", "convert", "merge", "write_ytvis"]

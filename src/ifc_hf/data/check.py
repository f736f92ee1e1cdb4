"""Look at a whole split and report every problem, where loading stops at the first fatal ones."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from .frames import frame_problems
from .layout import SplitLocation, locate_coco, locate_ytvis
from .parse import ParsedSplit, coco_as_ytvis, parse_ytvis
from .problems import DataSetError, Problem, read_data_file
from .vos_folder import parse_palette_folder


def check_split(
    root: str | os.PathLike[str],
    version: str | None = None,
    split: str = "train",
    every_frame: bool = True,
    allow_outside: bool = False,
) -> list[Problem]:
    """Checks annotations and frames.

    Beyond what loading checks: the size of every frame, boxes that are off their masks, masks without a pixel, file
    names that are there twice, classes that never occur.

    Args:
        root: As for `load_ytvis` or `load_coco`.
        version: As for `load_ytvis`, or "coco".
        split: Name of the split.
        every_frame: Read the header of every frame, or of the first of every video.
        allow_outside: As for `load_ytvis`.

    Returns:
        All problems; empty if there is none.
    """
    try:
        location, parsed = read_split(root, version, split, allow_outside)
    except DataSetError as error:
        return error.problems
    noun = "image" if version == "coco" else "video"
    problems = parsed.problems + frame_problems(parsed.videos, location.frames, parsed.file, every_frame, noun)
    for video in parsed.videos:
        twice = [name for name, count in Counter(video.file_names).items() if count > 1]
        if twice:
            message = f"{len(twice)} file names are there more than once, first {twice[0]}"
            problems.append(Problem("duplicate frame", message, parsed.file, video.describe(noun), fatal=False))
    used = {track.category_id for video in parsed.videos for track in video.tracks}
    named = zip(parsed.category_ids, parsed.label_names, strict=True)
    unused = [name for category_id, name in named if category_id not in used]
    if parsed.has_annotations and unused:
        message = f"{len(unused)} of {len(parsed.label_names)} classes never occur: {', '.join(unused)}"
        problems.append(Problem("unused class", message, parsed.file, fatal=False))
    return problems


def read_split(
    root: str | os.PathLike[str], version: str | None = None, split: str = "train", allow_outside: bool = False
) -> tuple[SplitLocation, ParsedSplit]:
    """Finds and parses a split, without `datasets` and its cache.

    Args:
        root: As for `load_ytvis` or `load_coco`.
        version: As for `load_ytvis`, or "coco".
        split: Name of the split.
        allow_outside: As for `load_ytvis`.

    Returns:
        Where it is, and its rows and problems.

    Raises:
        DataSetError: If it isn't there, or is no such file.
    """
    location = locate_coco(root, split) if version == "coco" else locate_ytvis(root, version, split)
    location = replace(location, allow_outside=allow_outside)
    if location.annotation_file is None:
        parsed = parse_palette_folder(location.image_folder, split, allow_outside)
    else:
        parsed = read_annotations(location.annotation_file, is_coco=version == "coco")
    parsed.videos = [video for video in parsed.videos if location.holds(video.id, video.length or 0)]
    return location, parsed


def read_annotations(annotation_file: Path, is_coco: bool = False) -> ParsedSplit:
    """Reads and parses an annotation file in YouTube-VIS or COCO format."""
    content, file = read_data_file(annotation_file), str(annotation_file)
    if is_coco:
        return parse_ytvis(coco_as_ytvis(content, file), file, noun="image")
    return parse_ytvis(content, file)

"""The picture files that annotations speak of: are they there, and do they have the size that is stated?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from tqdm.auto import tqdm

from .parse import describe_video
from .problems import Problem

ORIENTATION_TAG = 0x0112  # EXIF; values above 4 turn the picture by 90 degrees


def missing_files(paths: Iterable[str]) -> list[str]:
    """Those of `paths` that don't exist. Every folder is listed once: 60,000 frames take well under a second."""
    listings: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in listings[folder]:
            missing.append(path)
    return missing


def missing_frames(
    rows: Sequence[dict[str, Any]], image_folder: Path, file: str, noun: str = "video"
) -> list[Problem]:
    """One problem per video that lacks frames, with their count.

    Args:
        rows: `video_id, length, file_names` of every video.
        image_folder: Folder that the file names start from.
        file: The annotation file, for messages.
        noun: What messages call a video.
    """
    missing = set(missing_files(os.path.join(image_folder, name) for row in rows for name in row["file_names"]))
    if not missing:
        return []
    problems = []
    for row in rows:
        gone = [i for i, name in enumerate(row["file_names"]) if os.path.join(image_folder, name) in missing]
        if gone:
            first = os.path.join(image_folder, row["file_names"][gone[0]])
            message = f"{len(gone)} of {row['length']} frames are missing ({len(missing)} in all), first {first}"
            where = describe_video(row, noun)
            problems.append(Problem("missing frame", message, file, where, frame=gone[0]))
    return problems


def wrong_sizes(
    rows: Sequence[dict[str, Any]], image_folder: Path, file: str, every_frame: bool, noun: str = "video"
) -> list[Problem]:
    """Pictures that can't be read or have another size than their video states; only headers are read.

    Args:
        rows: `video_id, width, height, file_names` of every video.
        image_folder: Folder that the file names start from.
        file: The annotation file, for messages.
        every_frame: Look at all frames, or only at the first of every video.
        noun: What messages call a video.

    Returns:
        The first wrong frame of every wrong video. Missing files are passed over: see `missing_frames`.
    """
    problems = []
    for row in tqdm(rows, desc=f"Reading frames of {file}", unit=noun, leave=False, disable=None):
        for frame, name in enumerate(row["file_names"] if every_frame else row["file_names"][:1]):
            path = os.path.join(image_folder, name)
            try:
                height, width = picture_size_hw(path)
            except FileNotFoundError:
                continue
            except (OSError, UnidentifiedImageError) as error:
                message = f"{path} can't be read as a picture: {error}"
                problems.append(Problem("unreadable frame", message, file, describe_video(row, noun), frame=frame))
                break
            if (height, width) != (row["height"], row["width"]):
                message = f"{path} is {height}x{width} (height x width), the {noun} is {row['height']}x{row['width']}"
                problems.append(Problem("wrong size", message, file, describe_video(row, noun), frame=frame))
                break
    return problems


def picture_size_hw(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of a picture as it is shown (EXIF orientation applied), from its header."""
    with Image.open(path) as picture:
        turned = picture.getexif().get(ORIENTATION_TAG, 1) > 4
        width, height = picture.size
    return (width, height) if turned else (height, width)

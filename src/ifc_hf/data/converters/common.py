"""What every converter fills in: videos with their frames, and tracks that grow frame by frame."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ...model.rle import merge_rles
from ..problems import DataSetError, Problem

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


@dataclass
class AnnotatedVideo:
    """One video of an annotation tool.

    Attributes:
        name: Becomes its folder.
        height: H in pixels.
        width: W in pixels.
        frames: The picture of every frame, or one video file.
        length: L.
        tracks: `(category, {frame index: RLE})` of every object.
    """

    name: str
    height: int
    width: int
    frames: list[Path] | Path
    length: int
    tracks: dict[Hashable, tuple[str, dict[int, dict[str, Any]]]] = field(default_factory=dict)

    def add(self, track: Hashable, category: str, frame: int, rle: Mapping[str, Any], file: str) -> None:
        """Add a mask to a track; what the track has on that frame already is joined with it.

        Args:
            track: Identity of the object within the video.
            category: Its class.
            frame: Frame index.
            rle: The mask.
            file: For messages.

        Raises:
            DataSetError: If the video has no such frame, or the track another category.
        """
        if not 0 <= frame < self.length:
            fail("bad frame", f"there is no such frame: the video has {self.length}", file, self.name, track, frame)
        known, masks = self.tracks.setdefault(track, (category, {}))
        if known != category:
            fail("bad annotation", f"is {category!r} here and {known!r} earlier", file, self.name, track, frame)
        parts = [masks[frame], dict(rle)] if frame in masks else [dict(rle)]
        masks[frame] = merge_rles(parts)


@dataclass
class Source:
    """All that a converter reads.

    Attributes:
        file: Where it comes from, for messages.
        categories: Class names in the tool's order; others that occur are added after them.
        videos: The videos.
    """

    file: str
    categories: list[str]
    videos: list[AnnotatedVideo]


def fail(
    kind: str, message: str, file: str, video: str | None = None, track: object = None, frame: int | None = None
) -> NoReturn:
    """Raise a `DataSetError` with one problem."""
    where = None if video is None else f"video {video}"
    raise DataSetError([Problem(kind, message, file, where, track, frame)])


def list_pictures(folder: Path) -> list[Path]:
    """Pictures of a folder in the order in which a person counts: frame_2 before frame_10.

    Raises:
        DataSetError: If there is none.
    """
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES] if folder.is_dir() else []
    if not found:
        fail("missing frame", "expected a folder with pictures", str(folder))
    return in_number_order(found)


def in_number_order(paths: Iterable[Path]) -> list[Path]:
    """Sort with digits compared as numbers."""
    return sorted(
        paths, key=lambda path: [(int(t), "") if t.isdigit() else (-1, t) for t in re.split(r"(\d+)", str(path))]
    )

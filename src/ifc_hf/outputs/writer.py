"""What the writers of the single kinds of files have in common."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..model.video_files import Frame


@dataclass
class Shot:
    """A frame and what was found in it.

    Attributes:
        index: Position among the frames that were looked at, from 0.
        time: When it is shown, in seconds from the first of those frames.
        frame: (H, W, 3) uint8 RGB.
        drawn: (H, W, 3) uint8 RGB with the tracks drawn; the frame itself if no output needs that.
        track_ids: n numbers, best score first.
        labels: Their n names.
        masks: (n, H, W) bool.
    """

    index: int
    time: float
    frame: Frame
    drawn: Frame
    track_ids: Sequence[int]
    labels: Sequence[str]
    masks: NDArray[np.bool_]


class ShotWriter:
    """Takes the shots of a video one by one and makes a file or a folder of them. Use it in a `with` statement.

    The result appears under its name only when it is complete; after an exception nothing is left.

    Args:
        path: Name of the result.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = part_path(path)

    def add(self, shot: Shot) -> None:
        """Take the next shot."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write to the temporary path what is not written yet."""

    def discard(self) -> None:
        """Remove what was written; called after the result was renamed, too."""
        remove(self.temporary)

    def __enter__(self) -> ShotWriter:
        """Start writing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the result, or remove what there is after an error."""
        try:
            if kind is None:
                self.finish()
                if self.temporary.is_dir():
                    remove(self.path)  # a folder can't be replaced while it holds something
                os.replace(self.temporary, self.path)
        finally:
            self.discard()


def part_path(path: Path) -> Path:
    """Where a result grows until it is complete."""
    return path.with_name(f".{path.stem}.part{path.suffix}")


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed run left in a folder."""
    for pattern in (".*.part", ".*.part.*", "tracks.json*.part"):
        for path in folder.glob(pattern):
            remove(path)

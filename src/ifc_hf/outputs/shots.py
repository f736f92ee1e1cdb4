"""Shots: drawn frames with what was found in them, and what all files that are made of shots have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ..files import whole_file
from ..model.video_files import Frame
from .instances import Masks

Self = TypeVar("Self", bound="ShotWriter")


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
        masks: Their n masks (H, W).
    """

    index: int
    time: float
    frame: Frame
    drawn: Frame
    track_ids: Sequence[int]
    labels: Sequence[str]
    masks: Masks


class ShotWriter:
    """Takes the shots of a video one by one and makes a file or a folder of them. Use it in a `with` statement.

    The result appears under its name only when it is complete; after an exception nothing is left.

    Args:
        path: Name of the result.

    Attributes:
        temporary: Where the result grows, in the `with` block.
    """

    whole: Callable[[Path], AbstractContextManager[Path]] = staticmethod(whole_file)

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path

    def start(self) -> None:
        """Prepares the writing to the temporary path."""

    def add(self, shot: Shot) -> None:
        """Takes the next shot."""
        raise NotImplementedError

    def finish(self) -> None:
        """Writes to the temporary path what is not written yet."""

    def discard(self) -> None:
        """Lets go of what else is open or lies elsewhere; called in the end, after an error, too."""

    def __enter__(self: Self) -> Self:
        """Starts writing."""
        with ExitStack() as stack:
            self.temporary = stack.enter_context(self.whole(self.path))
            stack.callback(self.discard)
            self.start()
            self.stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finishes the result, or removes what there is after an error."""
        if error is not None:
            self.stack.__exit__(kind, error, traceback)
            return
        with self.stack:
            self.finish()

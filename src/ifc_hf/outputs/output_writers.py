"""The making of the chosen outputs of one video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

from .drawing import DrawingStyle, TrackDrawer
from .drawn_video import DrawnVideo
from .files import DRAWN, FILES
from .pictures import Animation, ContactSheet, Cutouts, IdMaps
from .prediction import Prediction
from .shots import Shot, ShotWriter
from .source import VideoSource
from .timeline import require_matplotlib


class OutputWriters:
    """The writers of the chosen outputs of one video.

    Args:
        stack: Closes them at its end.
        chosen: Names of `OF_FRAMES`.
        folder: Of the video's results.
        source: The video.
        num_frames: Its length.
        fps: Its frames per second.
        start: Where in the source the first frame lies, in seconds.
        sample_aspect_ratio: Width of a pixel over its height.
    """

    def __init__(
        self,
        stack: ExitStack,
        chosen: Sequence[str],
        folder: Path,
        source: VideoSource,
        num_frames: int,
        fps: float,
        start: float = 0.0,
        sample_aspect_ratio: Fraction = Fraction(1),
    ) -> None:
        sound_of = str(source.place) if source.may_have_sound else None
        makers: dict[str, Callable[[Path], ShotWriter]] = {
            "masks": IdMaps,
            "video": lambda path: DrawnVideo(path, fps, sound_of, start, sample_aspect_ratio),
            "gif": lambda path: Animation(path, num_frames, fps),
            "sheet": lambda path: ContactSheet(path, num_frames),
            "cutouts": Cutouts,
        }
        self.writers = [stack.enter_context(makers[name](folder / FILES[name])) for name in chosen]

    def add(self, shot: Shot) -> None:
        """Gives the next shot to each."""
        for writer in self.writers:
            writer.add(shot)


def make_drawer(chosen: Sequence[str], style: DrawingStyle) -> TrackDrawer | None:
    """What draws the frames, if a chosen output shows them drawn."""
    return TrackDrawer(style) if set(chosen) & set(DRAWN) else None


def require_libraries(chosen: Sequence[str], style: DrawingStyle) -> None:
    """Says before the work what the chosen outputs lack.

    Raises:
        ImportError: Names the missing library and how to install it.
    """
    make_drawer(chosen, style)
    if "timeline" in chosen:
        require_matplotlib()


def missing_outputs(prediction: Prediction, chosen: Sequence[str], style: DrawingStyle, folder: Path) -> list[str]:
    """The chosen outputs of a video that are not there, or drawn otherwise."""
    return [
        name
        for name in chosen
        if name in FILES
        and name != "tracks"
        and (prediction.written.get(name, {}) != mark(name, style) or not (folder / FILES[name]).exists())
    ]


def mark(name: str, style: DrawingStyle) -> dict[str, bool | int] | None:
    """How an output was made, as far as that can differ."""
    return asdict(style) if name in DRAWN else None

"""Sources without end: frames are finished as they come, and files begin anew from time to time."""

from __future__ import annotations

import time as clock
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from .drawing import DrawingStyle, TrackDrawer
from .drawn_video import DrawnVideo
from .frame_lines import FrameLines
from .segmenting import of_classes
from .shots import Shot
from .source import Reading, VideoSource
from .threads import read_latest, write_behind
from .worker import CAMERA_FPS, live_shot

if TYPE_CHECKING:
    from ..model.tracks import FrameResult
    from ..model.video_files import Frame
    from ..model.video_segmenter import IfcVideoSegmenter

PART_SECONDS = 600.0  # of the source that a file holds


@dataclass
class Arrived:
    """A frame that is not finished yet.

    Attributes:
        frame: (H, W, 3) uint8 RGB.
        time: When it is shown, in seconds from the first frame.
        seconds: When it came, by this machine's clock.
    """

    frame: Frame
    time: float
    seconds: float


@dataclass(frozen=True)
class Followed:
    """What came of following a source.

    Attributes:
        num_frames: That were finished.
        problem: Why it ended by itself; None after Ctrl-C.
    """

    num_frames: int
    problem: str | None


class LiveParts:
    """The files of a live source: for every ten minutes one of lines, and a drawn one if it is asked for.

    They are named by the time at which they begin. Lines are there at once, a drawn video when its part is over.

    Args:
        folder: For the files.
        video: The source as it was given.
        fps: Of the drawn video; every frame has its time besides.
        style: How to draw; None: no drawn video.
        part_seconds: Of the source that a part holds.
    """

    def __init__(
        self, folder: Path, video: str, fps: float, style: DrawingStyle | None, part_seconds: float = PART_SECONDS
    ) -> None:
        self.folder, self.video, self.fps, self.part_seconds = folder, video, fps, part_seconds
        self.drawer = TrackDrawer(style) if style else None
        self.part = ExitStack()
        self.begin: float | None = None  # time of the part's first frame
        self.num_parts = 0

    def add(self, result: FrameResult, frame: Frame, time: float) -> None:
        """Writes a frame, into a new part if it is time for one."""
        if self.begin is None or time - self.begin >= self.part_seconds:
            self.part.close()
            self.start_part(time)
        assert self.begin is not None
        self.lines.add(self.video, result, time)
        if self.drawer:
            self.draw(live_shot(result, frame, time - self.begin, self.drawer))

    def start_part(self, time: float) -> None:
        """Opens the files of a part."""
        self.begin = time
        self.num_parts += 1
        name = f"{clock.strftime('%Y%m%dT%H%M%S')}_{self.num_parts:04}"
        stream = open(self.folder / f"{name}.jsonl", "w", encoding="utf-8")  # noqa: SIM115 -- closed by the stack
        self.lines = FrameLines(self.part.enter_context(stream))
        if self.drawer:
            video = self.part.enter_context(DrawnVideo(self.folder / f"{name}.mp4", self.fps))
            self.draw: Callable[[Shot], None] = self.part.enter_context(write_behind(video.add))

    def __enter__(self) -> LiveParts:
        """Starts with no part: the first frame opens one."""
        return self

    def __exit__(self, *error: object) -> None:
        """Completes the last part; it holds what came until now, whatever has ended the source."""
        self.part.close()


def follow(
    segmenter: IfcVideoSegmenter,
    source: VideoSource,
    folder: Path,
    classes: list[str] | None,
    style: DrawingStyle | None,
    take_frame: Callable[[str, FrameResult, float], None] | None = None,
) -> Followed:
    """Segments a live source until Ctrl-C, or until it stays away.

    Frames that come faster than they can be finished are left out, the oldest first, so that what is shown stays close
    to now. The bar of progress tells how far behind it is.

    Args:
        segmenter: Best with `frames_per_batch=1`.
        source: The camera or address.
        folder: For the files.
        classes: Names of the classes to report; None: all.
        style: How to draw; None: no drawn video.
        take_frame: Takes every frame as soon as it is finished, after the source's name.

    Returns:
        How many frames there were, and why there are no more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    video = str(source.place)
    waiting: deque[Arrived] = deque()
    num_finished = 0
    reading = Reading(source)
    fps = source.fps or CAMERA_FPS
    with (
        LiveParts(folder, video, fps, style) as parts,
        tqdm(desc=f"live {source.name}", unit="frame") as progress,
        closing(read_latest(stamped(reading))) as timed,
    ):
        try:
            for result in segmenter.stream(arriving(timed, waiting), keep_segmentations=False):
                arrived = waiting.popleft()
                shown = of_classes(result, classes)
                parts.add(shown, arrived.frame, arrived.time)
                if take_frame:
                    take_frame(video, shown, arrived.time)
                num_finished += 1
                lag = clock.monotonic() - arrived.seconds
                progress.set_postfix_str(f"lag {1000 * lag:.0f} ms, {len(waiting)} frames", refresh=False)
                progress.update()
        except KeyboardInterrupt:  # the way in which such a run ends
            return Followed(num_finished, None)
    return Followed(num_finished, reading.problem)


def arriving(timed: Iterator[tuple[tuple[float, Frame], float]], waiting: deque[Arrived]) -> Iterator[Frame]:
    """The frames as they come, noted until they are finished."""
    first: float | None = None
    for (time, frame), seconds in timed:
        first = time if first is None else first
        waiting.append(Arrived(frame, time - first, seconds))
        yield frame


def stamped(reading: Reading) -> Iterator[tuple[tuple[float, Frame], float]]:
    """Frames with their times, each with the time at which it came by this machine's clock."""
    for timed in reading.timed:
        yield timed, clock.monotonic()

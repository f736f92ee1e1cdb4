"""What reading a video gives: frames with their times, the facts of the source, and what could not be read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

logger = logging.getLogger(__name__)

DEFAULT_FPS = Fraction(25)  # of folders of pictures, which know no time
JUMP_BACK_SECONDS = 0.1  # FFmpeg's own bounds: a time beyond these begins a new part of a joined stream
JUMP_AHEAD_SECONDS = 10.0
ABSURD_JUMP_SECONDS = 30 * 3600.0

Frame = NDArray[np.uint8]  # (H, W, 3) RGB
Item = TypeVar("Item")


class VideoError(ValueError):
    """A video that can't be read or written; the message names the file."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video after its first frame.

    Attributes:
        fps: Frames per second (average of a video of variable frame rate).
        size_hw: Height and width of the frames in stored pixels, turned upright.
        num_frames: Frames; of a file an estimate from its header, None if the header says nothing.
        rotation: Degrees counter-clockwise by which stored frames are turned for display: 0, 90, 180 or 270.
        mirrored: Whether top and bottom are swapped before that turn.
        sample_aspect_ratio: Width of an upright pixel over its height; 1 if pixels are square, or nothing is said.
        has_sound: Whether there is a sound track.
        is_live: Whether the source goes on by itself, so that it can't be read a second time.
    """

    fps: Fraction
    size_hw: tuple[int, int]
    num_frames: int | None = None
    rotation: int = 0
    mirrored: bool = False
    sample_aspect_ratio: Fraction = Fraction(1)
    has_sound: bool = False
    is_live: bool = False


@dataclass
class Report:
    """What came and what was missing, noted while a video is read.

    Attributes:
        num_frames: Frames that were readable.
        bad_packets: Packets of a file or stream, or pictures of a folder, that could not be decoded.
        bad_reason: What is wrong with the first of them.
        end_reason: Why the end is missing, or None.
        expected: Frames that the header promises, or None.
        unit: What `bad_packets` counts.
    """

    num_frames: int = 0
    bad_packets: int = 0
    bad_reason: str = ""
    end_reason: str | None = None
    expected: int | None = None
    unit: str = "packets"

    def note_bad(self, reason: str) -> None:
        """Counts a packet or picture that can't be decoded."""
        self.bad_packets += 1
        self.bad_reason = self.bad_reason or reason


class Reading(Iterator[tuple[float, Frame]]):
    """One pass over a video. Iterate over it for `(time, frame)`.

    The time is in seconds from the first frame and always rises; the frame is (H, W, 3) uint8 RGB, upright, and has
    the size of the first one. Whatever can't be decoded is left out and counted; the rest comes.

    Args:
        name: What messages call the video.
        timed: The frames with their times.
        info: The facts.
        report: What `timed` notes while it reads.
    """

    def __init__(self, name: str, timed: Iterator[tuple[float, Frame]], info: VideoInfo, report: Report) -> None:
        self.name, self.timed, self.info, self.report = name, timed, info, report
        self._warned_of: set[tuple[int, ...]] = set()

    def __next__(self) -> tuple[float, Frame]:
        """The next frame.

        Raises:
            VideoError: If reading fails otherwise than by damaged data, as when memory runs out.
        """
        try:
            time, frame = next(self.timed)
        except (StopIteration, VideoError):
            raise
        except Exception as error:  # PyAV and Pillow raise some 40 classes, which share no ancestor but this
            raise VideoError(f"{self.name}: reading failed ({one_line(error)})") from error
        return time, self._fitted(frame)

    @property
    def bad_packets(self) -> int:
        """How many packets, or pictures of a folder, could not be decoded so far."""
        return self.report.bad_packets

    @property
    def problem(self) -> str | None:
        """What was missing so far, in one line; None if nothing was."""
        report = self.report
        if report.end_reason is not None:
            of_expected = f" of {report.expected}" if report.expected else ""
            bad = f"; {report.bad_packets} bad {report.unit}" if report.bad_packets else ""
            return (
                f"{self.name}: truncated, {report.num_frames}{of_expected} frames were readable "
                f"({report.end_reason}{bad})"
            )
        if report.bad_packets:
            return (
                f"{self.name}: damaged, {report.bad_packets} of its {report.unit} could not be decoded "
                f"({report.bad_reason}); {report.num_frames} frames were readable"
            )
        return None

    @property
    def complete(self) -> bool:
        """Whether nothing was missing so far."""
        return self.problem is None

    def close(self) -> None:
        """Stops reading and closes the source."""
        if close := getattr(self.timed, "close", None):
            close()

    def _fitted(self, frame: Frame) -> Frame:
        """The frame in the size of the first one, as the `ffmpeg` command scales it."""
        size_hw = frame.shape[:2]
        if size_hw == self.info.size_hw:
            return frame
        height, width = self.info.size_hw
        if size_hw not in self._warned_of:
            self._warned_of.add(size_hw)
            logger.warning(
                "%s: the frames' size changes to %dx%d (height x width); they are scaled to the first one's, %dx%d",
                self.name, *size_hw, height, width,
            )  # fmt: skip
        return np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))


class Clock:
    """Turns the times of a stream, which may be missing or begin again, into ones that only rise.

    Args:
        frame_seconds: How long a frame is shown if nothing else is known.
        may_jump: Whether the container is of a kind whose times may leap ahead, as a transport stream's.

    Attributes:
        shifts: What was added to the times, one entry for every part of a joined stream, in seconds.
    """

    def __init__(self, frame_seconds: float, may_jump: bool = False) -> None:
        self.frame_seconds = frame_seconds
        self.jump_ahead = JUMP_AHEAD_SECONDS if may_jump else ABSURD_JUMP_SECONDS
        self.last: float | None = None
        self.last_duration = frame_seconds
        self.shifts = [0.0]

    def shown_at(self, time: float | None, duration: float = 0.0) -> float:
        """When a frame is shown, in seconds.

        Args:
            time: As the stream says, or None.
            duration: Likewise; 0 if the stream doesn't say it.
        """
        if self.last is None:
            shown = 0.0 if time is None else time
        else:
            expected = self.last + self.last_duration
            shown = expected if time is None else time + self.shifts[-1]
            if shown < self.last - JUMP_BACK_SECONDS or shown > self.last + self.jump_ahead:
                self.shifts.append(self.shifts[-1] + expected - shown)
                shown = expected
            elif shown <= self.last:  # a time given twice, or slightly out of order
                shown = self.last + self.last_duration / 2
        self.last, self.last_duration = shown, duration or self.frame_seconds
        return shown


def one_line(error: BaseException) -> str:
    """An error's reason without line breaks; FFmpeg's without its number."""
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())


def begun(first: Item, rest: Iterator[Item]) -> Iterator[Item]:
    """The first frame, which was read already, and the rest; closes the rest."""
    try:
        yield first
        del first  # one frame in memory, not two
        yield from rest
    finally:
        if close := getattr(rest, "close", None):
            close()

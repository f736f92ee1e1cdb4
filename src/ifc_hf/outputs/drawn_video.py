"""The drawn video, with the sound of the source."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from ..files import temporary_name
from ..model.video_files import VideoWriter
from .writer import Shot, ShotWriter

logger = logging.getLogger(__name__)

# What MP4 holds and browsers play; other sound is encoded anew.
COPIED_SOUND = ("aac", "mp3", "opus", "flac")
SOUND_RATE = 48_000  # of sound that is encoded anew, in samples per second


class DrawnVideo(ShotWriter):
    """An MP4 of the drawn frames, each as long as it is shown in the source.

    Args:
        path: Name of the result.
        fps: Frames per second.
        sound_of: File or address whose sound to add, if it has any; None: no sound.
        start: Where in the source the first frame lies, in seconds.
    """

    def __init__(self, path: Path, fps: float, sound_of: str | None = None, start: float = 0.0) -> None:
        super().__init__(path)
        self.fps, self.sound_of = fps, sound_of
        self.begin = self.end = start

    def start(self) -> None:
        """Opens the video."""
        self.silent = temporary_name(self.path)
        self.writer = VideoWriter(self.silent, self.fps)

    def add(self, shot: Shot) -> None:
        """Writes a frame."""
        self.writer.write(shot.drawn, shot.time)
        self.end = self.begin + shot.time + 1 / float(self.writer.fps)

    def finish(self) -> None:
        """Closes the video and adds the sound."""
        self.writer.close()
        if self.sound_of is None or not add_sound(self.silent, self.sound_of, self.temporary, self.begin, self.end):
            self.silent.replace(self.temporary)

    def discard(self) -> None:
        """Removes what was written."""
        self.writer.discard()
        self.silent.unlink(missing_ok=True)


def add_sound(silent: Path, source: str, output: Path, start: float, end: float) -> bool:
    """Write a video with the first sound track of another one.

    Args:
        silent: The video.
        source: File or address of the sound.
        output: The result, MP4.
        start: Where the sound begins, in seconds from the first frame of the source.
        end: Where it ends.

    Returns:
        Whether the source has sound in that time; if not, nothing is written. Sound that can't be read is left out,
        with a warning.
    """
    try:
        with av.open(source) as sounding, av.open(str(silent)) as pictures:
            if not sounding.streams.audio:
                return False
            video_start = seconds(sounding.streams.video[0].start_time or 0, sounding.streams.video[0].time_base)
            with av.open(str(output), "w", format="mp4", options={"movflags": "faststart"}) as mp4:
                video_packets = copied(pictures, pictures.streams.video[0], mp4, 0.0, float("inf"))
                sound = sounding.streams.audio[0]
                read_sound = copied if sound.codec_context.name in COPIED_SOUND else encoded
                sound_packets = read_sound(sounding, sound, mp4, video_start + start, video_start + end)
                # Players expect sound and picture of one time close together.
                packets = heapq.merge(video_packets, sound_packets, key=lambda timed: timed[0])
                for _, packet in packets:
                    mp4.mux(packet)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):  # the disk's fault, not the sound's
            raise
        logger.warning("%s: its sound is left out, for it can't be read (%s)", source, error.strerror)
        output.unlink(missing_ok=True)
        return False
    return True


def copied(container: Any, stream: Any, mp4: Any, start: float, end: float) -> Iterator[tuple[float, Any]]:
    """Packets of a stream as they are, with the time in seconds at which each is due, moved so that `start` is 0."""
    target = mp4.add_stream_from_template(stream)

    def packets() -> Iterator[tuple[float, Any]]:
        offset = round(start / stream.time_base)
        for packet in container.demux(stream):
            if packet.dts is None:  # the empty one at the end
                continue
            time = seconds(packet.dts, stream.time_base)
            if time >= end:
                return
            if time >= start or start == 0:
                packet.dts -= offset
                packet.pts = None if packet.pts is None else packet.pts - offset
                packet.stream = target
                yield time - start, packet

    return packets()


def encoded(container: Any, stream: Any, mp4: Any, start: float, end: float) -> Iterator[tuple[float, Any]]:
    """Sound encoded anew as AAC, as `copied` gives it."""
    target = mp4.add_stream("aac", rate=SOUND_RATE, layout="stereo")
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SOUND_RATE)

    def packets() -> Iterator[tuple[float, Any]]:
        position: int | None = None  # of the next sample
        for frame in container.decode(stream):
            time = start if frame.time is None else float(frame.time)
            if time >= end:
                break
            if time < start:
                continue
            position = round((time - start) * SOUND_RATE) if position is None else position
            for resampled in resampler.resample(frame):
                resampled.pts, resampled.time_base = position, Fraction(1, SOUND_RATE)
                position += resampled.samples
                yield from timed(target.encode(resampled))
        yield from timed(target.encode(None))

    return packets()


def timed(packets: list[Any]) -> list[tuple[float, Any]]:
    """Packets with their times in seconds."""
    return [(seconds(packet.dts, packet.time_base), packet) for packet in packets]


def seconds(ticks: int, time_base: Any) -> float:
    """A time of a stream in seconds."""
    return float(ticks * time_base)

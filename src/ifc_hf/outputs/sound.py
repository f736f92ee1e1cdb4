"""The sound of a source, for its drawn video."""

from __future__ import annotations

import errno
import heapq
import logging
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from ..model.decoding import local_address, may_jump, stream_fps, video_stream
from ..model.reading import JUMP_BACK_SECONDS, Clock, one_line
from ..model.video_files import open_video
from ..model.video_inputs import is_address

logger = logging.getLogger(__name__)

# What MP4 holds and browsers play; other sound is encoded anew.
COPIED_SOUND = ("aac", "mp3", "opus", "flac")
SOUND_RATE = 48_000  # of sound that is encoded anew, in samples per second
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT)

Timed = Iterator[tuple[float, Any]]  # packets, each with the time in seconds at which it is due


def add_sound(silent: Path, source: str, output: Path, start: float, end: float) -> bool:
    """Writes a video with the first sound track of another one.

    Args:
        silent: The video.
        source: File or address of the sound.
        output: The result, MP4.
        start: Where the sound begins, in seconds from the first frame of the source.
        end: Where it ends.

    Returns:
        Whether the source has sound in that time; if not, nothing is written. Sound that can't be read or written is
        left out, with a warning.

    Raises:
        OSError: If the disk is full.
    """
    try:
        with (
            open_video(source if is_address(source) else Path(source)) as sounding,
            av.open(local_address(silent)) as pictures,
        ):
            if not sounding.streams.audio:
                return False
            with av.open(local_address(output), "w", format="mp4", options={"movflags": "faststart"}) as mp4:
                sound = SoundTrack(sounding, source, start, end)
                # Players expect sound and picture of one time close together.
                for _, packet in heapq.merge(copied(pictures, mp4), sound.packets(mp4), key=lambda timed: timed[0]):
                    mp4.mux(packet)
    except Exception as error:  # PyAV's classes share no ancestor, and no sound is worth the drawn video
        output.unlink(missing_ok=True)
        if getattr(error, "errno", None) in DISK_ERRORS:
            raise
        logger.warning("%s: its sound is left out, for it can't be read (%s)", source, one_line(error))
        return False
    return True


def copied(pictures: Any, mp4: Any) -> Timed:
    """The packets of a drawn video as they are."""
    stream = pictures.streams.video[0]
    target = mp4.add_stream_from_template(stream)

    def packets() -> Timed:
        for packet in pictures.demux(stream):
            if packet.dts is not None:  # the empty one at the end
                packet.stream = target
                yield float(packet.dts * stream.time_base), packet

    return packets()


class SoundTrack:
    """The first sound track of a video, between two times of its pictures.

    The times of a joined stream begin again with every part. Sound and pictures of a part are shifted alike, so that
    they stay together.

    Args:
        container: The video.
        name: What messages call it.
        start: In seconds from the first frame.
        end: Likewise.
    """

    def __init__(self, container: Any, name: str, start: float, end: float) -> None:
        self.container, self.start, self.end = container, start, end
        self.video, self.sound = video_stream(container, name), container.streams.audio[0]
        if self.sound.codec_context is None:
            raise ValueError("its codec is unknown to the installed FFmpeg")
        self.first_picture = float((self.video.start_time or 0) * (self.video.time_base or 0))

    def packets(self, mp4: Any) -> Timed:
        """Packets for a stream that is added to an MP4, with times in seconds from the start."""
        if self.sound.codec_context.name in COPIED_SOUND:
            return self.copied(mp4.add_stream_from_template(self.sound))
        return self.encoded(mp4.add_stream("aac", rate=SOUND_RATE, layout="stereo"))

    def copied(self, target: Any) -> Timed:
        """The sound as it is."""
        last_dts: int | None = None
        for time, packet in self.timed():
            if time >= self.end:
                return
            dts = round((time - self.start) / packet.time_base)
            # The sound of a joined part may begin before that of the part before has ended.
            if (time >= self.start or self.start == 0) and (last_dts is None or dts > last_dts):
                delay = None if packet.pts is None else packet.pts - packet.dts
                packet.dts = last_dts = dts
                packet.pts = None if delay is None else packet.dts + delay
                packet.stream = target
                yield time - self.start, packet

    def encoded(self, target: Any) -> Timed:
        """The sound encoded anew as AAC; what can't be decoded is left out."""
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SOUND_RATE)
        position: int | None = None  # of the next sample
        for time, packet in self.timed():
            if time >= self.end:
                break
            if time < self.start:
                continue
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            due_position = round((time - self.start) * SOUND_RATE)
            if (
                position is None or due_position > position + SOUND_RATE * JUMP_BACK_SECONDS
            ):  # at first, or after a gap
                position = due_position
            for resampled in (piece for frame in frames for piece in resampler.resample(frame)):
                resampled.pts, resampled.time_base = position, Fraction(1, SOUND_RATE)
                position += resampled.samples
                yield from due(target.encode(resampled))
        yield from due(target.encode(None))

    def timed(self) -> Timed:
        """The packets of the sound, each with its time in seconds from the first picture."""
        pictures = Clock(1 / float(stream_fps(self.video)), may_jump(self.container))
        part, last = 0, None  # of the sound
        waiting: deque[tuple[int, float, Any]] = deque()  # packets of a part whose pictures haven't begun yet
        for packet in self.container.demux(self.video, self.sound):
            if packet.dts is None:  # the empty one at the end
                continue
            time = float(packet.dts * packet.time_base)
            if packet.stream is self.video:
                pictures.shown_at(time, float((packet.duration or 0) * packet.time_base))
            else:
                if last is not None and not last - JUMP_BACK_SECONDS <= time <= last + pictures.jump_ahead:
                    part += 1
                last = time
                waiting.append((part, time, packet))
            while waiting and waiting[0][0] < len(pictures.shifts):
                part_of_packet, time, sounding = waiting.popleft()
                yield time + pictures.shifts[part_of_packet] - self.first_picture, sounding
        for _, time, sounding in waiting:
            yield time + pictures.shifts[-1] - self.first_picture, sounding


def due(packets: list[Any]) -> Timed:
    """Encoded packets with their times in seconds."""
    return ((float(packet.dts * packet.time_base), packet) for packet in packets)

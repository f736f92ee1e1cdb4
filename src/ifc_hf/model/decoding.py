"""From an opened container to its frames: every packet is tried, and what can't be decoded is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .last_packets import LastPackets
from .reading import DEFAULT_FPS, Frame, Report, VideoError, VideoInfo, one_line

try:  # this file is copied to the Hub, where only torch and Transformers can be taken for granted
    import av
    from av.container.input import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
except ImportError:
    av = None  # type: ignore[assignment]  # a module's name stands for None only here

MAX_READ_ERRORS = 20  # in a row, after which a container counts as ended
TS_DISCONTINUITIES = 0x0200  # FFmpeg's flag AVFMT_TS_DISCONT
DEFAULT_STREAM_BONUS = 5_000_000  # pixels; how the `ffmpeg` command weighs a stream's default flag against its size


@dataclass(frozen=True)
class Decoded:
    """A decoded frame and the stream that it comes from.

    Attributes:
        frame: The frame as it is stored.
        container: The container.
        stream: Its stream.
        orientation: How it is brought into display position; None if it is stored as it is shown.
        is_live: Whether the stream goes on by itself.
    """

    frame: VideoFrame
    container: InputContainer
    stream: VideoStream
    orientation: Orientation | None = None
    is_live: bool = False

    @property
    def time(self) -> float | None:
        """When the stream says that it is shown, in seconds."""
        ticks = self.frame.dts if self.frame.pts is None else self.frame.pts
        if ticks is None or self.stream.time_base is None:
            return self.frame.time
        return float(ticks * self.stream.time_base)  # a frame that comes after a bad packet may know no time base

    @property
    def seconds(self) -> float:
        """How long the stream says that it is shown; 0 if it doesn't say."""
        return float(self.frame.duration * self.stream.time_base) if self.stream.time_base else 0.0

    def upright(self) -> Frame:
        """(H, W, 3) uint8 RGB, turned and mirrored as the file asks for."""
        image = self.frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        return self.orientation.apply(image) if self.orientation else image

    def info(self) -> VideoInfo:
        """What is known of the video."""
        container, stream = self.container, self.stream
        fps = stream_fps(stream)
        num_frames = None if self.is_live else stream.frames or None
        if num_frames is None and container.duration and not self.is_live:
            num_frames = max(1, round(container.duration / av.time_base * fps))
        orientation = self.orientation
        size_hw, aspect = (self.frame.height, self.frame.width), stream.sample_aspect_ratio or Fraction(1)
        if orientation and orientation.transposed:
            size_hw, aspect = size_hw[::-1], 1 / aspect
        return VideoInfo(
            fps, size_hw, num_frames,
            rotation=round(self.frame.rotation / 90) % 4 * 90,
            mirrored=bool(orientation and orientation.mirrored),
            sample_aspect_ratio=aspect,
            has_sound=bool(container.streams.audio),
            is_live=self.is_live,
        )  # fmt: skip


@dataclass(frozen=True)
class Orientation:
    """How a stored frame is brought into display position: transposed first, then flipped.

    Attributes:
        transposed: Whether rows and columns change places.
        flipped_lr: Whether left and right are swapped.
        flipped_ud: Whether top and bottom are swapped.
    """

    transposed: bool
    flipped_lr: bool
    flipped_ud: bool

    @property
    def mirrored(self) -> bool:
        """Whether it is no mere turn."""
        return self.transposed ^ self.flipped_lr ^ self.flipped_ud

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation | None:
        """The orientation of a frame; None if it is stored as it is shown. Other turns go to the nearest quarter.

        The display matrix maps stored (x, y) to (a x + c y, b x + d y).
        """
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return None
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
        transposed = abs(b) + abs(c) > abs(a) + abs(d)
        across, down = (c, b) if transposed else (a, d)
        orientation = cls(transposed, across < 0, down < 0)
        return orientation if orientation != cls(False, False, False) else None

    def apply(self, image: Frame) -> Frame:
        """The frame in display position."""
        image = image.transpose(1, 0, 2) if self.transposed else image
        return np.ascontiguousarray(image[:: -1 if self.flipped_ud else 1, :: -1 if self.flipped_lr else 1])


def local_address(path: Path) -> str:
    """What FFmpeg takes for a local file, whatever its name; it would read `a:b.mp4` as an address."""
    return f"file:{path.absolute()}"


def may_jump(container: InputContainer) -> bool:
    """Whether the container is of a kind whose times may leap ahead."""
    return bool(container.format.flags & TS_DISCONTINUITIES)


def stream_fps(stream: VideoStream) -> Fraction:
    """Frames per second on average."""
    return Fraction(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)


def video_stream(container: InputContainer, name: str) -> VideoStream:
    """The stream that the `ffmpeg` command would take: no cover picture, and the largest.

    Raises:
        VideoError: If there is none, or its codec is unknown.
    """
    pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        cover = " and a cover picture" if container.streams.video else ""
        kinds = ", ".join(kind for kind in kinds.split(", ") if kind != "video") or "nothing"
        raise VideoError(f"{name}: holds no video stream, only {kinds}{cover}")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise VideoError(f"{name}: its codec is unknown to the installed FFmpeg")
    default = av.stream.Disposition.default
    return max(
        known,
        key=lambda stream: stream.width * stream.height + DEFAULT_STREAM_BONUS * bool(stream.disposition & default),
    )


def decode(name: str, container: InputContainer, report: Report, is_live: bool = False) -> Iterator[Decoded]:
    """Decodes the video stream of a container; closes it at the end.

    Args:
        name: What messages call the video.
        container: The container.
        report: Takes the bad packets, and why the end is missing.
        is_live: Whether the stream goes on by itself.

    Raises:
        VideoError: If there is no video stream, or its codec is unknown.
    """
    with container:
        stream = video_stream(container, name)
        stream.thread_type = "AUTO"
        codec = stream.codec_context.codec.canonical_name
        if codec == "hevc":  # its decoder would hide all frames up to the next key frame; so it marks them all
            stream.codec_context.flags |= av.codec.context.Flags.output_corrupt
        report.expected = stream.frames or None
        num_packets, num_frames, num_bad_before = 0, 0, report.bad_packets
        last_packets, last_pts = LastPackets(stream), None
        rotation, orientation = None, None
        for packet in packets(container, stream, report):
            if packet.size:
                last_packets.add(packet)
                num_packets += not packet.is_discard
            try:
                frames = stream.decode(packet)
            except av.error.FFmpegError as error:
                if packet.size:  # errors at the end are met again by the last packets
                    report.note_bad(one_line(error))
                    last_packets.note_error()
                continue
            for frame in frames:
                last_pts = frame.pts
                num_frames += 1
                if frame.is_corrupt and codec != "hevc":
                    report.note_bad("the decoder marks a frame as damaged")
                if frame.rotation != rotation:  # asked first because reading the whole matrix takes long
                    rotation, orientation = frame.rotation, Orientation.of(frame)
                yield Decoded(frame, container, stream, orientation, is_live)
        for frame in last_packets.lost_frames(last_pts, report):
            num_frames += 1
            yield Decoded(frame, container, stream, Orientation.of(frame), is_live)
        if codec == "av1":  # its decoder drops some damage without an error; a packet holds exactly one shown frame
            for _ in range(num_packets - num_frames - (report.bad_packets - num_bad_before)):
                report.note_bad("the decoder gives no frame for a packet")


def packets(container: InputContainer, stream: VideoStream, report: Report) -> Iterator[Packet]:
    """The packets of a stream, and last the empty one that makes the decoder give out what it holds.

    What can't be read between two packets is skipped, as long as packets follow.
    """
    num_errors = 0
    while True:
        try:
            for packet in container.demux(stream):
                num_errors = 0
                # AVI repeats a frame by an empty packet, which a decoder would take for the end of the stream.
                if packet.size or packet.dts is None:
                    yield packet
            return
        except av.error.FFmpegError as error:
            num_errors += 1
            if not isinstance(error, av.error.InvalidDataError) or num_errors > MAX_READ_ERRORS:
                report.end_reason = one_line(error)
                break
            report.note_bad(one_line(error))
    flush = av.Packet()
    flush.stream = stream
    yield flush

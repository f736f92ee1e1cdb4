"""The last packets of a stream, kept because a decoder with several threads may lose their frames.

When such a decoder is emptied at the end of a stream, and one of the packets in its threads is damaged, PyAV drops the
frames of those behind it. They are then decoded once more in a single thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .reading import Report, one_line

try:  # this file is copied to the Hub, where only torch and Transformers can be taken for granted
    import av
except ImportError:
    av = None  # type: ignore[assignment]  # a module's name stands for None only here

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_BYTES = 2**25  # of packets that are kept; beyond it, lost frames are only counted


@dataclass
class Group:
    """A key frame's packet and those up to the next one, with the errors that the decoder raised meanwhile."""

    packets: list[Packet] = field(default_factory=list)
    num_errors: int = 0


class LastPackets:
    """The newest packets of a stream, from a key frame on, as many as its decoder may hold.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: VideoStream) -> None:
        self.stream = stream
        self.groups: list[Group] = []
        self.num_bytes = 0
        self.newest_pts: int | None = None

    def add(self, packet: Packet) -> None:
        """Keeps a packet that is given to the decoder."""
        if packet.pts is None or packet.is_discard:
            return
        if packet.is_keyframe:
            if self.newest_pts is not None and packet.pts < self.newest_pts:  # a stream joined to this one begins
                self.groups.clear()
                self.newest_pts = None
            context = self.stream.codec_context
            held = context.thread_count + context.reorder_depth
            while len(self.groups) > 1 and sum(len(group.packets) for group in self.groups[1:]) >= held:
                del self.groups[0]
            self.groups.append(Group())
            self.num_bytes = sum(kept.size for group in self.groups for kept in group.packets)
        self.newest_pts = max(packet.pts, packet.pts if self.newest_pts is None else self.newest_pts)
        if self.groups:
            self.groups[-1].packets.append(packet)
            self.num_bytes += packet.size
            if self.num_bytes > MAX_BYTES:
                self.groups.clear()

    def note_error(self) -> None:
        """Notes that the decoder raised an error, which is counted already."""
        if self.groups:
            self.groups[-1].num_errors += 1

    def lost_frames(self, last_pts: int | None, report: Report) -> Iterator[VideoFrame]:
        """The frames behind the last one that came, if there should be some.

        Args:
            last_pts: Time of the last frame in ticks of the stream, None if there was none.
            report: Takes the bad packets that were not met before.
        """
        if self.newest_pts is None or (last_pts is not None and last_pts >= self.newest_pts):
            return
        context = self.stream.codec_context
        decoder: Any = av.CodecContext.create(context.codec.name, "r")
        decoder.extradata, decoder.thread_count, decoder.flags = context.extradata, 1, context.flags
        decoder.width, decoder.height, decoder.codec_tag = context.width, context.height, context.codec_tag
        num_known = sum(group.num_errors for group in self.groups)
        for packet in [*(packet for group in self.groups for packet in group.packets), None]:
            try:
                frames = decoder.decode(packet)
            except av.error.FFmpegError as error:
                num_known -= 1
                if num_known < 0:
                    report.note_bad(one_line(error))
                continue
            yield from (frame for frame in frames if last_pts is None or (frame.pts or 0) > last_pts)

"""Results as lines: one JSON object for every frame, written as soon as the frame is finished."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ..model.tracks import FrameResult


class FrameLines:
    """Writes a line for every frame: `video`, `frame_index`, `time_seconds` from the first frame, and `objects`.

    Args:
        stream: Open for text; every line is passed on at once.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def add(self, video: str, result: FrameResult, time: float) -> None:
        """Writes the line of a frame.

        Args:
            video: The source as it was given.
            result: What is known of the frame.
            time: In seconds from the first frame.
        """
        frame = result.to_dict()
        line = {"video": video, "frame_index": frame.pop("frame_index"), "time_seconds": round(time, 6), **frame}
        self.stream.write(json.dumps(line) + "\n")
        self.stream.flush()

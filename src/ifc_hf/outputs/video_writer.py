"""Writing of browser-playable MP4."""

from __future__ import annotations

import os
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.frame import VideoFrame

from ..files import whole_file
from ..model.decoding import local_address
from ..model.reading import DEFAULT_FPS, Frame, VideoError

MAX_LOOKAHEAD_PIXELS = 2**27  # that the encoder holds to plan ahead, some 200 MB; it would hold 40 frames of any size
FAST_LOOKAHEAD = 10  # frames that the preset "superfast" looks ahead
TICKS_PER_SECOND = 90_000  # at least; times in a written video are as exact as this


class VideoWriter:
    """Writes RGB frames as H.264 (yuv420p) MP4, which every browser plays. Use it in a `with` statement.

    Frames come at a constant rate, or at the times that are given with them.

    The file appears under its name only when it is complete; after an exception nothing is left. Odd sizes lose no
    pixel: the last row or column is repeated, since yuv420p needs even sizes.

    Example:
        ```python
        with VideoWriter("out.mp4", fps=25) as writer:
            for frame in frames:
                writer.write(frame)
        ```
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float | Fraction = DEFAULT_FPS,
        crf: int = 20,
        sample_aspect_ratio: Fraction = Fraction(1),
        preset: str = "medium",
    ) -> None:
        """Prepares a file.

        Args:
            path: Where the video goes; its folder must exist.
            fps: Frames per second.
            crf: H.264 quality, 0 (lossless) to 51; a step of 6 halves or doubles the size.
            sample_aspect_ratio: Width of a pixel over its height, by which players stretch the picture.
            preset: How much time x264 takes to make the file small, "ultrafast" to "veryslow".

        Raises:
            ValueError: If fps or the ratio is not positive.
            VideoError: If the folder does not exist.
        """
        if not fps > 0:
            raise ValueError(f"fps must be positive, got {fps}")
        if not sample_aspect_ratio > 0:
            raise ValueError(f"sample_aspect_ratio must be positive, got {sample_aspect_ratio}")
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise VideoError(f"{self.path}: the folder {self.path.parent} does not exist")
        self.fps = Fraction(fps).limit_denominator(60_000)
        self.crf, self.sample_aspect_ratio, self.preset = crf, sample_aspect_ratio, preset
        self.num_frames = 0
        # A whole number of ticks for a frame of constant rate, and enough of them for any other.
        ticks_per_numerator = -(-TICKS_PER_SECOND // self.fps.numerator)
        self.time_base = Fraction(1, self.fps.numerator * ticks_per_numerator)
        self.last_tick = -1
        self.size_hw: tuple[int, ...] = ()
        self.container: av.container.OutputContainer | None = None
        self.stack = ExitStack()  # holds the unfinished file

    def write(self, frame: Frame, time: float | None = None) -> None:
        """Adds a frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            time: When it is shown, in seconds from the start; default: 1/fps after the frame before.

        Raises:
            VideoError: If it is no such array, or its size differs from the first frame's.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise VideoError(
                f"{self.path}: frame {self.num_frames}: expected a (H, W, 3) uint8 array, "
                f"got {frame.shape} {frame.dtype}"
            )
        container = self.container or self.open(frame)
        if frame.shape[:2] != self.size_hw:
            raise VideoError(
                f"{self.path}: frame {self.num_frames} has size {frame.shape[:2]}, the first one had {self.size_hw}"
            )
        padding = ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0))
        even = np.pad(frame, padding, mode="edge") if any(map(any, padding)) else frame
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        seconds = self.num_frames / self.fps if time is None else time
        self.last_tick = max(self.last_tick + 1, round(seconds / self.time_base))  # players refuse equal times
        picture.pts = self.last_tick
        picture.time_base = self.time_base
        container.mux(self.stream.encode(picture))
        self.num_frames += 1

    def open(self, frame: Frame) -> av.container.OutputContainer:
        """Opens the unfinished file for frames like this one."""
        self.size_hw = frame.shape[:2]
        temporary = self.stack.enter_context(whole_file(self.path))
        # The index goes to the front, so that a browser can start before it has everything.
        self.container = av.open(local_address(temporary), "w", format="mp4", options={"movflags": "faststart"})
        lookahead = min(40, max(4, MAX_LOOKAHEAD_PIXELS // (frame.shape[0] * frame.shape[1])))
        options = {"crf": str(self.crf), "preset": self.preset, "rc-lookahead": str(lookahead)}
        if self.preset == "superfast":  # its own choice, to look at no later frames, makes files a sixth larger
            options |= {"rc-lookahead": str(min(lookahead, FAST_LOOKAHEAD)), "x264-params": "mbtree=1"}
        self.stream = self.container.add_stream("libx264", rate=self.fps, options=options)
        self.stream.height, self.stream.width = (size + size % 2 for size in self.size_hw)
        self.stream.pix_fmt = "yuv420p"
        self.stream.codec_context.sample_aspect_ratio = self.sample_aspect_ratio
        self.stream.time_base = self.stream.codec_context.time_base = self.time_base
        return self.container

    def __enter__(self) -> VideoWriter:
        """Starts writing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finishes the file, or removes what there is after an error.

        Raises:
            VideoError: If no frame was written.
        """
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()

    def close(self) -> None:
        """Finishes the file and gives it its name.

        Raises:
            VideoError: If no frame was written.
        """
        if self.container is None:
            raise VideoError(f"{self.path}: no frame was written")
        self.container.mux(self.stream.encode())
        self.container.close()
        self.container = None
        self.stack.close()

    def discard(self) -> None:
        """Removes what was written of an unfinished file."""
        container, self.container = self.container, None
        try:
            if container is not None:
                container.close()
        finally:
            unfinished = InterruptedError("the file is not finished")
            self.stack.__exit__(InterruptedError, unfinished, None)

"""Videos from and to disk: lazy reading of files and folders of frames, and writing of browser-playable MP4.

`read_frames` is the entry; nothing here holds more than one frame. All but pictures needs PyAV (`av`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

try:  # this file is copied to the Hub, where only torch and Transformers can be taken for granted
    import av
    from av.video.frame import VideoFrame
except ImportError:
    av = None  # type: ignore[assignment]  # a module's name stands for None only here

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
DEFAULT_FPS = Fraction(25)  # of folders of frames, which know no time
MAX_LOOKAHEAD_PIXELS = 2**27  # that the encoder holds to plan ahead, some 200 MB; it would hold 40 frames of any size
TICKS_PER_SECOND = 90_000  # at least; times in a written video are as exact as this

Frame = NDArray[np.uint8]  # (H, W, 3) RGB


class VideoError(ValueError):
    """A video that can't be read or written; the message names the file."""


class TruncatedVideoError(VideoError):
    """A video that breaks off. `frames_read` frames came before."""

    def __init__(self, message: str, frames_read: int) -> None:
        """Keep the message and the number of frames that could be read."""
        super().__init__(message)
        self.frames_read = frames_read


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is decoded.

    Attributes:
        fps: Frames per second (average of a video of variable frame rate).
        size_hw: Height and width in pixels as shown, that is: rotated by the file's rotation.
        num_frames: Frames; of a file an estimate from its header, None if the header says nothing.
        rotation: Degrees counter-clockwise by which stored frames are turned for display: 0, 90, 180 or 270.
    """

    fps: Fraction
    size_hw: tuple[int, int]
    num_frames: int | None
    rotation: int = 0


def read_frames(path: str | os.PathLike[str]) -> Iterator[Frame]:
    """Frames of a video file or of a folder of pictures (in the order of their names), one at a time.

    The path is checked at the call, frames are decoded as they are asked for.

    Args:
        path: A video file, or a folder of pictures of one size.

    Returns:
        Iterator over (H, W, 3) uint8 RGB, turned upright.

    Raises:
        FileNotFoundError: If nothing is there.
        VideoError: If it is not a video, holds no video stream or no frame, a picture is unreadable, or pictures
            differ in size; while iterating, too.
        TruncatedVideoError: While iterating: if the file breaks off. Says how many frames were readable.
    """
    return (frame for _, frame in read_timed_frames(path))


def read_timed_frames(path: str | os.PathLike[str]) -> Iterator[tuple[float, Frame]]:
    """Like `read_frames`, with the time in seconds from the start of the video at which a frame is shown.

    Times of a folder count at 25 frames per second.
    """
    path = existing(path)
    if path.is_dir():
        return timed_pictures(list_pictures(path))
    return timed_decoded(path, open_video(path))


def video_info(path: str | os.PathLike[str]) -> VideoInfo:
    """Frame rate, size and length of a video file or folder of pictures; decodes one frame.

    Args:
        path: As for `read_frames`.

    Returns:
        The facts.

    Raises:
        FileNotFoundError: If nothing is there.
        VideoError: As for `read_frames`.
    """
    path = existing(path)
    height, width = next(read_frames(path)).shape[:2]
    if path.is_dir():
        return VideoInfo(DEFAULT_FPS, (height, width), len(list_pictures(path)))
    with open_video(path) as container:
        stream = container.streams.video[0]
        fps = stream.average_rate or stream.guessed_rate or DEFAULT_FPS
        num_frames = stream.frames or None
        if num_frames is None and container.duration:
            num_frames = max(1, round(container.duration / av.time_base * fps))
        rotation = next(container.decode(stream)).rotation % 360
    return VideoInfo(Fraction(fps), (height, width), num_frames, rotation)


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, if there is something."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    return path


def open_video(source: Path | str | BinaryIO) -> av.container.InputContainer:
    """Open a file, an address or a file object and check that it holds a video stream."""
    if av is None:
        raise ImportError(f"{source}: reading videos needs PyAV: pip install av")
    try:
        container = av.open(str(source) if isinstance(source, Path) else source, "r")
    except (av.error.FFmpegError, OSError) as error:
        is_empty = isinstance(source, Path) and source.stat().st_size == 0
        reason = "the file is empty" if is_empty else str(error.strerror or error)
        raise VideoError(f"{source}: not a readable video ({reason})") from error
    if not container.streams.video:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        container.close()
        raise VideoError(f"{source}: holds no video stream, only {kinds}")
    container.streams.video[0].thread_type = "AUTO"
    return container


def open_camera(index: int) -> av.container.InputContainer:
    """Open a camera by its number, through the platform's capture device.

    Raises:
        VideoError: If there is no such camera, or it can't be opened.
    """
    if av is None:
        raise ImportError(f"camera {index}: reading cameras needs PyAV: pip install av")
    options: dict[str, str] = {}
    try:
        if sys.platform == "darwin":
            device_format, name = "avfoundation", str(index)
            options = {"framerate": "30"}  # its own default is a rate that few cameras offer
        elif sys.platform == "win32":
            device_format = "dshow"  # knows cameras by name only
            name = f"video={av.device.enumerate_input_devices(device_format)[index].name}"
        else:
            device_format, name = "v4l2", f"/dev/video{index}"
        return av.open(name, mode="r", format=device_format, options=options)
    except (av.error.FFmpegError, OSError, IndexError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
        raise VideoError(f"camera {index}: can't be opened ({reason})") from error


def timed_decoded(
    path: Path | str | BinaryIO, container: av.container.InputContainer
) -> Iterator[tuple[float, Frame]]:
    """Decode an opened file; closes it at the end."""
    with container:
        stream = container.streams.video[0]
        expected = stream.frames
        fps = float(stream.average_rate or DEFAULT_FPS)
        count, start = 0, 0.0
        try:
            for frame in container.decode(stream):
                time = count / fps if frame.time is None else float(frame.time)
                start = time if count == 0 else start
                yield time - start, upright(frame)
                count += 1
        except av.error.FFmpegError as error:
            if count == 0:
                raise VideoError(f"{path}: no frame can be decoded ({error.strerror})") from error
            raise truncated(path, count, expected, str(error.strerror)) from error
        if count == 0:
            raise VideoError(f"{path}: the video has 0 frames")
        if has_missing_packets(container, expected, count):
            raise truncated(path, count, expected, "the file ends early")


def has_missing_packets(container: av.container.InputContainer, expected: int, count: int) -> bool:
    """Whether the header promised clearly more frames than came, in a file that is shorter than its own last frame.

    Counts alone prove nothing: an edit list may hide frames of an intact file. Hence the look at the file's index.
    """
    stream = container.streams.video[0]
    if not expected or count >= expected or container.size <= 0:
        return False
    entries = stream.index_entries
    return len(entries) > 0 and any(entry.pos + entry.size > container.size for entry in entries)


def truncated(path: Path | str | BinaryIO, count: int, expected: int, reason: str) -> TruncatedVideoError:
    """The error for a video that breaks off after `count` frames."""
    of_expected = f" of {expected}" if expected else ""
    return TruncatedVideoError(f"{path}: truncated, {count}{of_expected} frames were readable ({reason})", count)


def upright(frame: VideoFrame) -> Frame:
    """RGB array of a decoded frame, turned by the rotation that the file asks for."""
    image = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image


def list_pictures(folder: Path) -> list[Path]:
    """Picture files of a folder, sorted by name.

    Raises:
        VideoError: If there is none.
    """
    pictures = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not pictures:
        raise VideoError(f"{folder}: the folder holds 0 pictures ({', '.join(IMAGE_SUFFIXES)})")
    return pictures


def timed_pictures(pictures: list[Path]) -> Iterator[tuple[float, Frame]]:
    """Read pictures one by one and check that their sizes agree."""
    first_size_hw: tuple[int, ...] = ()
    for index, file in enumerate(pictures):
        try:
            with Image.open(file) as image:
                frame = np.array(ImageOps.exif_transpose(image).convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise VideoError(f"{file}: frame {index} is not a readable picture ({error})") from error
        first_size_hw = first_size_hw or frame.shape[:2]
        if frame.shape[:2] != first_size_hw:
            raise VideoError(
                f"{file}: frame {index} is {frame.shape[0]}x{frame.shape[1]} pixels (height x width), but the frames "
                f"before are {first_size_hw[0]}x{first_size_hw[1]}; a video needs frames of one size"
            )
        yield float(index / DEFAULT_FPS), frame


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

    def __init__(self, path: str | os.PathLike[str], fps: float | Fraction = DEFAULT_FPS, crf: int = 20) -> None:
        """Prepare a file.

        Args:
            path: Where the video goes; its folder must exist.
            fps: Frames per second.
            crf: H.264 quality, 0 (lossless) to 51; a step of 6 halves or doubles the size.

        Raises:
            ValueError: If fps is not positive.
            VideoError: If the folder does not exist.
        """
        if not fps > 0:
            raise ValueError(f"fps must be positive, got {fps}")
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise VideoError(f"{self.path}: the folder {self.path.parent} does not exist")
        self.fps = Fraction(fps).limit_denominator(60_000)
        self.crf = crf
        self.num_frames = 0
        # A whole number of ticks for a frame of constant rate, and enough of them for any other.
        ticks_per_numerator = -(-TICKS_PER_SECOND // self.fps.numerator)
        self.time_base = Fraction(1, self.fps.numerator * ticks_per_numerator)
        self.last_tick = -1
        self.temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self.size_hw: tuple[int, ...] = ()
        self.container: av.container.OutputContainer | None = None

    def write(self, frame: Frame, time: float | None = None) -> None:
        """Add a frame.

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
        if self.container is None:
            self.open(frame)
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
        assert self.container is not None
        self.container.mux(self.stream.encode(picture))
        self.num_frames += 1

    def open(self, frame: Frame) -> None:
        """Open the temporary file for frames like this one."""
        self.size_hw = frame.shape[:2]
        # The index goes to the front, so that a browser can start before it has everything.
        self.container = av.open(str(self.temporary), "w", format="mp4", options={"movflags": "faststart"})
        lookahead = min(40, max(4, MAX_LOOKAHEAD_PIXELS // (frame.shape[0] * frame.shape[1])))
        options = {"crf": str(self.crf), "rc-lookahead": str(lookahead)}
        self.stream = self.container.add_stream("libx264", rate=self.fps, options=options)
        self.stream.height, self.stream.width = (size + size % 2 for size in self.size_hw)
        self.stream.pix_fmt = "yuv420p"
        self.stream.time_base = self.stream.codec_context.time_base = self.time_base

    def __enter__(self) -> VideoWriter:
        """Start writing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the file, or remove what there is after an error.

        Raises:
            VideoError: If no frame was written.
        """
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            VideoError: If no frame was written.
        """
        if self.container is None:
            raise VideoError(f"{self.path}: no frame was written")
        self.container.mux(self.stream.encode())
        self.container.close()
        self.container = None
        os.replace(self.temporary, self.path)

    def discard(self) -> None:
        """Remove what was written of an unfinished file."""
        container, self.container = self.container, None
        try:
            if container is not None:
                container.close()
        finally:
            self.temporary.unlink(missing_ok=True)

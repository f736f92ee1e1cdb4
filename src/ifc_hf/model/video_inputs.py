"""What the pipeline takes for a video: sorting inputs into videos, and a video of any kind into frames.

Letters: L frames of a video, (H, W) their size in pixels.
"""

import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import numpy as np
import torch
from PIL import Image

from .live_video import LIVE_SCHEMES, read_address, read_camera
from .picture_files import is_picture, natural_order, read_pictures
from .reading import Frame, Reading
from .video_files import frames_of, open_video, read_container, read_timed_frames

STANDARD_INPUT = "-"
ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")  # everything else is a local path


def split_videos(inputs: Any) -> Any:
    """Tells one video from several: the base class takes lists, generators and data sets for several inputs.

    Returns:
        A list of videos; or one video, a list of frames as a tuple; or, as it is, what the base class iterates over.

    Raises:
        ValueError: If a list is empty.
        FileNotFoundError: If a pattern matches nothing.
    """
    if isinstance(inputs, str) and is_pattern(inputs):
        files = matching_files(inputs)
        return inputs if all(is_picture(file) for file in files) else files
    if isinstance(inputs, np.ndarray | torch.Tensor) and inputs.ndim == 5:
        return list(inputs)
    if not isinstance(inputs, list | tuple):
        return inputs
    if not inputs:
        raise ValueError("expected a video or a list of videos, got an empty list")
    if all(is_frame(item) for item in inputs):
        return tuple(inputs)
    return [tuple(item) if isinstance(item, list) else item for item in inputs]


def open_frames(source: Any, frame_range: tuple[int, int | None] | None, fps: float | None) -> Iterator[Any]:
    """The frames of one video of any kind; what is read from a file or address is checked at the call.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If it is no video.
    """
    if isinstance(source, str | os.PathLike | int) or hasattr(source, "read"):
        return frames_of(open_reading(source, frame_range, fps))
    if fps is not None:
        raise ValueError(f"fps: only of a file it is known when frames are shown, got {type(source).__name__}")
    first, end = frame_range or (0, None)
    if is_frame(source):
        return islice(iter([source]), first, end)
    if isinstance(source, np.ndarray | torch.Tensor) and source.ndim != 4:
        raise ValueError(f"expected a video of shape (L, H, W, 3) or (L, 3, H, W), got shape {tuple(source.shape)}")
    if isinstance(source, bytes | dict | set):
        raise ValueError(f"expected a video (a path, frames or an array), got {type(source).__name__}")
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):  # a list, or a reader as decord's
        return (source[index] for index in range(len(source))[first:end])
    if not isinstance(source, Iterable):
        raise ValueError(f"expected a video (a path, frames or an array), got {type(source).__name__}")
    return islice(iter(source), first, end)


def open_reading(
    source: Any,
    frame_range: tuple[int, int | None] | None = None,
    fps: float | None = None,
    is_live: bool = False,
) -> Reading:
    """Opens a file, a folder, an address, a pattern of pictures or a camera, and decodes the first frame.

    Args:
        source: A path or address, `-` for the standard input, a binary file object, or the number of a camera.
        frame_range: `(first, end)`, the frames to look at; `end` is not included and may be None.
        fps: Frames per second to look at; default: all.
        is_live: Whether an address has no end even if its kind doesn't tell, so that it is opened again.

    Returns:
        Iterator over the time in seconds from the start of the video and the frame (H, W, 3) uint8 RGB; it also tells
        `info`, `bad_packets` and `problem`.

    Raises:
        FileNotFoundError: If nothing is there.
        VideoError: If it is no video, or no frame can be decoded.
    """
    reading = open_whole(source, is_live)
    if frame_range is not None:
        reading.timed = part(reading.timed, *frame_range)
    if fps is not None:
        reading.timed = thin_out(reading.timed, fps)
    return reading


def open_whole(source: Any, is_live: bool) -> Reading:
    """Opens a source of any kind, for all its frames."""
    if isinstance(source, int):
        return read_camera(source)
    if hasattr(source, "read"):
        name = str(getattr(source, "name", source))
        return read_container(name, open_video(source), source)
    text = local_path(os.fspath(source))
    if is_address(text):
        return read_address(text, is_live)
    if text == STANDARD_INPUT:
        return read_container("standard input", open_video(sys.stdin.buffer))
    if isinstance(source, str) and is_pattern(text):
        return read_pictures(text, [Path(file) for file in matching_files(text)])
    return read_timed_frames(text)


def part(timed: Iterator[tuple[float, Frame]], first: int, end: int | None) -> Iterator[tuple[float, Frame]]:
    """The frames of a range; closes the source behind it."""
    yield from islice(timed, first, end)
    if close := getattr(timed, "close", None):
        close()


def thin_out(timed: Iterator[tuple[float, Frame]], fps: float) -> Iterator[tuple[float, Frame]]:
    """The first frame of every 1/fps seconds, counted from the first frame."""
    start, last_interval = None, -1
    for time, frame in timed:
        start = time if start is None else start
        # Times are rounded in the file: a frame may come a hair too early.
        interval = int((time - start) * fps + 1e-3)
        if interval > last_interval:
            last_interval = interval
            yield time, frame


def is_frame(item: Any) -> bool:
    """Whether this is one picture, not a video."""
    return isinstance(item, Image.Image) or (isinstance(item, np.ndarray | torch.Tensor) and item.ndim == 3)


def is_live(source: Any) -> bool:
    """Whether a source surely goes on by itself: a camera, or an address of a kind that has no end."""
    return isinstance(source, int) or (is_address(source) and source.partition("://")[0].lower() in LIVE_SCHEMES)


def is_address(source: Any) -> bool:
    """Whether this is an address, `scheme://...`; all other texts are local paths."""
    return isinstance(source, str) and ADDRESS.match(source) is not None and not source.startswith("file://")


def local_path(text: str) -> str:
    """A text as it is, or the path that it gives as file:// address."""
    return url2pathname(text[7:].removeprefix("localhost")) if text.startswith("file://") else text


def is_pattern(path: str) -> bool:
    """Whether a text is a pattern; a path may hold brackets, and an address a question mark."""
    return glob.has_magic(path) and not os.path.exists(path) and not is_address(path)


def matching_files(pattern: str) -> list[str]:
    """Paths that match, in natural order. Brackets in the names of existing folders are no pattern.

    Raises:
        FileNotFoundError: If there is none.
    """
    folder, rest = Path(), Path(pattern).parts
    while len(rest) > 1 and (folder / rest[0]).is_dir():
        folder, rest = folder / rest[0], rest[1:]
    files = [folder / match for match in glob.glob(os.path.join(*rest), root_dir=folder)]
    if not files:
        raise FileNotFoundError(f"{pattern}: no file matches")
    return [str(file) for file in sorted(files, key=natural_order)]

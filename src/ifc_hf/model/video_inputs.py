"""What the pipeline takes for a video: sorting inputs into videos, and a video of any kind into frames.

Letters: L frames of a video, (H, W) their size in pixels.
"""

import glob
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.utils import logging

from .video_files import (
    IMAGE_SUFFIXES,
    TruncatedVideoError,
    open_camera,
    open_video,
    read_timed_frames,
    timed_decoded,
    timed_pictures,
)

logger = logging.get_logger(__name__)

LIVE_BEGINNINGS = ("rtsp://", "rtmp://")  # of addresses that can't be read a second time
ADDRESS_BEGINNINGS = ("http://", "https://", *LIVE_BEGINNINGS)

Timed = Iterator[tuple[float, Any]]  # frames, each with the time in seconds at which it is shown


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
    """The frames of one video of any kind; a path is checked at the call.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If it is no video.
    """
    if isinstance(source, str | os.PathLike | int) or hasattr(source, "read"):
        return (frame for _, frame in until_truncated(open_timed_frames(source, frame_range, fps)))
    if fps is not None:
        raise ValueError(f"fps: only of a file it is known when frames are shown, got {type(source).__name__}")
    first, end = frame_range or (0, None)
    if is_frame(source):
        return islice(iter([source]), first, end)
    if isinstance(source, np.ndarray | torch.Tensor) and source.ndim != 4:
        raise ValueError(f"expected a video of shape (L, H, W, 3) or (L, 3, H, W), got shape {tuple(source.shape)}")
    if not isinstance(source, Iterable) or isinstance(source, bytes | dict):
        raise ValueError(f"expected a video (a path, frames or an array), got {type(source).__name__}")
    return islice(iter(source), first, end)


def open_timed_frames(
    source: Any, frame_range: tuple[int, int | None] | None = None, fps: float | None = None
) -> Timed:
    """The frames of a file, a folder, an address, a pattern of pictures or a camera, each with its time.

    Args:
        source: A path or address, a binary file object, or the number of a camera.
        frame_range: `(first, end)`, the frames to look at; `end` is not included and may be None.
        fps: Frames per second to look at; default: all.

    Returns:
        Iterator over the time in seconds from the start of the video, and the frame (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If it is no video; while iterating, too.
        TruncatedVideoError: While iterating: if the video breaks off.
    """
    timed = islice(read_file(source), *(frame_range or (0, None)))
    return timed if fps is None else thin_out(timed, fps)


def read_file(source: Any) -> Timed:
    """Timed frames of a video file or its address, a picture, a folder or pattern of pictures, or a camera."""
    if isinstance(source, int):
        return timed_decoded(f"camera {source}", open_camera(source))
    if hasattr(source, "read") or str(source).startswith(ADDRESS_BEGINNINGS):
        return timed_decoded(source, open_video(source))
    if isinstance(source, str) and is_pattern(source):
        return timed_pictures([Path(file) for file in matching_files(source)])
    if is_picture(source) and Path(source).is_file():
        return timed_pictures([Path(source)])
    return read_timed_frames(source)


def until_truncated(timed: Timed) -> Timed:
    """What can be read of a video; warns if it breaks off."""
    try:
        yield from timed
    except TruncatedVideoError as error:
        logger.warning(str(error))


def thin_out(timed: Timed, fps: float) -> Timed:
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
    """Whether a source goes on by itself, so that it can't be read twice: a camera or its address."""
    return isinstance(source, int) or (isinstance(source, str) and source.startswith(LIVE_BEGINNINGS))


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a path has the name of a picture file."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def is_pattern(path: str) -> bool:
    """Whether a text is a pattern; a path may hold brackets, and an address a question mark."""
    return glob.has_magic(path) and not os.path.exists(path) and not path.startswith(ADDRESS_BEGINNINGS)


def matching_files(pattern: str) -> list[str]:
    """Sorted paths that match.

    Raises:
        FileNotFoundError: If there is none.
    """
    files = sorted(glob.glob(pattern))
    if not files:
        raise FileNotFoundError(f"{pattern}: no file matches")
    return files

"""Reading of video files, lazily: `read_frames` is the entry; nothing here holds more than one frame.

All but pictures needs PyAV (`av`).
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any

from .decoding import Decoded, decode, local_address, may_jump, stream_fps
from .file_ends import ends_early
from .picture_files import is_animated, is_picture, list_pictures, read_animation, read_pictures
from .reading import Clock, Frame, Reading, Report, VideoError, VideoInfo, begun, one_line

try:  # this file is copied to the Hub, where only torch and Transformers can be taken for granted
    import av
except ImportError:
    av = None  # type: ignore[assignment]  # a module's name stands for None only here

logger = logging.getLogger(__name__)

# Lists of other files or addresses: opening one would open what its author chose.
PLAYLISTS = ("concat", "hls", "dash", "imf", "sdp", "rtp", "rtsp", "sap", "image2", "webm_dash_manifest", "vobsub")
TEXTS = ("tty", "bin", "xbin", "adf", "idf")  # that FFmpeg would draw


def read_frames(path: str | os.PathLike[str]) -> Iterator[Frame]:
    """Frames of a video file or of a folder of pictures (in natural order of their names), one at a time.

    The path is checked and the first frame decoded at the call, the others as they are asked for. What is damaged is
    left out; at the end a warning says what was missing. `read_timed_frames` knows it as attributes.

    Args:
        path: A video file, a picture, an animated picture, or a folder of pictures.

    Returns:
        Iterator over (H, W, 3) uint8 RGB, turned upright, in the size of the first frame.

    Raises:
        FileNotFoundError: If nothing is there.
        VideoError: If it is not a video, holds no video stream, or no frame can be decoded.
    """
    return frames_of(read_timed_frames(path))


def frames_of(reading: Reading) -> Iterator[Frame]:
    """The frames of a reading without their times; warns at the end if something was missing."""
    for _, frame in reading:
        yield frame
    if reading.problem:
        logger.warning(reading.problem)


def read_timed_frames(path: str | os.PathLike[str]) -> Reading:
    """Like `read_frames`, with the time in seconds from the start of the video at which a frame is shown.

    Times of a folder count at 25 frames per second.

    Returns:
        Iterator over `(time, frame)` that also tells `info`, `bad_packets` and `problem`.
    """
    path = regular(Path(path))
    if path.is_dir():
        return read_pictures(str(path), list_pictures(path))
    if is_picture(path):
        return read_animation(path) if is_animated(path) else read_pictures(str(path), [path])
    return read_container(str(path), open_video(path), path)


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
    reading = read_timed_frames(path)
    reading.close()
    return reading.info


def regular(path: Path) -> Path:
    """The path, if a regular file or a folder is there.

    Raises:
        FileNotFoundError: If nothing is there.
        VideoError: If it is a pipe or a device: reading one could wait forever.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{path}: no such file or folder") from error
    except (OSError, ValueError) as error:  # a link to itself, no permission, a zero byte in the name
        raise VideoError(f"{path}: can't be opened ({one_line(error)})") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise VideoError(f"{path}: a pipe or a device, no regular file; give - to read the standard input")
    return path


def open_video(source: Path | str | IO[bytes], **options: Any) -> av.container.InputContainer:
    """Opens a file, an address or a file object.

    Args:
        source: What to open.
        **options: For `av.open`.

    Raises:
        ImportError: If PyAV is missing.
        VideoError: If it is not readable, or a playlist.
    """
    if av is None:
        raise ImportError(f"{source}: reading videos needs PyAV: pip install av")
    target = source
    if not isinstance(source, str):
        options.setdefault("container_options", {})["format_whitelist"] = formats_of_one_file()
    if isinstance(source, Path):
        target = local_address(source)
    try:
        return av.open(target, "r", **title_options(), **options)
    except av.error.ArgumentError as error:
        raise VideoError(f"{source}: not a readable video (a playlist, a text, or damaged)") from error
    except Exception as error:  # PyAV's classes share no ancestor with what a file object raises
        is_empty = isinstance(source, Path) and source.stat().st_size == 0
        reason = "the file is empty" if is_empty else one_line(error)
        raise VideoError(f"{source}: not a readable video ({reason})") from error


def title_options() -> dict[str, Any]:
    """What makes PyAV accept titles in other encodings than UTF-8, of which nothing is made; 19 does it by itself."""
    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


@cache
def formats_of_one_file() -> str:
    """The names of the containers that FFmpeg reads, without playlists and texts."""
    readable = {format_name for name in av.formats_available if (format_name := input_format(name))}
    return ",".join(sorted(readable.difference(PLAYLISTS, TEXTS)))


def input_format(name: str) -> str | None:
    """The name of a container as the demuxer gives it; None if it can only be written."""
    try:
        return str(av.format.ContainerFormat(name, "r").name)
    except ValueError:
        return None


def read_container(name: str, container: av.container.InputContainer, file: Path | IO[bytes] | None = None) -> Reading:
    """Reads an opened container, which is closed at the end.

    Args:
        name: What messages call it.
        container: The container.
        file: The file or file object that it reads, if it is one: it tells where it should end.

    Raises:
        VideoError: If it holds no video stream, or no frame can be decoded.
    """
    report = Report()
    is_cut_off = file is not None and ends_early(file)
    decoded = decode(name, container, report)
    return start_video(name, decoded, report, is_cut_off)


def start_video(name: str, decoded: Iterator[Decoded], report: Report, is_cut_off: bool = False) -> Reading:
    """Decodes the first frame, which tells what is still unknown.

    Raises:
        VideoError: If there is no frame.
    """
    first = next(decoded, None)
    if first is None:
        reason = report.bad_reason or report.end_reason or ("the file ends early" if is_cut_off else None)
        raise VideoError(f"{name}: " + (f"no frame can be decoded ({reason})" if reason else "the video has 0 frames"))
    return Reading(name, timed_frames(begun(first, decoded), report, is_cut_off), first.info(), report)


def timed_frames(decoded: Iterator[Decoded], report: Report, is_cut_off: bool) -> Iterator[tuple[float, Frame]]:
    """Upright RGB frames, each with the time since the first one."""
    clock: Clock | None = None
    start = 0.0
    for frame in decoded:
        if clock is None:
            clock = Clock(1 / float(stream_fps(frame.stream)), may_jump(frame.container))
            start = clock.shown_at(frame.time, frame.seconds)
            time = start
        else:
            time = clock.shown_at(frame.time, frame.seconds)
        report.num_frames += 1
        yield time - start, frame.upright()
    if is_cut_off and report.end_reason is None and report.num_frames < (report.expected or float("inf")):
        report.end_reason = "the file ends early"

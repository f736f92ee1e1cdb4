"""Videos that go on by themselves: cameras, and the addresses of cameras and broadcasts."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import IO
from urllib.request import urlopen

from .decoding import Decoded, decode
from .reading import Reading, Report, VideoError, one_line
from .video_files import open_video, read_container, start_video

try:  # this file is copied to the Hub, where only torch and Transformers can be taken for granted
    import av
except ImportError:
    av = None  # type: ignore[assignment]  # a module's name stands for None only here

logger = logging.getLogger(__name__)

LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp", "tcp")  # of addresses that have no end
SCHEMES = ("http", "https", "ftp", *LIVE_SCHEMES)
TIMEOUT_SECONDS = 20.0  # of silence, after which a connection counts as lost
# Before a lost source is opened again; then it is given up. A camera or router that starts anew takes minutes.
WAITS_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0, 60.0, 60.0)


def read_address(address: str, is_live: bool = False) -> Reading:
    """Reads what lies at an address; a source without end is opened again when it breaks off.

    Args:
        address: `scheme://...`
        is_live: Whether it has no end; known of some schemes, and of what tells neither length nor duration.

    Raises:
        VideoError: If nothing can be read there.
    """
    scheme = address.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise VideoError(f"{address}: unknown kind of address {scheme}://, expected one of {', '.join(SCHEMES)}")

    def connect() -> av.container.InputContainer:
        return open_video(address, timeout=(TIMEOUT_SECONDS, TIMEOUT_SECONDS))

    container = connect()
    if is_live or scheme in LIVE_SCHEMES or not (container.duration or container.size > 0):
        return read_live(address, container, connect)
    try:
        return read_container(address, container)
    except VideoError as error:
        if not scheme.startswith("http"):
            raise
        # An MP4 whose index comes last is read from its end, and the server may send files only from their beginning.
        return read_container(address, open_video(downloaded(address, error)))


def downloaded(address: str, reason: VideoError) -> IO[bytes]:
    """The content of an address in a temporary file, which vanishes when it is closed.

    Raises:
        VideoError: If it can't be read to its end.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the container holds it
    try:
        with urlopen(address, timeout=TIMEOUT_SECONDS) as response:
            shutil.copyfileobj(response, file)
    except (OSError, HTTPException) as error:
        raise reason from error
    file.seek(0)
    return file


def read_camera(index: int) -> Reading:
    """Reads a camera by its number.

    Raises:
        VideoError: If there is no such camera, or it can't be opened.
    """
    return read_live(f"camera {index}", open_camera(index), lambda: open_camera(index))


def read_live(
    name: str, container: av.container.InputContainer, connect: Callable[[], av.container.InputContainer]
) -> Reading:
    """Reads a source without end.

    Args:
        name: What messages call it.
        container: The source, opened.
        connect: Opens it again.

    Raises:
        VideoError: If no frame comes.
    """
    report = Report()
    return start_video(name, decode_live(name, container, connect, report), report)


def decode_live(
    name: str,
    container: av.container.InputContainer | None,
    connect: Callable[[], av.container.InputContainer],
    report: Report,
) -> Iterator[Decoded]:
    """Frames of a source without end; opens it again when it breaks off, and gives up after the last wait."""
    waits: Iterator[float] = iter(())  # a source that never gave a frame isn't opened again
    while True:
        try:
            for frame in decode(name, container or connect(), report, is_live=True):
                waits = iter(WAITS_SECONDS)
                yield frame
            reason = report.end_reason or "the source ended"
        except VideoError as error:
            reason = str(error).removeprefix(f"{name}: ")
        wait = next(waits, None)
        if wait is None:
            report.end_reason = reason
            return
        logger.warning("%s: %s; it is opened again in %g s", name, reason, wait)
        time.sleep(wait)
        report.end_reason = container = None


def open_camera(index: int) -> av.container.InputContainer:
    """Opens a camera by its number, through the platform's capture device.

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
        timeout = (TIMEOUT_SECONDS, TIMEOUT_SECONDS)
        return av.open(name, mode="r", format=device_format, options=options, timeout=timeout)
    except Exception as error:  # PyAV's classes share no ancestor
        raise VideoError(f"camera {index}: can't be opened ({one_line(error)})") from error

"""Videos as the command line names them: files, folders, addresses, patterns, cameras."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..model.picture_files import is_animated, is_listed, is_picture, natural_order
from ..model.reading import Frame, VideoError, VideoInfo
from ..model.video_inputs import (
    STANDARD_INPUT,
    is_address,
    is_live,
    is_pattern,
    local_path,
    matching_files,
    open_reading,
)
from .names import folder_names

logger = logging.getLogger(__name__)

# Of files that FFmpeg reads as videos; sound, pictures and subtitles have others.
VIDEO_SUFFIXES = (
    *(".264", ".265", ".266", ".302", ".3g2", ".3gp", ".3gpp", ".amv", ".apv", ".asf", ".av1", ".avc", ".avi"),
    *(".avs2", ".avs3", ".bik", ".cavs", ".cdxl", ".dav", ".dif", ".divx", ".dnxhd", ".dnxhr", ".drc", ".dv", ".evc"),
    *(".f4v", ".flm", ".flv", ".gif", ".gxf", ".h261", ".h263", ".h264", ".h265", ".h266", ".hevc", ".ifv", ".imx"),
    *(".insv", ".ism", ".ismv", ".ivf", ".ivr", ".kux", ".lrv", ".lvf", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v"),
    *(".m4v", ".mj2", ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".mod", ".moflex", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg"),
    *(".mpv", ".mts", ".mvi", ".mxf", ".mxg", ".nsv", ".nut", ".nuv", ".obu", ".ogm", ".ogv", ".ogx", ".pmp", ".qt"),
    *(".rcv", ".rm", ".rmvb", ".roq", ".ser", ".smk", ".swf", ".tod", ".trp", ".ts", ".ty", ".usm", ".v210", ".vc1"),
    *(".viv", ".vob", ".vp8", ".vp9", ".vro", ".vvc", ".webm", ".wmv", ".wtv", ".xmv", ".xvid", ".y4m", ".yop"),
)


@dataclass(frozen=True)
class VideoSource:
    """A video, and which of its frames to look at.

    Attributes:
        place: A path, an address, `-` for the standard input, a pattern of pictures, or the number of a camera.
        frame_range: First frame and the one after the last (or None), as of the whole video.
        fps: Frames per second to look at; None: all.
        endless: Whether it goes on by itself even if its kind doesn't tell; it is opened again when it breaks off.
        given_name: A name that tells it from others of its kind; empty: found from the place.
    """

    place: str | int
    frame_range: tuple[int, int | None] | None = None
    fps: float | None = None
    endless: bool = False
    given_name: str = ""

    @property
    def name(self) -> str:
        """Name of the folder for the results: one plain name, which leads nowhere else."""
        return self.given_name or folder_names([self.place])[0]

    @property
    def is_live(self) -> bool:
        """Whether it goes on by itself."""
        return self.endless or is_live(self.place)

    @property
    def is_read_once(self) -> bool:
        """Whether it can't be read a second time."""
        return self.is_live or self.place == STANDARD_INPUT

    @property
    def may_have_sound(self) -> bool:
        """Whether it is a file or an address that can be opened once more for its sound."""
        if isinstance(self.place, int) or self.is_read_once or is_pattern(self.place) or is_picture(self.place):
            return False
        return not os.path.isdir(self.place)

    def num_frames(self) -> int | None:
        """How many frames are asked for; None if that depends on the video."""
        first, end = self.frame_range or (0, None)
        return None if end is None else end - first


@dataclass
class Reading:
    """One pass over a source; iterate over it for the frames.

    Attributes:
        source: What is read.
        info: What is known of the video.
        times: When each frame that was read is shown, in seconds from the start of the video.
    """

    source: VideoSource
    times: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Opens the source and decodes its first frame, so that what can't be read is said here.

        Raises:
            FileNotFoundError: If there is nothing.
            VideoError: If it is no video, or turns out to go on by itself although the source doesn't say so: a second
                reading would not see what the first one saw.
        """
        source = self.source
        self.timed = open_reading(source.place, source.frame_range, source.fps, source.endless)
        if self.info.is_live and not source.is_live:
            self.timed.close()
            raise VideoError(f"{source.place}: tells no length, as what goes on for ever: add --live")

    def __iter__(self) -> Iterator[Frame]:
        """The frames that can be decoded."""
        for time, frame in self.timed:
            self.times.append(time)
            yield frame
        if not self.times and self.source.frame_range:
            first, end = self.source.frame_range
            raise VideoError(f"{self.source.place}: ends before frame {first}, no frame is in {first}:{end or ''}")

    @property
    def info(self) -> VideoInfo:
        """What is known of the video; of the whole, not of the frames that are looked at."""
        return self.timed.info

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the frames in pixels."""
        return self.info.size_hw

    @property
    def bad_packets(self) -> int:
        """How many packets, or pictures of a folder, could not be decoded so far."""
        return self.timed.bad_packets

    @property
    def problem(self) -> str | None:
        """What was missing so far, or None."""
        return self.timed.problem

    @property
    def expected_frames(self) -> int | None:
        """How many frames are to be expected, for a bar of progress; None if the source doesn't say."""
        first, end = self.source.frame_range or (0, None)
        if self.info.num_frames is not None:
            end = min(end or self.info.num_frames, self.info.num_frames)
        kept = 1.0 if self.source.fps is None else min(1.0, self.source.fps / float(self.info.fps))
        return None if end is None else max(1, round((end - first) * kept))


def find_sources(
    places: Sequence[str],
    frame_range: tuple[int, int | None] | None = None,
    fps: float | None = None,
    endless: bool = False,
) -> list[VideoSource]:
    """The videos that the arguments of a command stand for, each once and under a name of its own.

    Args:
        places: Paths, addresses, patterns, numbers of cameras, or `-`. A pattern of videos and a folder of videos
            stand for all of them.
        frame_range: As in `VideoSource`, for each.
        fps: Likewise.
        endless: Likewise.

    Raises:
        FileNotFoundError: If there is nothing at a path, or a pattern matches nothing.
        ValueError: If a camera would never end, and `endless` doesn't say that it may.
    """
    found: list[str | int] = []
    for place in map(local_path, places):
        if is_address(place) or place == STANDARD_INPUT:
            found.append(place)
        elif os.path.exists(place):
            found += videos_of_folder(Path(place)) or [with_pictures(place)]
        elif place.isdecimal():
            found.append(int(place))
        elif is_pattern(place):
            files = matching_files(place)
            found += [place] if all(is_picture(file) for file in files) else files
        else:
            raise FileNotFoundError(f"{place}: no such file or folder")
    once: dict[str | int, str | int] = {}
    for source in found:
        once.setdefault(identity(source), source)
    found = list(once.values())
    _, end = frame_range or (0, None)
    for source in found:
        if is_live(source) and end is None and not endless:
            raise ValueError(f"{source}: a camera has no end: say how many frames to take, as --frames :300")
    return [
        VideoSource(place, frame_range, fps, endless, name)
        for place, name in zip(found, folder_names(found), strict=True)
    ]


def identity(place: str | int) -> str | int:
    """What two spellings of one place have in common: `a.mp4` and `./a.mp4` are one video."""
    if isinstance(place, int) or is_address(place) or place == STANDARD_INPUT:
        return place
    return os.path.abspath(place)


def with_pictures(place: str) -> str:
    """A path, unless it is a folder without pictures.

    Raises:
        FileNotFoundError: If it is one; names a pattern that finds more, if a folder in it holds videos or pictures.
    """
    if not os.path.isdir(place) or any(is_picture(file) and is_listed(file) for file in Path(place).iterdir()):
        return place
    inner = [file for file in Path(place).glob("*/*") if file.suffix.lower() in VIDEO_SUFFIXES and is_listed(file)]
    hint = f"; for those of its folders: '{Path(place) / '*' / ('*' + inner[0].suffix)}'" if inner else ""
    raise FileNotFoundError(f"{place}: the folder holds neither videos nor pictures{hint}")


def videos_of_folder(folder: Path) -> list[str]:
    """Video files of a folder in natural order; none if it is a file, or rather a folder of pictures.

    Animated pictures count as videos. Of a folder with videos and pictures the greater number tells what it is.
    """
    if not folder.is_dir():
        return []
    listed = sorted(filter(is_listed, folder.iterdir()), key=natural_order)
    pictures = [file for file in listed if is_picture(file)]
    videos = [file for file in listed if file.suffix.lower() in VIDEO_SUFFIXES]
    if pictures and not videos and is_animated(pictures[0]):
        return [str(file) for file in pictures]
    if len(pictures) > len(videos):
        return []
    if pictures and videos:
        logger.warning("%s: a folder of videos; its %d pictures are left out", folder, len(pictures))
    return [str(file) for file in videos]

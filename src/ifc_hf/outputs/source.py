"""Videos as the command line names them: files, folders, addresses, patterns, cameras."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

from ..model.video_files import IMAGE_SUFFIXES, Frame, TruncatedVideoError, video_info
from ..model.video_inputs import ADDRESS_BEGINNINGS, is_live, is_pattern, is_picture, matching_files, open_timed_frames

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp")


@dataclass(frozen=True)
class VideoSource:
    """A video, and which of its frames to look at.

    Attributes:
        place: A path, an address, a pattern of pictures, or the number of a camera.
        frame_range: First frame and the one after the last (or None), as of the whole video.
        fps: Frames per second to look at; None: all.
    """

    place: str | int
    frame_range: tuple[int, int | None] | None = None
    fps: float | None = None

    @property
    def name(self) -> str:
        """Name of the folder for the results."""
        if isinstance(self.place, int):
            return f"camera{self.place}"
        if self.place.startswith(ADDRESS_BEGINNINGS):
            address = urlparse(self.place)
            return Path(address.path).stem or address.netloc.replace(":", "_")
        if is_pattern(self.place):
            return Path(self.place).resolve().parent.name
        return Path(self.place).resolve().name if Path(self.place).is_dir() else Path(self.place).stem

    @property
    def is_live(self) -> bool:
        """Whether it can be read only once."""
        return is_live(self.place)

    @property
    def may_have_sound(self) -> bool:
        """Whether it is a file or an address that can be opened for its sound."""
        if isinstance(self.place, int) or self.is_live or is_pattern(self.place) or is_picture(self.place):
            return False
        return not os.path.isdir(self.place)

    def num_frames(self) -> int | None:
        """How many frames are to be expected, for a bar of progress; None if nothing is known before reading."""
        first, end = self.frame_range or (0, None)
        kept = 1.0
        if isinstance(self.place, str) and os.path.exists(self.place) and not is_picture(self.place):
            info = video_info(self.place)
            if info.num_frames is not None:
                end = min(end or info.num_frames, info.num_frames)
            if self.fps is not None:
                kept = min(1.0, self.fps / float(info.fps))
        return None if end is None else max(1, round((end - first) * kept))


@dataclass
class Reading:
    """One pass over a source; iterate over it for the frames.

    Attributes:
        source: What is read.
        times: When each frame that was read is shown, in seconds from the start of the video.
        size_hw: Height and width of the frames in pixels.
        problem: Why the video broke off, or None.
    """

    source: VideoSource
    times: list[float] = field(default_factory=list)
    size_hw: tuple[int, int] = (0, 0)
    problem: str | None = None

    def __post_init__(self) -> None:
        """Open the source: what can't be opened is said here."""
        self.frames = open_timed_frames(self.source.place, self.source.frame_range, self.source.fps)

    def __iter__(self) -> Iterator[Frame]:
        """The frames up to where the video breaks off."""
        try:
            for time, frame in self.frames:
                self.times.append(time)
                self.size_hw = (frame.shape[0], frame.shape[1])
                yield frame
        except TruncatedVideoError as error:
            self.problem = str(error)


def find_sources(
    places: Sequence[str], frame_range: tuple[int, int | None] | None = None, fps: float | None = None
) -> list[VideoSource]:
    """The videos that the arguments of a command stand for.

    Args:
        places: Paths, addresses, patterns, or numbers of cameras. A pattern of videos and a folder of videos stand for
            all of them.
        frame_range: As in `VideoSource`, for each.
        fps: Likewise.

    Raises:
        FileNotFoundError: If there is nothing at a path, or a pattern matches nothing.
        ValueError: If a camera would never end.
    """
    found: list[str | int] = []
    for place in places:
        if place.isdecimal() and not os.path.exists(place):
            found.append(int(place))
        elif place.startswith(ADDRESS_BEGINNINGS):
            found.append(place)
        elif is_pattern(place):
            files = matching_files(place)
            found += [place] if all(is_picture(file) for file in files) else files
        elif not os.path.exists(place):
            raise FileNotFoundError(f"{place}: no such file or folder")
        else:
            found += videos_of_folder(Path(place)) or [place]
    sources = [VideoSource(place, frame_range, fps) for place in found]
    _, end = frame_range or (0, None)
    for source in sources:
        if source.is_live and end is None:
            raise ValueError(f"{source.place}: a camera has no end: say how many frames to take, as --frames :300")
    return sources


def videos_of_folder(folder: Path) -> list[str]:
    """Video files of a folder, sorted; none if it is a file, or a folder of pictures."""
    if not folder.is_dir():
        return []
    files = sorted(folder.iterdir())
    if any(file.suffix.lower() in IMAGE_SUFFIXES for file in files):
        return []
    return [str(file) for file in files if file.suffix.lower() in VIDEO_SUFFIXES]

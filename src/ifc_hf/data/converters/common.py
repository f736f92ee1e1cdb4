"""What every converter fills in: videos with their frames, and tracks that grow frame by frame."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from ...model.limits import LIMITS, brief, check_size_hw
from ...model.rle import Rle, merge_rles
from ..problems import DataSetError, Problem

LONGEST_NAME = 200  # bytes of a folder's name; file systems allow 255
FORBIDDEN = frozenset('/\\:*?"<>|')  # in names of folders, on one system or another


@dataclass
class Track:
    """One object.

    Attributes:
        category: Name of its class.
        is_crowd: Whether it stands for many objects that nobody told apart.
        masks: Mask of every frame index on which it is seen.
    """

    category: str
    is_crowd: bool
    masks: dict[int, Rle] = field(default_factory=dict)


@dataclass(frozen=True)
class VideoPictures:
    """Frames that are some pictures of a video file.

    Attributes:
        file: The video.
        indices: Ascending index in the video, counted from 0, of every frame.
    """

    file: Path
    indices: range


@dataclass
class AnnotatedVideo:
    """One video of an annotation tool.

    Attributes:
        name: Becomes its folder: see `folder_name`.
        height: H in pixels.
        width: W in pixels.
        frames: The picture of every frame, or those of a video file.
        tracks: The objects, by their identity within the video.
    """

    name: str
    height: int
    width: int
    frames: list[Path] | VideoPictures
    tracks: dict[Hashable, Track] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """L."""
        return len(self.frames.indices if isinstance(self.frames, VideoPictures) else self.frames)

    def add(
        self,
        track: Hashable,
        category: str,
        frame: int,
        rle: Rle,
        file: str,
        *,
        crowd: bool = False,
        join: bool = False,
    ) -> None:
        """Adds a mask to a track.

        Args:
            track: Identity of the object within the video.
            category: Its class.
            frame: Frame index.
            rle: The mask.
            file: For messages.
            crowd: Whether the track is a crowd.
            join: Join the mask with what the track has on that frame already, instead of refusing a second one.

        Raises:
            DataSetError: If the video has no such frame, the track another category, or a mask on that frame.
        """
        if not 0 <= frame < self.length:
            fail("bad frame", f"there is no such frame: the video has {self.length}", file, self.name, track, frame)
        known = self.tracks.setdefault(track, Track(category, crowd))
        if known.category != category:
            message = f"is {category!r} here and {known.category!r} earlier"
            fail("bad annotation", message, file, self.name, track, frame)
        if known.is_crowd != crowd:
            fail("bad annotation", "is a crowd on some frames and none on others", file, self.name, track, frame)
        if frame in known.masks and not join:
            fail("duplicate id", "the object has two masks on this frame", file, self.name, track, frame)
        known.masks[frame] = merge_rles([known.masks[frame], rle]) if frame in known.masks else rle


@dataclass
class Source:
    """All that a converter reads.

    Attributes:
        file: Where it comes from, for messages.
        categories: Class names in the tool's order; others that occur are added after them.
        videos: The videos.
        left_out: What the data set can't hold: nothing is left out without an entry here.
    """

    file: str
    categories: list[str]
    videos: list[AnnotatedVideo]
    left_out: list[Problem] = field(default_factory=list)

    def leave_out(
        self, kind: str, message: str, video: str | None = None, track: object = None, frame: int | None = None
    ) -> None:
        """Notes something that is left out."""
        self.left_out.append(_problem(kind, message, self.file, video, track, frame, fatal=False))


def fail(
    kind: str, message: str, file: str, video: str | None = None, track: object = None, frame: int | None = None
) -> NoReturn:
    """Raises a `DataSetError` with one problem."""
    raise DataSetError([_problem(kind, message, file, video, track, frame)])


def _problem(
    kind: str, message: str, file: str, video: str | None, track: object, frame: int | None, fatal: bool = True
) -> Problem:
    return Problem(kind, message, file, None if video is None else f"video {video}", track, frame, fatal)


def folder_name(text: str, file: str) -> str:
    """Name for a video's folder: a single one, whatever a file calls the video.

    Raises:
        DataSetError: If nothing is left, it is "." or "..", or too long.
    """
    name = "".join("_" if char in FORBIDDEN or ord(char) < 32 else char for char in text.strip().strip("/\\"))
    size = len(name.encode("utf-8", "replace"))
    if not name.strip(". ") or size > LONGEST_NAME:
        fail("bad video", f"expected a name of up to {LONGEST_NAME} bytes for the video, got {brief(text)}", file)
    return name


def checked_size_hw(height: int, width: int, file: str, video: str | None = None) -> tuple[int, int]:
    """Height and width that a file declares, if they are within the limits.

    Raises:
        DataSetError: If they aren't.
    """
    try:
        return check_size_hw(height, width, "size of the frames")
    except ValueError as error:
        fail("bad video", str(error), file, video)


def checked_length(length: int, file: str, video: str | None = None) -> int:
    """Number of frames that a file declares, if it is within the limits.

    Raises:
        DataSetError: If it isn't.
    """
    if not 1 <= length <= LIMITS.length:
        fail("bad video", f"expected 1 to {LIMITS.length} frames, got {brief(length)}", file, video)
    return length

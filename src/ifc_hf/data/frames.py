"""The picture files that annotations speak of: are they there, below their folder, and of the size that is stated?"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm

from ..files import FileError, check_regular, inside
from ..model.limits import check_size_hw
from .problems import Problem
from .records import VideoRecord

ORIENTATION_TAG = 0x0112  # EXIF; values above 4 turn the picture by 90 degrees
MISSING = "missing frame"


@contextmanager
def open_picture(source: str | os.PathLike[str] | io.BytesIO, what: str) -> Iterator[Image.Image]:
    """Opens a picture of somebody else; nothing but its header is read before its pixels are asked for.

    Args:
        source: A regular file, or its bytes.
        what: Names it in the error.

    Raises:
        FileError: If it is missing, no regular file, no picture, damaged, or larger than the limits.
    """
    try:
        if not isinstance(source, io.BytesIO):
            check_regular(source)
        with Image.open(source) as picture:
            check_size_hw(picture.height, picture.width, "picture size")
            yield picture
    except FileError as error:
        raise FileError(f"{what} can't be read: {str(error).removeprefix(f'{source}: ')}") from error
    except Exception as error:  # a damaged picture can raise anything at all in Pillow, and some of it is no OSError
        raise FileError(f"{what} can't be read as a picture: {error}") from error


def picture_size_hw(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of a picture as it is shown (EXIF orientation applied), from its header.

    Raises:
        FileError: If it can't be read as a picture.
    """
    with open_picture(path, str(path)) as picture:
        turned = picture.getexif().get(ORIENTATION_TAG, 1) > 4
        width, height = picture.size
    return (width, height) if turned else (height, width)


class FrameFiles:
    """The files below a folder of frames. Every folder is listed once: 60,000 frames take well under a second.

    Args:
        root: Folder that the names start from.
        allow_outside: See `inside`.
    """

    def __init__(self, root: Path, allow_outside: bool = False) -> None:
        self.root = root
        self.allow_outside = allow_outside
        self._regular: dict[str, frozenset[str]] = {}

    def have_all(self, names: Sequence[str]) -> bool:
        """Whether frames that lie in one folder can all be read, from their names alone; False where it's not sure."""
        folder = names[0].rpartition("/")[0] if names else ""
        return self._regular_files(folder).issuperset(names)

    def problem(self, name: str) -> tuple[str, str] | None:
        """Kind and message of what keeps a frame from being read, from its name alone; None if nothing does."""
        if self.have_all([name]):
            return None
        try:
            path = inside(self.root, name, self.allow_outside)
            if not path.exists():
                return MISSING, f"there is no file {path}"
            check_regular(path)
        except FileError as error:
            return "frame outside" if "must stay below" in str(error) else "unreadable frame", str(error)
        return None

    def _regular_files(self, folder: str) -> frozenset[str]:
        """Regular files of a folder, by names from the root, links not among them; none if it may not be read."""
        if folder not in self._regular:
            try:
                path = inside(self.root, folder, self.allow_outside) if folder else self.root
                with os.scandir(path) as entries:
                    files = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
                start = f"{folder}/" if folder else ""
                names = frozenset(start + file for file in files if "\\" not in file)
            except (FileError, OSError):
                names = frozenset()
            self._regular[folder] = names
        return self._regular[folder]


def frame_problems(
    videos: Sequence[VideoRecord],
    files: FrameFiles,
    annotation_file: str,
    every_frame: bool,
    noun: str = "video",
) -> list[Problem]:
    """What keeps frames from being read, or has another size than stated; at most one problem of a kind and video.

    Args:
        videos: With the names of their frames.
        files: The folder with the frames.
        annotation_file: For messages.
        every_frame: Read the header of all frames, or of the first of every video.
        noun: What messages call a video.
    """
    found = [
        [None] * len(video.file_names)
        if files.have_all(video.file_names)
        else [files.problem(name) for name in video.file_names]
        for video in videos
    ]
    missing = sum(problem is not None and problem[0] == MISSING for of_video in found for problem in of_video)
    problems = []
    for video, of_video in zip(videos, found, strict=True):
        gone = [frame for frame, problem in enumerate(of_video) if problem is not None and problem[0] == MISSING]
        if gone:
            first = os.path.join(files.root, video.file_names[gone[0]])
            message = f"{len(gone)} of {video.length} frames are missing ({missing} in all), first {first}"
            problems.append(Problem(MISSING, message, annotation_file, video.describe(noun), frame=gone[0]))
        others = [
            (frame, problem) for frame, problem in enumerate(of_video) if problem is not None and problem[0] != MISSING
        ]
        for frame, (kind, message) in others[:1]:
            problems.append(Problem(kind, message, annotation_file, video.describe(noun), frame=frame))
    pairs = list(zip(videos, found, strict=True))
    for video, of_video in tqdm(
        pairs, desc=f"Reading frames of {annotation_file}", unit=noun, leave=False, disable=None
    ):
        for frame, name in enumerate(video.file_names if every_frame else video.file_names[:1]):
            if of_video[frame] is None and (wrong := _wrong_size(os.path.join(files.root, name), video, noun)):
                kind, message = wrong
                problems.append(Problem(kind, message, annotation_file, video.describe(noun), frame=frame))
                break
    return problems


def _wrong_size(path: str, video: VideoRecord, noun: str) -> tuple[str, str] | None:
    try:
        height, width = picture_size_hw(path)
    except FileError as error:
        return "unreadable frame", str(error)
    if (height, width) == (video.height, video.width):
        return None
    return "wrong size", f"{path} is {height}x{width} (height x width), the {noun} is {video.height}x{video.width}"

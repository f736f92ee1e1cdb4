"""The pictures of CVAT's tasks: which file, or which picture of a video, a frame number means."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...model.limits import brief
from ...model.video_files import video_info
from .common import VideoPictures, fail
from .pictures import below, check_file, frame_size_hw, list_pictures, pictures_by_stem


@dataclass(frozen=True)
class CvatTask:
    """What an XML says of a task or job.

    Attributes:
        task_id: Its id.
        name: Its name, fit for a folder.
        subset: Its subset within a project; "" if it has none.
        size: Number of frames, if it is stated.
        start_frame: Frame of the uploaded video that is its first.
        step: Every how manieth frame of the video it has.
        size_hw: Height and width of the frames, if they are stated.
    """

    task_id: str
    name: str
    subset: str
    size: int | None
    start_frame: int
    step: int
    size_hw: tuple[int, int] | None

    def frame_numbers(self, size: int) -> range:
        """Number in the uploaded video of each of `size` frames."""
        return range(self.start_frame, self.start_frame + self.step * size, self.step)


@dataclass(frozen=True)
class TaskFrames:
    """The pictures of a task.

    Attributes:
        pictures: One for each frame.
        size_hw: Their height and width.
        index_of: Frame index of every frame number that the XML may use.
        missing: Frame numbers of the task without a picture.
    """

    pictures: list[Path] | VideoPictures
    size_hw: tuple[int, int]
    index_of: dict[int, int]
    missing: list[int]

    def describe(self) -> str:
        """The frame numbers, for messages."""
        return f"the video has {len(self.index_of)}, with the numbers {brief(list(self.index_of))}"


def find_frames(
    tasks: Sequence[CvatTask], xml_file: Path, frames: Path | None, allow_outside: bool
) -> Iterator[TaskFrames]:
    """Finds the pictures of every task of an export.

    Args:
        tasks: All of the export.
        xml_file: Its XML.
        frames: Folder or video file that the user names.
        allow_outside: Follow links out of the folder.

    Raises:
        DataSetError: If pictures are missing, or it can't be told which ones the frames are.
    """
    file = str(xml_file)
    if frames is not None and not frames.is_dir() and len(tasks) > 1:
        fail("missing frame", f"the project has {len(tasks)} tasks: expected a folder with one entry each", file)
    used: Counter[tuple[Path, str]] = Counter()
    root = frames or xml_file.parent / "images"
    places = [_place(task, root, allow_outside, file) for task in tasks]
    for task, place in zip(tasks, places, strict=True):
        if frames is not None and not place.is_dir():
            yield _of_video(task, check_file(place), file)
            continue
        pictures = list_pictures(place, allow_outside, file)
        if places.count(place) > 1:
            pictures = _of_shared_folder(task, pictures, place, used, file)
        yield _of_pictures(task, pictures, place, file)


def _place(task: CvatTask, folder: Path, allow_outside: bool, file: str) -> Path:
    """The task's own folder or video, its subset's folder, or the folder of all."""
    if not folder.is_dir():
        return folder
    names = [task.name, *([task.subset] if task.subset else [])]
    places = [below(folder, name, allow_outside, file) for name in names]
    return next((place for place in places if place.exists()), folder)


def _of_video(task: CvatTask, video_file: Path, file: str) -> TaskFrames:
    if task.size is None:
        fail("wrong format", "meta has no size: the number of frames isn't known", file, task.name)
    numbers = task.frame_numbers(task.size)
    size_hw = task.size_hw or video_info(video_file).size_hw
    pictures = VideoPictures(video_file, numbers)
    return TaskFrames(pictures, size_hw, {number: index for index, number in enumerate(numbers)}, [])


def _of_shared_folder(
    task: CvatTask, pictures: Sequence[Path], folder: Path, used: Counter[tuple[Path, str]], file: str
) -> list[Path]:
    """Pictures of one of a project's tasks in a folder that several share.

    CVAT tells equal names apart by a suffix, in the order of the tasks: frame_000000, frame_000000_1, frame_000000_2.
    """
    by_stem, found = pictures_by_stem(pictures, file), []
    if task.size is None:
        fail("wrong format", "meta has no size: the number of frames isn't known", file, task.name)
    for number in task.frame_numbers(task.size):
        stem = f"frame_{number:06d}"
        count = used[(folder, stem)]
        used[(folder, stem)] += 1
        name = f"{stem}_{count}" if count else stem
        if name not in by_stem:
            fail("missing frame", f"there is no picture {name}.* in {folder}", file, task.name, frame=number)
        found.append(by_stem[name])
    return found


def _of_pictures(task: CvatTask, pictures: list[Path], folder: Path, file: str) -> TaskFrames:
    numbers = task.frame_numbers(len(pictures) if task.size is None else task.size)
    if len(pictures) != len(numbers):
        pictures, numbers_of = _by_number(task, pictures, numbers, folder, file)
    else:  # whatever they are called, they are in order
        numbers_of = list(numbers)
    size_hw = task.size_hw or frame_size_hw(pictures[0], file, task.name, numbers_of[0])
    index_of = {number: index for index, number in enumerate(numbers_of)}
    return TaskFrames(pictures, size_hw, index_of, [number for number in numbers if number not in index_of])


def _by_number(
    task: CvatTask, pictures: Sequence[Path], numbers: range, folder: Path, file: str
) -> tuple[list[Path], list[int]]:
    """Pictures and numbers of those frames of a task that the names of the pictures give.

    Either the folder has all frames of the uploaded video, counted from 0, or some frames of the task were deleted and
    the others have CVAT's names, which end in their number.
    """
    ends = [re.search(r"([0-9]{1,9})$", picture.stem) for picture in pictures]
    by_number = {int(end[1]): picture for end, picture in zip(ends, pictures, strict=True) if end is not None}
    if len(by_number) == len(pictures):
        is_whole_video = 0 in by_number and all(number in by_number for number in numbers)
        if is_whole_video or all(number in numbers for number in by_number):
            found = [number for number in numbers if number in by_number]
            return [by_number[number] for number in found], found
    message = f"expected {len(numbers)} pictures, of the frames {brief(list(numbers))}, or all frames of the video"
    fail("missing frame", f"{message} from number 0 on; {folder} has {len(pictures)}", file, task.name)

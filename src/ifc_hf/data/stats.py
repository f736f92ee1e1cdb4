"""Numbers that describe a split."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from .layout import is_held_out
from .parse import ParsedSplit


@dataclass(frozen=True)
class ClassStats:
    """Numbers of one class.

    Attributes:
        name: The class.
        tracks: Objects.
        masks: Objects times the frames where they are visible.
        visible_share: Mean share of a video's frames in which an object is visible.
        area_share: Mean share of the frame that a mask covers.
    """

    name: str
    tracks: int
    masks: int
    visible_share: float
    area_share: float


@dataclass(frozen=True)
class SplitStats:
    """Numbers of a split.

    Attributes:
        videos: Videos or images.
        frames: All frames.
        lengths: Shortest, median and longest video, in frames.
        sizes_hw: Most frequent frame sizes (height, width) with their counts.
        tracks_per_video: Mean and largest number of objects.
        crowds: Objects marked as crowd: training leaves them out.
        classes: Numbers of every class, most tracks first.
    """

    videos: int
    frames: int
    lengths: tuple[int, int, int]
    sizes_hw: list[tuple[tuple[int, int], int]]
    tracks_per_video: tuple[float, int]
    crowds: int
    classes: list[ClassStats]


def describe_split(split: ParsedSplit) -> SplitStats:
    """Counts what a split holds.

    Args:
        split: Of `read_split`.

    Raises:
        ValueError: If it has no video.
    """
    if not split.videos:
        raise ValueError(f"{split.file}: no video to count")
    lengths = [video.length or 0 for video in split.videos]
    counts = [len(video.tracks) for video in split.videos]
    labels = split.labels
    visible: list[list[float]] = [[] for _ in split.label_names]
    areas: list[list[float]] = [[] for _ in split.label_names]
    for video in split.videos:
        pixels = (video.height or 0) * (video.width or 0)
        for track in video.tracks:
            present = [area / pixels for area in (track.areas or []) if area is not None]
            visible[labels[track.category_id]].append(len(present) / (video.length or 1))
            areas[labels[track.category_id]] += present
    classes = [
        ClassStats(name, len(visible[i]), len(areas[i]), mean(visible[i]), mean(areas[i]))
        for i, name in enumerate(split.label_names)
    ]
    return SplitStats(
        videos=len(lengths),
        frames=sum(lengths),
        lengths=(min(lengths), int(np.median(lengths)), max(lengths)),
        sizes_hw=Counter((video.height or 0, video.width or 0) for video in split.videos).most_common(5),
        tracks_per_video=(mean(counts), max(counts)),
        crowds=sum(track.is_crowd for video in split.videos for track in video.tracks),
        classes=sorted(classes, key=lambda entry: -entry.tracks),
    )


def propose_held_out(split: ParsedSplit) -> list[int]:
    """Videos to hold out of a training, so that every class has a track on either side.

    These are the videos of `val_sub`, without those that hold the last tracks of a class for the training, and for
    every class that is missing then, rarest first, a video that has it. Classes of a single video stay in the
    training.

    Args:
        split: Of `read_split`.

    Returns:
        Ids of videos, ascending.
    """
    videos_of: dict[int, set[int]] = defaultdict(set)
    for video in split.videos:
        for track in video.tracks:
            if not track.is_crowd:
                videos_of[track.category_id].add(video.id)
    chosen: set[int] = set()

    def is_free(video_id: int) -> bool:
        """Whether every class of the video has another one to be trained on."""
        return all(videos - chosen - {video_id} for videos in videos_of.values() if video_id in videos)

    for video_id in sorted(video.id for video in split.videos):
        if is_held_out(video_id) and is_free(video_id):
            chosen.add(video_id)
    for _, videos in sorted(videos_of.items(), key=lambda item: (len(item[1]), item[0])):
        free = [video_id for video_id in sorted(videos) if is_free(video_id)]
        if free and not videos & chosen:
            # The one that has the most of the classes that are missing, too.
            missing = [others for others in videos_of.values() if not others & chosen]
            chosen.add(max(free, key=lambda video_id: sum(video_id in others for others in missing)))
    return sorted(chosen)


def mean(values: list[float] | list[int]) -> float:
    """Mean; 0 of nothing."""
    return float(np.mean(values)) if values else 0.0

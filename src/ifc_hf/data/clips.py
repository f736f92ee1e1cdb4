"""Training clips: frames sampled from videos, pseudo clips made of single images, and mixtures of both.

A clip is a dict: `frames`, T upright RGB images (PIL, each of its own size), `masks`, T bool arrays (N, H, W) of those
sizes, and `class_labels`, (N,) int64. An object is in it if at least one of the frames shows it.

Every draw comes from a generator seeded by (seed, epoch, index). So a clip depends neither on the number of worker
processes nor on what was drawn before it, and a resumed training sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from ..model.annotations import FrameView
from .augmentation import IMAGE_AUGMENTATION, VIDEO_AUGMENTATION, Augmentation, show_frame
from .decoding import open_frame

Clip: TypeAlias = dict[str, Any]
Row: TypeAlias = Mapping[str, Any]

# The further frames of a clip lie at most so far from its reference frame.
MAX_FRAME_DISTANCE = 20


class ClipDataset(Dataset[Clip], ABC):
    """Clips by index, new ones in every epoch.

    Args:
        num_frames: T.
        seed: Of everything that is drawn.
    """

    def __init__(self, num_frames: int, seed: int = 0) -> None:
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {num_frames}")
        self.num_frames = num_frames
        self.seed = seed
        # Shared memory: workers that outlive an epoch see the next one's number, too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __getitem__(self, index: int) -> Clip:
        return self.draw(index, np.random.default_rng([self.seed, self.epoch, index]))

    @property
    def epoch(self) -> int:
        """The epoch whose clips are drawn."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose clips are drawn; `Trainer` calls it."""
        self._epoch.fill_(epoch)

    @abstractmethod
    def __len__(self) -> int:
        """Clips per epoch."""

    @abstractmethod
    def draw(self, index: int, rng: np.random.Generator) -> Clip:
        """Draws the clip of an index."""


class VideoClipDataset(ClipDataset):
    """Clips of videos: frames near a random one; one scale and one flip for the whole clip.

    Args:
        rows: Rows of `load_ytvis`: `frames`, `objects` with `category`, `iscrowd` and per frame an RLE or None, and
            polygons where there are some.
        num_frames: T.
        augmentation: What changes at random.
        seed: Of everything that is drawn.
        max_frame_distance: The further frames lie at most so far from the reference frame.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        num_frames: int = 5,
        augmentation: Augmentation = VIDEO_AUGMENTATION,
        seed: int = 0,
        max_frame_distance: int = MAX_FRAME_DISTANCE,
    ) -> None:
        super().__init__(num_frames, seed)
        self.rows = rows
        self.augmentation = augmentation
        self.max_frame_distance = max_frame_distance

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, index: int, rng: np.random.Generator) -> Clip:
        """Draws the frames of one video and decodes those alone."""
        row = self.rows[index]
        indices = sample_frame_indices(len(row["frames"]), self.num_frames, rng, self.max_frame_distance)
        objects = [track for track in row["objects"] if not track["iscrowd"]]
        labels = [track["category"] for track in objects]
        where = f"video {row['video_id']}"
        frames, masks = [], []
        view = None
        for index in indices:
            frame = open_frame(row["frames"][index], f"{where}, frame {index}")
            segmentations = [shape_in_frame(track, index) for track in objects]
            with error_at(f"{where}, frame {index}"):
                view = view or self.augmentation.draw_view((frame.height, frame.width), rng, segmentations)
                shown, frame_masks = show(frame, segmentations, view)
            changed = self.augmentation.draw_appearance(rng).apply(shown, frame_masks)
            frames.append(changed[0])
            masks.append(changed[1])
        return make_clip(frames, masks, labels)


class ImageClipDataset(ClipDataset):
    """Pseudo clips: the same image T times, every copy changed on its own. An object is the same in all copies.

    Args:
        rows: Rows of `load_coco`: `image`, `objects` with `category`, `iscrowd`, an RLE, and polygons if there are
            some.
        num_frames: T; 1 gives plain images.
        augmentation: What changes at random.
        seed: Of everything that is drawn.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        num_frames: int = 1,
        augmentation: Augmentation = IMAGE_AUGMENTATION,
        seed: int = 0,
    ) -> None:
        super().__init__(num_frames, seed)
        self.rows = rows
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, index: int, rng: np.random.Generator) -> Clip:
        """Decodes one image once and changes its copies."""
        row = self.rows[index]
        where = f"image {row['image_id']}"
        image = open_frame(row["image"], where)
        objects = [item for item in row["objects"] if not item["iscrowd"]]
        segmentations = [item.get("polygons") or item["segmentation"] for item in objects]
        frames, masks = [], []
        for _ in range(self.num_frames):
            with error_at(where):
                view = self.augmentation.draw_view((image.height, image.width), rng, segmentations)
                copy = show(image, segmentations, view)
            copy = self.augmentation.draw_appearance(rng).apply(*copy)
            frames.append(copy[0])
            masks.append(copy[1])
        return make_clip(frames, masks, [item["category"] for item in objects])


class MixedClipDataset(ClipDataset):
    """Clips of several data sets, each drawn with its own probability: joint training on images and videos.

    Args:
        parts: Clip data sets of the same T whose labels mean the same classes.
        weights: How often each part is drawn, relative to the others; by default as often as it has rows.
        length: Clips per epoch; by default the sum of the parts' rows.
        seed: Of everything that is drawn, the clips of the parts included.
    """

    def __init__(
        self,
        parts: Sequence[ClipDataset],
        weights: Sequence[float] | None = None,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        numbers_of_frames = {part.num_frames for part in parts}
        if len(numbers_of_frames) != 1:
            raise ValueError(f"expected parts with the same number of frames, got {sorted(numbers_of_frames)}")
        sizes = [len(part) for part in parts]
        chances = np.asarray(sizes if weights is None else weights, dtype=np.float64)
        if chances.shape != (len(parts),) or not (chances >= 0).all() or not chances.sum() > 0:
            raise ValueError(f"weights: expected {len(parts)} numbers from 0 on, not all of them 0, got {weights}")
        super().__init__(numbers_of_frames.pop(), seed)
        self.length = sum(sizes) if length is None else length
        self.parts = parts
        self.chances = chances / chances.sum()

    def __len__(self) -> int:
        return self.length

    def draw(self, index: int, rng: np.random.Generator) -> Clip:
        """Draws a part, then a clip of it, whatever the index."""
        part = self.parts[int(rng.choice(len(self.parts), p=self.chances))]
        return part.draw(int(rng.integers(len(part))), rng)


def sample_frame_indices(
    video_length: int, num_frames: int, rng: np.random.Generator, max_distance: int = MAX_FRAME_DISTANCE
) -> list[int]:
    """A random reference frame and `num_frames - 1` others near it, drawn with replacement.

    Args:
        video_length: L.
        num_frames: T.
        rng: Source of randomness.
        max_distance: The others lie at most so far from the reference frame, which they never are.

    Returns:
        T ascending indices; a video of a single frame repeats it.

    Source: the reference's sampling of YouTube-VIS. Deviation: it crashes on a single frame.
    """
    reference = int(rng.integers(video_length))
    first, end = max(0, reference - max_distance), min(video_length, reference + max_distance + 1)
    near = [index for index in range(first, end) if index != reference] or [reference]
    others = rng.choice(near, size=num_frames - 1).tolist()
    return sorted([reference, *others])


def shape_in_frame(track: Mapping[str, Any], index: int) -> Any:
    """What a track of a row has on a frame: its polygons, else its RLE, else None."""
    polygons = track.get("polygons")
    return (polygons and polygons[index]) or track["segmentations"][index]


def show(frame: Image.Image, segmentations: Sequence[Any], view: FrameView) -> tuple[Image.Image, NDArray[np.bool_]]:
    """What a view shows of a frame, and the masks (N, h, w) of its objects.

    Raises:
        ValueError: If the frame or a mask has another size than the view is for.
    """
    if (frame.height, frame.width) != view.frame_hw:
        raise ValueError(
            f"the picture is {frame.height}x{frame.width} (height x width), expected {view.frame_hw[0]}x"
            f"{view.frame_hw[1]}, as the other frames of the clip"
        )
    return show_frame(frame, view), view.masks(segmentations)


@contextmanager
def error_at(where: str) -> Iterator[None]:
    """Puts the place in front of the message of a `ValueError`."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def make_clip(frames: list[Image.Image], masks: list[NDArray[np.bool_]], labels: Sequence[int]) -> Clip:
    """Puts a clip together without the objects that none of its frames shows.

    Args:
        frames: T images.
        masks: For each of them (N, H, W).
        labels: N class indices.
    """
    visible = np.any([frame_masks.any(axis=(1, 2)) for frame_masks in masks], axis=0)  # (N,)
    return {
        "frames": frames,
        "masks": [frame_masks[visible] for frame_masks in masks],
        "class_labels": np.asarray(labels, dtype=np.int64)[visible],
    }

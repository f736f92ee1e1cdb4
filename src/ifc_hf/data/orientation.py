"""Batches of wide frames alone, or of tall ones alone: little of them is padding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from .clips import ImageClipDataset, VideoClipDataset


class OrientationSampler(Sampler[int]):
    """Indices of all clips in random order, such that the clips of each batch are wider than high, or none of them is.

    Where the clips of an orientation don't fill their last batch, some of them come twice.

    The order depends on the seed and the clips' epoch alone, so it is the same in every process and after resuming.

    Args:
        clips: Their rows tell width and height.
        batch_size: Clips that are padded to one size.
        seed: Of the order.

    Raises:
        ValueError: If the clips are not drawn by index, or the rows don't tell their sizes.

    Source: detectron2's grouping by aspect ratio. Deviation: it keeps what doesn't fill a batch for the next epoch.
    """

    def __init__(self, clips: Any, batch_size: int, seed: int = 0) -> None:
        if not isinstance(clips, VideoClipDataset | ImageClipDataset):
            raise ValueError(
                f"same_orientation: expected a VideoClipDataset or ImageClipDataset, got {type(clips).__name__}: the "
                "orientation of its clips isn't known before they are drawn"
            )
        self.clips = clips
        self.batch_size = batch_size
        self.seed = seed
        is_wide = wide_rows(clips.rows)
        self.groups = [group for group in (np.flatnonzero(is_wide), np.flatnonzero(~is_wide)) if len(group)]

    def __len__(self) -> int:
        return sum(-(-len(group) // self.batch_size) for group in self.groups) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.clips.epoch])
        batches = []
        for group in self.groups:
            repeated = rng.choice(group, -len(group) % self.batch_size)
            batches.append(np.concatenate([rng.permutation(group), repeated]).reshape(-1, self.batch_size))
        yield from rng.permutation(np.concatenate(batches)).flatten().tolist()


def wide_rows(rows: Any) -> NDArray[np.bool_]:
    """Which rows of `load_ytvis` or `load_coco` have frames that are wider than high, (rows,)."""
    try:
        columns = rows if hasattr(rows, "features") else {
            name: [row[name] for row in rows] for name in ("width", "height")
        }  # fmt: skip
        return np.asarray(columns["width"][:]) > np.asarray(columns["height"][:])
    except KeyError as error:
        raise ValueError(f"same_orientation: the rows have no column {error}") from error

"""From a list of clips to the inputs of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .clips import Clip


class ClipCollator:
    """Normalises the frames of clips and pads frames and masks to the largest frame of the batch.

    Letters: B clips, T frames of a clip, N instances of a clip, (H, W) padded size in pixels.

    Args:
        processor: An `IfcImageProcessor`; its size is not used, since the augmentation has scaled the frames.
    """

    def __init__(self, processor: Callable[..., Any]) -> None:
        self.processor = processor

    def __call__(self, clips: Sequence[Clip]) -> dict[str, Any]:
        """Makes one batch.

        Args:
            clips: B clips of T frames, as `ClipDataset` gives them.

        Returns:
            `pixel_values` (B, T, 3, H, W), `pixel_mask` (B, T, H, W), True = real pixel, and `labels`: B dicts with
            `class_labels` (N,) and `masks` (N, T, H, W) bool.

        Raises:
            ValueError: If the clips differ in T.
        """
        numbers_of_frames = {len(clip["frames"]) for clip in clips}
        if len(numbers_of_frames) != 1:
            raise ValueError(f"expected clips with the same number of frames, got {sorted(numbers_of_frames)}")
        shape = (len(clips), numbers_of_frames.pop())
        # One video per frame: the copies of a pseudo clip differ in size.
        videos = [[frame] for clip in clips for frame in clip["frames"]]
        annotations = [
            {"class_labels": clip["class_labels"], "masks": frame_masks[:, None]}
            for clip in clips
            for frame_masks in clip["masks"]
        ]
        inputs = self.processor(videos, annotations, do_resize=False, return_tensors="pt")
        pixel_values = inputs["pixel_values"].squeeze(1).unflatten(0, shape)  # (B*T, 1, 3, H, W) -> (B, T, 3, H, W)
        pixel_mask = inputs["pixel_mask"].squeeze(1).unflatten(0, shape)
        T = shape[1]
        labels = [
            {
                "class_labels": inputs["labels"][start]["class_labels"],
                "masks": torch.cat([label["masks"] for label in inputs["labels"][start : start + T]], dim=1),
            }
            for start in range(0, len(videos), T)
        ]
        return {"pixel_values": pixel_values, "pixel_mask": pixel_mask, "labels": labels}

"""From the model's logits to masks, boxes and scores.

Letters: B clips, T frames of a clip, Q queries, K classes, N instances, (H, W) padded frame size, (h, w) its stride-8
map, (H0, W0) output size.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .masks import masks_to_boxes_xyxy

MASK_STRIDE = 8
MAX_RESIZED_PIXELS = 2**24  # floats held at once while masks are resized (64 MiB)


class ClipOutputs(Protocol):
    """What the model puts out, as far as it matters here."""

    class_queries_logits: Tensor  # (B, Q, K+1), the last class is "no object"
    masks_queries_logits: Tensor  # (B, Q, T, h, w)


def images_from_outputs(
    outputs: ClipOutputs,
    target_sizes: Sequence[tuple[int, int]] | Tensor | None,
    threshold: float,
    pixel_mask: Tensor | None,
) -> list[dict[str, Tensor]]:
    """Instances of single images (T = 1).

    Logits are resized to the padded frame, cut at 0 and cropped to the image; boxes are tight around these masks; then
    masks and boxes are brought to the output size, and instances whose box is empty are dropped.

    Args:
        outputs: Of the model.
        target_sizes: (H0, W0) of each image; None: the size of the frame without padding.
        threshold: Scores must be above it.
        pixel_mask: (B, 1, H, W), True = real pixel; None: nothing is padded and H, W are 8 h, 8 w.

    Returns:
        Per image `scores` (N,), `labels` (N,), `masks` (N, H0, W0) bool, `boxes` (N, 4) xyxy in pixels.

    Raises:
        ValueError: If the outputs have more than one frame, or the sizes' number or a shape doesn't fit.

    Source: the reference's check on COCO, with detectron2's rescaling of results.
    """
    mask_logits = outputs.masks_queries_logits
    if mask_logits.shape[2] != 1:
        raise ValueError(
            f"expected outputs of one frame, got {mask_logits.shape[2]}: use post_process_video_instance_segmentation"
        )
    frame_sizes = _frame_sizes_hw(mask_logits, pixel_mask)
    sizes = _output_sizes_hw(target_sizes, len(mask_logits))
    padded_hw = _padded_size_hw(mask_logits, pixel_mask)
    results = []
    for index, instances in enumerate(_kept_queries(outputs, threshold)):
        if not frame_sizes[index]:
            raise ValueError(f"pixel_mask: image {index} has no real pixel")
        height, width = frame_sizes[index][0]
        output_hw = sizes[index] or (height, width)
        logits = mask_logits[index, instances.pop("queries"), 0]
        frame_masks = resized_above(logits, padded_hw, 0.0)[:, :height, :width]
        scale = torch.tensor([output_hw[1] / width, output_hw[0] / height] * 2, device=logits.device)
        limit = torch.tensor([output_hw[1], output_hw[0]] * 2, device=logits.device)
        boxes = torch.minimum(masks_to_boxes_xyxy(frame_masks) * scale, limit)
        masks = frame_masks if output_hw == (height, width) else resized_above(frame_masks, output_hw, 0.5)
        has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        found = {**instances, "masks": masks, "boxes": boxes}
        results.append({name: values[has_area] for name, values in found.items()})
    return results


def clips_from_outputs(
    outputs: ClipOutputs,
    target_sizes: Sequence[tuple[int, int]] | Tensor | None,
    threshold: float,
    pixel_mask: Tensor | None,
) -> list[dict[str, Tensor]]:
    """Instances of clips.

    Of each frame's stride-8 logits, the part that belongs to the frame itself, ceil(size / 8), is resized straight to
    the output size and cut at 0: a clip in a padded batch thus gives what it gives alone. Frames that are wholly
    padding are left out.

    Args:
        outputs: Of the model.
        target_sizes: (H0, W0) of each clip; None: the size of its frames without padding.
        threshold: Scores must be above it.
        pixel_mask: (B, T, H, W), True = real pixel; None: nothing is padded and H, W are 8 h, 8 w.

    Returns:
        Per clip `scores` (N,), `labels` (N,), `masks` (N, T, H0, W0) bool, empty where an instance is
        absent.

    Raises:
        ValueError: If the sizes' number or a shape doesn't fit, or frames of a clip differ in size and no target is
            given.

    Source: the reference's result of a clip and its resize of video masks.
    """
    mask_logits = outputs.masks_queries_logits
    frame_sizes = _frame_sizes_hw(mask_logits, pixel_mask)
    sizes = _output_sizes_hw(target_sizes, len(mask_logits))
    results = []
    for index, instances in enumerate(_kept_queries(outputs, threshold)):
        if sizes[index] is None and len(set(frame_sizes[index])) != 1:
            raise ValueError(
                f"clip {index}: its frames have the sizes {sorted(set(frame_sizes[index]))}: give target_sizes"
            )
        output_hw = sizes[index] or frame_sizes[index][0]
        logits = mask_logits[index, instances.pop("queries")]
        masks = torch.empty(
            (len(logits), len(frame_sizes[index]), *output_hw), dtype=torch.bool, device=mask_logits.device
        )
        for frame, (height, width) in enumerate(frame_sizes[index]):
            own = logits[:, frame, : _map_size(height), : _map_size(width)]
            resized_above(own, output_hw, 0.0, out=masks[:, frame])
        results.append({**instances, "masks": masks})
    return results


def resized_above(values: Tensor, size_hw: tuple[int, int], threshold: float, out: Tensor | None = None) -> Tensor:
    """Where values are above a threshold after a bilinear resize.

    A few masks at a time, so that memory beyond the result stays bounded.

    Args:
        values: (N, h, w), float or bool.
        size_hw: H0, W0.
        threshold: Values must be above it.
        out: (N, H0, W0) bool to write to.

    Returns:
        (N, H0, W0) bool.
    """
    if out is None:
        out = torch.empty((len(values), *size_hw), dtype=torch.bool, device=values.device)
    step = max(1, MAX_RESIZED_PIXELS // (size_hw[0] * size_hw[1]))
    for start in range(0, len(values), step):
        part = values[start : start + step].float()[:, None]
        resized = F.interpolate(part, size=size_hw, mode="bilinear", align_corners=False)[:, 0]
        torch.gt(resized, threshold, out=out[start : start + step])
    return out


def _kept_queries(outputs: ClipOutputs, threshold: float) -> list[dict[str, Any]]:
    """Per clip `queries`, `scores`, `labels` (N,) of the queries whose best class is an object, in query order."""
    scores, labels = outputs.class_queries_logits.float().softmax(-1).max(-1)
    no_object = outputs.class_queries_logits.shape[-1] - 1
    kept = (labels != no_object) & (scores > threshold)
    return [
        {"queries": clip.nonzero()[:, 0], "scores": scores[index, clip], "labels": labels[index, clip]}
        for index, clip in enumerate(kept)
    ]


def _map_size(size: int) -> int:
    return -(-size // MASK_STRIDE)


def _padded_size_hw(mask_logits: Tensor, pixel_mask: Tensor | None) -> tuple[int, int]:
    if pixel_mask is None:
        return MASK_STRIDE * mask_logits.shape[-2], MASK_STRIDE * mask_logits.shape[-1]
    return pixel_mask.shape[-2], pixel_mask.shape[-1]


def _frame_sizes_hw(mask_logits: Tensor, pixel_mask: Tensor | None) -> list[list[tuple[int, int]]]:
    """Own size of every frame of every clip; frames that are wholly padding are not listed."""
    B, _, T, h, w = mask_logits.shape
    if pixel_mask is None:
        return [[_padded_size_hw(mask_logits, None)] * T] * B
    H, W = pixel_mask.shape[-2:]
    if tuple(pixel_mask.shape[:-2]) != (B, T) or (_map_size(H), _map_size(W)) != (h, w):
        raise ValueError(
            f"pixel_mask: expected (B, T, H, W) = ({B}, {T}, ...) with H, W that make stride-8 maps of {h}x{w}, "
            f"got {tuple(pixel_mask.shape)}"
        )
    heights = pixel_mask.any(-1).sum(-1).tolist()
    widths = pixel_mask.any(-2).sum(-1).tolist()
    return [
        [(height, width) for height, width in zip(*clip, strict=True) if height]
        for clip in zip(heights, widths, strict=True)
    ]


def _output_sizes_hw(
    target_sizes: Sequence[tuple[int, int]] | Tensor | None, batch_size: int
) -> list[tuple[int, int] | None]:
    if target_sizes is None:
        return [None] * batch_size
    if len(target_sizes) != batch_size:
        raise ValueError(f"target_sizes: expected {batch_size}, one (height, width) per clip, got {len(target_sizes)}")
    sizes: list[tuple[int, int] | None] = []
    for index, size in enumerate(target_sizes):
        if len(size) != 2 or min(int(edge) for edge in size) < 1:
            raise ValueError(f"target_sizes[{index}]: expected (height, width) of positive integers, got {size}")
        sizes.append((int(size[0]), int(size[1])))
    return sizes

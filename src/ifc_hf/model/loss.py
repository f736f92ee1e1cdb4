"""Training loss of IFC: targets, matching and the three loss terms, as pure functions.

    labels --resize to 1/stride--> target masks --+
                                                  +--> matching (Hungarian, no gradient) --> matched pairs
    predictions of one decoder layer -------------+                                               |
          |                                                                                       v
          +--> classification loss (all queries), focal and dice loss (matched queries) --> weighted sum over layers

Letters: B clips, T frames of a clip, Q queries, K classes, N instances of a clip, (H, W) padded frame size,
(h, w) size of the predicted masks, P pixels of an instance in all frames (T * target height * target width).
All arithmetic is float32, whatever the dtype of the predictions.

Source: IFC paper (arXiv 2106.03299), sections 3.1 and 3.2; matching and classification follow DETR (arXiv 2005.12872).
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of one float32 chunk of resized masks during matching: 16 MiB.
MATCHING_CHUNK_ELEMENTS = 2**22

Match = tuple[Tensor, Tensor]


def ifc_loss(
    class_logits: Sequence[Tensor],
    mask_logits: Sequence[Tensor],
    labels: Sequence[Mapping[str, Tensor]],
    *,
    frame_size_hw: Sequence[int],
    mask_target_stride: int = 4,
    class_cost: float = 1.0,
    dice_cost: float = 3.0,
    class_loss_coefficient: float = 1.0,
    mask_loss_coefficient: float = 3.0,
    dice_loss_coefficient: float = 3.0,
    no_object_coefficient: float = 0.1,
    num_instances: float | Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum of the classification, mask and dice losses over all decoder layers.

    Args:
        class_logits: Per decoder layer, last layer last, (B, Q, K+1); index K is "no object".
        mask_logits: Per decoder layer, (B, Q, T, h, w).
        labels: B dicts with `class_labels` (N,) integers and `masks` (N, T, H, W) of 0 and 1, see `validate_labels`.
        frame_size_hw: Padded frame size (H, W) in pixels.
        mask_target_stride: Target masks have the size ceil(H / stride), ceil(W / stride).
        class_cost: Weight of the class probability in the matching score.
        dice_cost: Weight of the dice coefficient in the matching score.
        class_loss_coefficient: Weight of the classification loss.
        mask_loss_coefficient: Weight of the focal mask loss.
        dice_loss_coefficient: Weight of the dice loss.
        no_object_coefficient: Weight of the "no object" class within the classification loss.
        num_instances: What the mask and dice sums are divided by; default: `count_instances` of this batch.

    Returns:
        The weighted total, a scalar, and every term unweighted: `loss_ce`, `loss_mask`, `loss_dice`,
        `cardinality_error` and `class_error` of the last layer, and the first four with `_0`, `_1`, ... of the earlier
        layers. The two errors are for logging only and carry no gradient.

    Raises:
        ValueError: If a prediction isn't finite.

    Source: IFC paper, section 3.2. Deviation: the two errors are no part of the total.
    """
    check_predictions_finite(class_logits, mask_logits)
    device = mask_logits[-1].device
    height, width = frame_size_hw
    target_size_hw = (math.ceil(height / mask_target_stride), math.ceil(width / mask_target_stride))
    coefficients = {
        "loss_ce": class_loss_coefficient,
        "loss_mask": mask_loss_coefficient,
        "loss_dice": dice_loss_coefficient,
    }
    with torch.autocast(device_type=device.type, enabled=False):
        class_labels = [label["class_labels"].to(device, torch.long) for label in labels]
        target_masks = [prepare_target_masks(label["masks"].to(device), target_size_hw) for label in labels]
        if num_instances is None:
            num_instances = count_instances(class_labels, device)

        total = torch.zeros((), device=device)
        loss_dict: dict[str, Tensor] = {}
        last = len(class_logits) - 1
        for layer, (logits, masks) in enumerate(zip(class_logits, mask_logits, strict=True)):
            matches = match_clips(logits, masks, class_labels, target_masks, class_cost, dice_cost)
            terms = {
                "loss_ce": classification_loss(logits, class_labels, matches, no_object_coefficient),
                **matched_mask_losses(masks, target_masks, matches, num_instances),
            }
            for name, coefficient in coefficients.items():
                total = total + coefficient * terms[name]
            terms["cardinality_error"] = cardinality_error(logits, class_labels)
            if layer == last:
                terms["class_error"] = class_error(logits, class_labels, matches)
            suffix = "" if layer == last else f"_{layer}"
            loss_dict.update({name + suffix: value for name, value in terms.items()})
    return total, loss_dict


def match_clips(
    class_logits: Tensor,
    mask_logits: Tensor,
    class_labels: Sequence[Tensor],
    target_masks: Sequence[Tensor],
    class_cost: float = 1.0,
    dice_cost: float = 3.0,
) -> list[Match]:
    """Best one-to-one assignment between queries and instances, for each clip of one decoder layer.

    Args:
        class_logits: (B, Q, K+1).
        mask_logits: (B, Q, T, h, w).
        class_labels: Per clip (N,).
        target_masks: Per clip (N, T, h', w').
        class_cost: Weight of the class probability.
        dice_cost: Weight of the dice coefficient.

    Returns:
        Per clip the query indices, ascending, and the instance indices, both (min(Q, N),) on the CPU.
    """
    return [
        assign(matching_score(class_logits[clip], mask_logits[clip], labels, targets, class_cost, dice_cost))
        for clip, (labels, targets) in enumerate(zip(class_labels, target_masks, strict=True))
    ]


@torch.no_grad()
def matching_score(
    class_logits: Tensor,
    mask_logits: Tensor,
    class_labels: Tensor,
    target_masks: Tensor,
    class_cost: float = 1.0,
    dice_cost: float = 3.0,
) -> Tensor:
    """How well each query of one clip fits each instance; larger is better.

    Args:
        class_logits: (Q, K+1).
        mask_logits: (Q, T, h, w).
        class_labels: (N,).
        target_masks: (N, T, h', w').
        class_cost: Weight of the class probability.
        dice_cost: Weight of the dice coefficient.

    Returns:
        (Q, N): class_cost * probability of the instance's class + dice_cost * dice coefficient.
    """
    class_probability = class_logits.float().softmax(-1)[:, class_labels]
    return class_cost * class_probability + dice_cost * pairwise_dice(mask_logits, target_masks)


@torch.no_grad()
def pairwise_dice(mask_logits: Tensor, target_masks: Tensor) -> Tensor:
    """Dice coefficient of every query with every instance over all frames together.

    The masks are resized, squashed and multiplied in chunks of frames, so that memory holds one chunk of Q masks and
    never a (Q, N, T, h', w') array.

    Args:
        mask_logits: (Q, T, h, w).
        target_masks: (N, T, h', w') in [0, 1].

    Returns:
        (Q, N): (2 * sum(s * m) + 1) / (sum(s) + sum(m) + 1) with s the sigmoid of the resized logits.
    """
    num_queries, num_frames = mask_logits.shape[:2]
    target_size_hw = target_masks.shape[-2:]
    frames_per_chunk = max(1, MATCHING_CHUNK_ELEMENTS // max(1, num_queries * target_size_hw.numel()))
    intersection = mask_logits.new_zeros(num_queries, target_masks.shape[0], dtype=torch.float32)
    query_area = mask_logits.new_zeros(num_queries, 1, dtype=torch.float32)
    if target_masks.shape[0] == 0:
        return intersection
    for start in range(0, num_frames, frames_per_chunk):
        frames = slice(start, start + frames_per_chunk)
        query_masks = resize_masks(mask_logits[:, frames], target_size_hw).sigmoid().flatten(1)  # (Q, chunk pixels)
        intersection += query_masks @ target_masks[:, frames].float().flatten(1).T
        query_area += query_masks.sum(1, keepdim=True)
    target_area = target_masks.float().flatten(1).sum(1)
    return (2 * intersection + 1) / (query_area + target_area + 1)


def assign(score: Tensor) -> Match:
    """Hungarian assignment that maximises the total score.

    Args:
        score: (Q, N).

    Returns:
        Row indices, ascending, and column indices, both (min(Q, N),) on the CPU.

    Raises:
        ImportError: If scipy is missing.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError("Matching queries with instances for the IFC loss needs scipy: pip install scipy") from error
    rows, columns = linear_sum_assignment(score.cpu().numpy(), maximize=True)
    return torch.as_tensor(rows, dtype=torch.long), torch.as_tensor(columns, dtype=torch.long)


def classification_loss(
    class_logits: Tensor,
    class_labels: Sequence[Tensor],
    matches: Sequence[Match],
    no_object_coefficient: float = 0.1,
) -> Tensor:
    """Cross entropy over K+1 classes on all queries, "no object" weighted down.

    Args:
        class_logits: (B, Q, K+1).
        class_labels: Per clip (N,).
        matches: Per clip, from `match_clips`.
        no_object_coefficient: Weight of class K; all others have weight 1.

    Returns:
        Scalar: sum of the weighted losses / sum of the weights, over the queries of this process.
    """
    no_object = class_logits.shape[-1] - 1
    targets = torch.full(class_logits.shape[:2], no_object, device=class_logits.device)  # (B, Q)
    for clip, (queries, instances) in enumerate(matches):
        targets[clip, queries] = class_labels[clip][instances]
    weights = torch.ones(no_object + 1, device=class_logits.device)
    weights[no_object] = no_object_coefficient
    return F.cross_entropy(class_logits.float().flatten(0, 1), targets.flatten(), weight=weights)


def matched_mask_losses(
    mask_logits: Tensor,
    target_masks: Sequence[Tensor],
    matches: Sequence[Match],
    num_instances: float | Tensor,
) -> dict[str, Tensor]:
    """Focal and dice loss of the matched queries; 0 without any instance, but still connected to the predictions.

    Args:
        mask_logits: (B, Q, T, h, w); only the matched ones are resized to the targets' size.
        target_masks: Per clip (N, T, h', w').
        matches: Per clip, from `match_clips`.
        num_instances: What the sums over the instances are divided by.

    Returns:
        `loss_mask` and `loss_dice`, scalars.
    """
    targets = torch.cat([masks[instances] for masks, (_, instances) in zip(target_masks, matches, strict=True)])
    matched = torch.cat([masks[queries] for masks, (queries, _) in zip(mask_logits, matches, strict=True)])
    matched = resize_masks(matched, targets.shape[-2:]).flatten(1)  # (matched, T, h, w) -> (matched, P)
    targets = targets.flatten(1)
    return {
        "loss_mask": focal_loss(matched, targets).sum() / num_instances,
        "loss_dice": dice_loss(matched, targets).sum() / num_instances,
    }


def focal_loss(mask_logits: Tensor, target_masks: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss, mean over the pixels of an instance.

    Args:
        mask_logits: (N, P).
        target_masks: (N, P) in [0, 1].
        alpha: Weight of the foreground; 1 - alpha is that of the background.
        gamma: Exponent that plays down pixels that are right already.

    Returns:
        (N,).

    Source: Focal Loss (arXiv 1708.02002), extended linearly to targets between 0 and 1.
    """
    probabilities = mask_logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(mask_logits, target_masks, reduction="none")
    miss = probabilities * (1 - target_masks) + (1 - probabilities) * target_masks
    weight = alpha * target_masks + (1 - alpha) * (1 - target_masks)
    return (weight * miss**gamma * cross_entropy).mean(1)


def dice_loss(mask_logits: Tensor, target_masks: Tensor) -> Tensor:
    """1 - dice coefficient over all pixels of an instance.

    Args:
        mask_logits: (N, P).
        target_masks: (N, P) in [0, 1].

    Returns:
        (N,) in [0, 1): 1 - (2 * sum(s * m) + 1) / (sum(s) + sum(m) + 1).
    """
    probabilities = mask_logits.sigmoid()
    intersection = (probabilities * target_masks).sum(1)
    return 1 - (2 * intersection + 1) / (probabilities.sum(1) + target_masks.sum(1) + 1)


@torch.no_grad()
def class_error(class_logits: Tensor, class_labels: Sequence[Tensor], matches: Sequence[Match]) -> Tensor:
    """Percentage of the matched queries whose best class is wrong; 100 without any instance.

    Args:
        class_logits: (B, Q, K+1).
        class_labels: Per clip (N,).
        matches: Per clip, from `match_clips`.

    Returns:
        Scalar in [0, 100].
    """
    right = [
        class_logits[clip, queries].argmax(-1) == class_labels[clip][instances]
        for clip, (queries, instances) in enumerate(matches)
    ]
    is_right = torch.cat(right).float()
    if is_right.numel() == 0:
        return is_right.new_tensor(100.0)
    return 100 - 100 * is_right.mean()


@torch.no_grad()
def cardinality_error(class_logits: Tensor, class_labels: Sequence[Tensor]) -> Tensor:
    """Mean over the clips of |number of queries that see an object - number of instances|.

    Args:
        class_logits: (B, Q, K+1).
        class_labels: Per clip (N,).

    Returns:
        Scalar.
    """
    predicted = (class_logits.argmax(-1) != class_logits.shape[-1] - 1).sum(1)  # (B,)
    present = torch.tensor([len(labels) for labels in class_labels], device=class_logits.device)
    return (predicted - present).abs().float().mean()


def count_instances(class_labels: Sequence[Tensor], device: torch.device) -> Tensor:
    """Number of instances per process: summed over all processes, divided by their number, at least 1.

    Data parallel training averages the gradients over the processes, so that dividing each process's sums by this
    number gives the gradient of the joined batch.

    Args:
        class_labels: Per clip of this process (N,).
        device: Where the processes exchange the number.

    Returns:
        Scalar float tensor on `device`.
    """
    count = torch.tensor(float(sum(len(labels) for labels in class_labels)), device=device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count, op=torch.distributed.ReduceOp.SUM)
        count = count / torch.distributed.get_world_size()
    return count.clamp(min=1)


def prepare_target_masks(masks: Tensor, target_size_hw: tuple[int, int]) -> Tensor:
    """Masks of one clip at the size on which matching and loss work.

    Args:
        masks: (N, T, H, W) of 0 and 1.
        target_size_hw: (h', w') in pixels.

    Returns:
        (N, T, h', w') float32 in [0, 1], not thresholded again.
    """
    # In chunks, because full-size masks take four times the memory in float32 that they take as bool or uint8.
    return torch.cat([resize_masks(chunk, target_size_hw) for chunk in torch.split(masks, 8)])


def resize_masks(masks: Tensor, size_hw: Sequence[int]) -> Tensor:
    """Bilinear resize in float32, pixel centres aligned as in `align_corners=False`.

    Args:
        masks: (N, T, H, W) of any dtype.
        size_hw: Size wanted, in pixels.

    Returns:
        (N, T, *size_hw), float32.
    """
    if tuple(masks.shape[-2:]) == tuple(size_hw):
        return masks.float()
    return F.interpolate(masks.float(), size=tuple(size_hw), mode="bilinear", align_corners=False)


def check_predictions_finite(class_logits: Sequence[Tensor], mask_logits: Sequence[Tensor]) -> None:
    """Refuses NaN and infinity, which the assignment couldn't handle.

    Args:
        class_logits: Per decoder layer (B, Q, K+1).
        mask_logits: Per decoder layer (B, Q, T, h, w).

    Raises:
        ValueError: Names the first bad tensor, its decoder layer, clip and query.
    """
    for layer, tensors in enumerate(zip(class_logits, mask_logits, strict=True)):
        for name, tensor in zip(("class logits", "mask logits"), tensors, strict=True):
            finite = torch.isfinite(tensor)
            if not finite.all():
                clip, query = (~finite).flatten(2).any(2).nonzero()[0].tolist()
                value = tensor[clip, query][~finite[clip, query]][0].item()
                raise ValueError(
                    f"Expected finite predictions, got {value} in the {name} of decoder layer {layer} "
                    f"(of {len(class_logits)}, counted from 0), clip {clip} of the batch, query {query}. "
                    "Usual causes: a learning rate that is too high, float16 overflow, non-finite pixel values."
                )


def validate_labels(
    labels: Sequence[Mapping[str, Tensor]],
    *,
    batch_size: int,
    num_frames: int,
    frame_size_hw: Sequence[int],
    num_classes: int,
) -> None:
    """Checks the labels of a batch against its frames.

    Args:
        labels: B dicts with `class_labels` (N,) and `masks` (N, T, H, W); N may be 0.
        batch_size: B.
        num_frames: T.
        frame_size_hw: Padded frame size (H, W) in pixels.
        num_classes: K, without "no object".

    Raises:
        ValueError: If the number of dicts, a key, a dtype, a shape, a class or a mask value is wrong. The message says
            which entry of `labels`, instance and frame.
    """
    if len(labels) != batch_size:
        raise ValueError(f"Expected one labels dict per clip, that is {batch_size}, got {len(labels)}.")
    for clip, label in enumerate(labels):
        wrong = [key for key in ("class_labels", "masks") if not isinstance(label.get(key), Tensor)]
        if wrong:
            raise ValueError(f"labels[{clip}] must hold tensors under {wrong}; its keys are {list(label)}.")
        class_labels, masks = label["class_labels"], label["masks"]
        if class_labels.dim() != 1 or class_labels.is_floating_point() or class_labels.dtype == torch.bool:
            raise ValueError(
                f'labels[{clip}]["class_labels"] must be integers of shape (N,), '
                f"got {class_labels.dtype} of shape {tuple(class_labels.shape)}."
            )
        expected = (len(class_labels), num_frames, *frame_size_hw)
        if tuple(masks.shape) != expected:
            raise ValueError(
                f'labels[{clip}]["masks"] must have the shape (instances, frames, height, width) = {expected} '
                f"of the class labels and the padded frames, got {tuple(masks.shape)}."
            )
        wrong_class = (class_labels < 0) | (class_labels >= num_classes)
        if wrong_class.any():
            instance = int(wrong_class.nonzero()[0])
            raise ValueError(
                f'labels[{clip}]["class_labels"][{instance}] is {int(class_labels[instance])}, '
                f"but the model has {num_classes} classes: expected 0 to {num_classes - 1}."
            )
        wrong_value = (masks != 0) & (masks != 1)
        if wrong_value.any():
            instance, frame, row, column = wrong_value.nonzero()[0].tolist()
            raise ValueError(
                f'labels[{clip}]["masks"] must hold only 0 and 1, got {masks[instance, frame, row, column].item()} '
                f"(instance {instance}, frame {frame}, row {row}, column {column})."
            )

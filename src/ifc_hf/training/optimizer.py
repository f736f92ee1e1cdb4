"""What the optimizer changes and how fast: groups of parameters, and the learning rate over the steps."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn


def parameter_groups(
    model: nn.Module, learning_rate: float, weight_decay: float, backbone_lr_factor: float
) -> list[dict[str, Any]]:
    """The head and the backbone, which learns more slowly; weight decay acts on everything.

    Source: the reference's optimizer. The head comes first, because the logged learning rate is that of group 0.

    Args:
        model: Only its parameters that require a gradient are taken.
        learning_rate: Of the head.
        weight_decay: Of both groups.
        backbone_lr_factor: Learning rate of the backbone, relative to that of the head.

    Returns:
        Groups as torch's optimizers take them, without empty ones.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for name, parameter in trained if ("backbone." in name) == is_backbone],
            "lr": learning_rate * factor,
            "weight_decay": weight_decay,
        }
        for is_backbone, factor in ((False, 1.0), (True, backbone_lr_factor))
    ]
    return [group for group in groups if group["params"]]


def step_schedule(warmup_steps: int, drops: Sequence[int], drop_factor: float) -> Callable[[int], float]:
    """What the learning rate is multiplied by at a step: a linear warm-up, then steps down.

    Args:
        warmup_steps: Steps until the full rate is reached.
        drops: Steps from which the rate is multiplied once more by `drop_factor`.
        drop_factor: Of every drop.
    """

    def factor(step: int) -> float:
        warmup = min(1.0, (step + 1) / (warmup_steps + 1))
        return warmup * drop_factor ** sum(step >= drop for drop in drops)

    return factor

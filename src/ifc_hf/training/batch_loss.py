"""The loss of a batch that is spread over processes and accumulation steps, equal to that of the whole batch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..model.loss import ifc_loss

if TYPE_CHECKING:
    from accelerate import Accelerator

Labels = Sequence[Mapping[str, Tensor]]


class BatchLoss:
    """`ifc_loss` of one part of a batch, scaled so that the mean over all parts is the loss of the whole batch.

    `ifc_loss` divides the mask terms by the number of instances and the class term by the summed weights of the
    queries. Taken over each part alone, these would weigh an instance the more the fewer others are in its part. Here
    both are taken over the whole batch. A part is what one process computes at once; the trainer averages the
    gradients over processes and accumulation steps.

    Args:
        num_queries: Q.
        no_object_coefficient: Weight of "no object" in the class term.

    Two things still differ if the parts do: the padded size, over whose pixels the mask term is a mean, and dropout.

    Deviation: the reference averages the class term over the processes, however many objects each of them has.
    """

    def __init__(self, num_queries: int, no_object_coefficient: float) -> None:
        self.num_queries = num_queries
        self.no_object_coefficient = no_object_coefficient
        self.instances_per_part: float | Tensor = 1.0
        self.weight_per_part: float | Tensor = 1.0

    def totals(self, parts: Sequence[Labels]) -> Tensor:
        """(3,) float32 on the CPU: instances, summed weights of the queries, and number of the given parts."""
        instances = sum(len(label["class_labels"]) for labels in parts for label in labels)
        weight = sum(self.class_weight(labels) for labels in parts)
        return torch.tensor([instances, weight, len(parts)], dtype=torch.float32)

    def set_batch(self, totals: Tensor) -> None:
        """Prepare for the parts of a new batch; `totals` is (3,), summed over all processes."""
        instances, weight, num_parts = totals.unbind()
        # At least 1: a batch without any instance trains its classification.
        self.instances_per_part = instances.clamp(min=1) / num_parts
        self.weight_per_part = weight / num_parts

    def class_weight(self, labels: Labels) -> float:
        """Summed weights of all queries of one part: min(Q, N) of every clip are matched, the others see no object."""
        matched = [min(self.num_queries, len(label["class_labels"])) for label in labels]
        return sum(count + self.no_object_coefficient * (self.num_queries - count) for count in matched)

    # The matching leaves torch, so there is nothing in here to compile.
    @torch.compiler.disable
    def __call__(
        self, class_logits: Sequence[Tensor], mask_logits: Sequence[Tensor], labels: Labels, **settings: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Same arguments and results as `ifc_loss`."""
        total, terms = ifc_loss(class_logits, mask_logits, labels, num_instances=self.instances_per_part, **settings)
        scale = self.class_weight(labels) / self.weight_per_part
        for name in [name for name in terms if name.startswith("loss_ce")]:
            scaled = terms[name] * scale
            total = total + settings["class_loss_coefficient"] * (scaled - terms[name])
            terms[name] = scaled
        return total, terms


class TermMeans:
    """Means of the loss terms since the last log."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, loss_dict: Mapping[str, Tensor]) -> None:
        """Adds the terms (scalars) of one forward pass."""
        for name, term in loss_dict.items():
            self._sums[name] = self._sums.get(name, 0) + term.detach()
        self._count += 1

    def pop(self, accelerator: "Accelerator") -> dict[str, float]:
        """The means over the passes and the processes, which are forgotten then; empty if there was no pass."""
        if not self._count:
            return {}
        means = accelerator.reduce(torch.stack(list(self._sums.values())) / self._count, reduction="mean")
        logs = dict(zip(self._sums, means.tolist(), strict=True))
        self._sums, self._count = {}, 0
        return logs

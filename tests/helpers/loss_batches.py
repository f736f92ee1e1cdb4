"""Batches for the loss, and a training step on a part of one in a process of its own."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ifc_hf.model.loss import ifc_loss


def random_batch(
    instances: list[int], *, layers: int = 2, Q: int = 6, T: int = 2, seed: int = 0
) -> tuple[list[Tensor], list[Tensor], list[dict[str, Tensor]]]:
    """Predictions of 4 classes at stride 8 and labels for frames of 32 x 48."""
    generator = torch.Generator().manual_seed(seed)
    B = len(instances)
    class_logits = [torch.randn(B, Q, 5, generator=generator).requires_grad_() for _ in range(layers)]
    mask_logits = [torch.randn(B, Q, T, 4, 6, generator=generator).requires_grad_() for _ in range(layers)]
    labels = [
        {
            "class_labels": torch.randint(4, (N,), generator=generator),
            "masks": torch.rand(N, T, 32, 48, generator=generator) > 0.5,
        }
        for N in instances
    ]
    return class_logits, mask_logits, labels


FRAME = {"frame_size_hw": (32, 48)}


class Offsets(nn.Module):
    """The smallest model: learned offsets added to given predictions."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Parameter(torch.zeros(6, 5))
        self.masks = nn.Parameter(torch.zeros(6, 2, 4, 6))

    def forward(self, class_logits: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor]:
        return class_logits + self.classes, mask_logits + self.masks


# Instances per clip, two clips per process, and loss coefficients. The classification loss is a weighted mean over the
# queries of a process, so that it equals that of the joined batch only if the processes hold equally many instances.
SCENARIOS = [
    ([3, 1, 2, 2], {}),
    ([3, 2, 0, 0], {"class_loss_coefficient": 0.0}),
]


def step(model: nn.Module, scenario: int, clips: slice) -> dict[str, Tensor]:
    instances, coefficients = SCENARIOS[scenario]
    class_logits, mask_logits, labels = random_batch(instances, layers=1)
    model.zero_grad()
    classes, masks = model(class_logits[0].detach()[clips], mask_logits[0].detach()[clips])
    loss, _ = ifc_loss([classes], [masks], labels[clips], **FRAME, **coefficients)
    loss.backward()
    gradients = {name.removeprefix("module."): x.grad.clone() for name, x in model.named_parameters()}
    return {"loss": loss.detach(), **gradients}


def run_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    model = DistributedDataParallel(Offsets())
    results = [step(model, scenario, slice(2 * rank, 2 * rank + 2)) for scenario in range(len(SCENARIOS))]
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()

"""As many clips at once as fit into the accelerator's memory, without another number of clips per step."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

# Clips that are drawn to find a large one; training may meet larger ones, hence the reserve.
SAMPLE = 16
# What is held back, in copies of the trained weights: gradients in DDP's buckets, AdamW's two means, and one more.
RESERVED_COPIES = 4


def fit_batch_size(trainer: Any) -> int:
    """Sets how many clips a process takes at once; the clips of a step stay what they are.

    Tries a step with several copies of a large clip, which changes neither weights nor random numbers. Without an
    accelerator it is one clip at once: a CPU gains nothing by more, and has no error to tell that its memory is full.

    Args:
        trainer: `IfcTrainer`, before the training.

    Returns:
        The number.
    """
    args = trainer.args
    clips_per_process = args.per_device_train_batch_size * args.gradient_accumulation_steps
    size = 1
    if args.device.type != "cpu":
        candidates = [n for n in range(clips_per_process, 0, -1) if clips_per_process % n == 0]
        size = largest_fitting(candidates, lambda number: try_step(trainer, number))
    sizes = trainer.accelerator.gather(torch.tensor([size], device=args.device))
    size = int(sizes.min())
    args.per_device_train_batch_size = trainer._train_batch_size = size
    args.gradient_accumulation_steps = clips_per_process // size
    return size


def largest_fitting(candidates: Sequence[int], attempt: Callable[[int], None]) -> int:
    """The first of the numbers, in descending order, with which an attempt does not run out of memory.

    Raises:
        ValueError: If there is none.
    """
    for number in candidates:
        try:
            attempt(number)
        except (RuntimeError, torch.OutOfMemoryError) as error:
            if not should_reduce_batch_size(error):
                raise
        else:
            return number
        finally:
            clear_device_cache(garbage_collection=True)
    raise ValueError(
        "Not even one clip fits into the accelerator's memory: try bf16=true or gradient_checkpointing=true"
    )


def try_step(trainer: Any, number: int) -> None:
    """Forward and backward pass of several copies of a large clip."""
    dataset = trainer.train_dataset
    model = trainer.model
    indices = range(0, len(dataset), max(1, len(dataset) // SAMPLE))
    clip = max((dataset[index] for index in indices), key=lambda clip: sum(f.width * f.height for f in clip["frames"]))
    reserve = [torch.empty_like(p) for p in model.parameters() if p.requires_grad for _ in range(RESERVED_COPIES)]
    try:
        with torch.random.fork_rng():
            model.train()
            inputs = trainer._prepare_inputs(trainer.data_collator([clip] * number))
            with trainer.accelerator.autocast():
                loss = model(**inputs)["loss"]
            loss.backward()
    finally:
        model.zero_grad(set_to_none=True)
        reserve.clear()

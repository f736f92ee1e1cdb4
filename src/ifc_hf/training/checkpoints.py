"""Checkpoints that are whole: enough disk for the next one, and none that a kill has cut off."""

import json
import os
import re
import shutil

from torch import nn
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

# AdamW keeps two float32 numbers per trained parameter.
OPTIMIZER_BYTES_PER_PARAMETER = 8
# State, logs, processor and code beside the tensors.
OTHER_BYTES = 4 << 20


def checkpoint_bytes(model: nn.Module, with_optimizer: bool) -> int:
    """About how many bytes a checkpoint takes."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if with_optimizer:
        size += OPTIMIZER_BYTES_PER_PARAMETER * sum(p.numel() for p in model.parameters() if p.requires_grad)
    return size + OTHER_BYTES


def check_disk_space(folder: str, needed_bytes: int) -> None:
    """Refuses to begin what would not fit.

    Raises:
        OSError: If fewer bytes are free where `folder` is or will be.
    """
    existing = os.path.abspath(folder)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes:
        raise OSError(
            f"Not enough disk for a checkpoint in {folder}: it needs about {needed_bytes / 1e6:.1f} MB, "
            f"{free_bytes / 1e6:.1f} MB are free. Free some, choose another output_dir, or set save_total_limit or "
            "save_only_model."
        )


def last_whole_checkpoint(output_dir: str) -> str | None:
    """The checkpoint of the most steps that was written to its end; None if there is none.

    The trainer writes its state last, so a checkpoint that was cut off has none, or half of one.
    """
    if not os.path.isdir(output_dir):
        return None
    pattern = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")
    matches = filter(None, map(pattern.fullmatch, os.listdir(output_dir)))
    for match in sorted(matches, key=lambda match: int(match[1]), reverse=True):
        folder = os.path.join(output_dir, match[0])
        try:
            with open(os.path.join(folder, TRAINER_STATE_NAME), encoding="utf-8") as stream:
                json.load(stream)
        except (OSError, ValueError):
            continue
        return folder
    return None

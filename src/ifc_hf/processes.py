"""Several processes that share the videos of one command, as `accelerate launch` or `torchrun` start them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")


class Processes:
    """The processes of this run; mostly that is one.

    Args:
        device: Where the model shall run; None: the accelerator, if there is one.

    Raises:
        ImportError: If there are several, and accelerate is not installed.
    """

    def __init__(self, device: str | None) -> None:
        self.state: Any = None
        self.device = device or default_device()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            try:
                from accelerate import PartialState
            except ImportError as error:
                raise ImportError('several processes need accelerate: pip install "ifc_hf[train]"') from error
            self.state = PartialState(cpu=self.device == "cpu")
            self.device = device or str(self.state.device)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that does what only one may do."""
        return self.state is None or self.state.is_main_process

    def share(self, items: Sequence[Item]) -> list[Item]:
        """The part of the items that falls to this process."""
        if self.state is None:
            return list(items)
        if not items:  # of nothing, accelerate makes no parts
            return []
        with self.state.split_between_processes(list(items)) as part:
            return list(part)

    def total(self, number: int) -> int:
        """The sum of a number of every process; waits for all."""
        if self.state is None:
            return number
        from accelerate.utils import gather_object

        return sum(gather_object([number]))


def default_device() -> str:
    """The accelerator, if there is one."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"

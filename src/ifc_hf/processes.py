"""Several processes that share the work of one command, and that end with it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import timedelta
from multiprocessing import context, get_context
from pathlib import Path
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")

PR_SET_PDEATHSIG = 1  # of Linux' prctl: the signal that a process gets when its parent has gone


class Processes:
    """The processes of this run; mostly that is one. Those that a launcher has started end with it.

    Args:
        device: Where the model shall run; None: the accelerator, if there is one.
        timeout_seconds: How long one waits for another before it takes it for lost.

    Raises:
        ImportError: If there are several, and accelerate is not installed.
    """

    def __init__(self, device: str | None, timeout_seconds: float) -> None:
        self.state: Any = None
        self.device = device or default_device()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            try:
                from accelerate import PartialState
            except ImportError as error:
                raise ImportError('several processes need accelerate: pip install "ifc_hf[train]"') from error
            end_with_launcher()
            self.state = PartialState(cpu=self.device == "cpu", timeout=timedelta(seconds=timeout_seconds))
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


def by_rank(work: Callable[[], Item]) -> list[Item]:
    """What every process makes, in the order of their ranks; each of them gets all of it.

    Args:
        work: Makes this process' part, a small object that can be pickled.

    Raises:
        ChildProcessError: On every process if one of them failed; that one raises its own error.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    if PartialState().num_processes == 1:
        return [work()]
    failure: Exception | None = None
    part: Item | None = None
    try:
        part = work()
    except Exception as error:  # the others wait for this process: first they shall know
        failure = error
    gathered = gather_object([(part, None if failure is None else f"{type(failure).__name__}: {failure}")])
    if failure is not None:
        raise failure
    for rank, (_, problem) in enumerate(gathered):
        if problem is not None:
            raise ChildProcessError(f"process {rank} failed: {problem}")
    return [made for made, _ in gathered]


def default_device() -> str:
    """The accelerator, if there is one."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def end_with_parent(parent_pid: int) -> None:
    """Lets this process end as soon as its parent has gone, even by SIGKILL. Works on Linux; elsewhere does nothing.

    Args:
        parent_pid: Of the process that started this one, itself or through a server of multiprocessing, which ends
            with it. If it has gone already, this one ends at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid and not Path(f"/proc/{parent_pid}").exists():  # it went before the line above
        os._exit(1)


def end_with_launcher() -> None:
    """Lets a process that torchrun (or `accelerate launch`, which uses it) has started end with torchrun."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent(os.getppid())


def become_worker(parent_pid: int) -> None:
    """Makes this process a worker: it ends with its parent, and leaves signals to the whole group to the parent.

    Ctrl-C reaches every process of a terminal, and Slurm's SIGTERM every process of a job. The parent decides what to
    do then, and for a checkpoint it needs its workers. A SIGTERM that comes from the parent itself ends the worker.

    Args:
        parent_pid: Of the process that started this one.
    """
    end_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_end, args=(parent_pid,), daemon=True).start()


def worker_context(start_method: str | None = None) -> context.BaseContext:
    """A context of multiprocessing whose processes don't meet a signal before `become_worker`.

    Args:
        start_method: "fork", "spawn", "forkserver", or None for the default of the platform.
    """
    quiet: Any = copy(get_context(start_method))
    quiet.Process = WORKERS[quiet.get_start_method()]
    return quiet


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Lets SIGINT and SIGTERM wait to the end of the block; a process that is started in it never gets them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


class _HeldBack:
    def start(self) -> None:
        """Starts the process with SIGINT and SIGTERM held back."""
        with signals_held_back():
            super().start()  # type: ignore[misc]


class SpawnWorker(_HeldBack, context.SpawnProcess):
    """A process that is spawned; here, because pickle looks classes up by their names."""


WORKERS: dict[str, type] = {"spawn": SpawnWorker}
if sys.platform != "win32":

    class ForkWorker(_HeldBack, context.ForkProcess):
        """A process that is forked."""

    class ForkServerWorker(_HeldBack, context.ForkServerProcess):
        """A process that a server forks."""

    WORKERS |= {"fork": ForkWorker, "forkserver": ForkServerWorker}


def _wait_for_end(parent_pid: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent_pid:
        pass
    os._exit(0)

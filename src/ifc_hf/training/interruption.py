"""Ctrl-C and SIGTERM during a training: a checkpoint first."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(KeyboardInterrupt):
    """A training that a signal ended; the message names the checkpoint.

    Attributes:
        exit_code: 128 and the signal's number, as shells have it: 130 after Ctrl-C.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class EvaluationInterrupted(Exception):  # noqa: N818 - no error
    """A signal came while a training was being scored: it ends with a checkpoint, without the score."""


class StopRequest:
    """Notes the signals that ask a training to stop, while it is entered as a context.

    A second signal of a process that trains alone takes effect at once. Launchers of several processes repeat the
    signal that the terminal has sent to all, and kill those that don't end.

    Attributes:
        signal_number: The signal that came, or None.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.signal_number: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self.signal_number = None
        if threading.current_thread() is threading.main_thread():  # Python hands signals to no other
            self._former = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    @property
    def is_active(self) -> bool:
        """Whether a training runs that can be stopped."""
        return bool(self._former)

    def came_to_any(self) -> bool:
        """Whether a signal has come to any of the processes; all of them have to ask at the same time."""
        own = self.signal_number or 0
        if self.accelerator.num_processes > 1:
            numbers = self.accelerator.gather(torch.tensor([own], device=self.accelerator.device))
            self.signal_number = int(numbers.max()) or None
        return self.signal_number is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None and self.accelerator.num_processes == 1:
            raise KeyboardInterrupt("interrupted twice: without a checkpoint of the last steps")
        self.signal_number = number


class StopAfterStep(TrainerCallback):
    """Ends the training with a checkpoint after the step in which a signal came."""

    def __init__(self, came_to_any: Callable[[], bool]) -> None:
        self.came_to_any = came_to_any

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The step is whole: weights, optimizer and random numbers can be saved."""
        if self.came_to_any():
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False


class ScoreWhatWasInterrupted(TrainerCallback):
    """Scores a resumed training first, if it was to be scored when a signal came: as if none had come.

    Args:
        score: Scores it, as the trainer does after a step.
    """

    def __init__(self, score: Callable[[], None]) -> None:
        self.score = score

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The checkpoint is loaded, but for the state of the random numbers."""
        is_scored = any(log["step"] == state.global_step and "eval_runtime" in log for log in state.log_history)
        if args.eval_strategy == IntervalStrategy.STEPS:
            is_due = state.global_step % state.eval_steps == 0
        else:
            is_due = args.eval_strategy == IntervalStrategy.EPOCH and state.epoch == int(state.epoch or 0)
        if state.global_step and is_due and not is_scored:
            self.score()

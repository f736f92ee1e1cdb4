"""What a person sees of a training: the schedule once, lines of the log, and the curves at the end."""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from transformers import ProgressCallback, TrainerControl, TrainerState

from ..files import whole_file
from .arguments import IfcTrainingArguments

TERMS = {"loss_ce": "class", "loss_mask": "mask", "loss_dice": "dice"}
SHOWN_SCORES = ("AP", "AP50", "AP75", "AR1", "AR10")


class TrainingLog(ProgressCallback):
    """Prints the schedule and readable lines, with a bar unless `disable_tqdm`; all numbers go to TensorBoard."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Says what is going to happen."""
        self.start_time, self.start_step = time.monotonic(), state.global_step
        if not args.disable_tqdm:
            super().on_train_begin(args, state, control, **kwargs)
        if state.is_world_process_zero:
            self.write(describe_schedule(args, state))

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Moves the bar, if there is one."""
        if self.training_bar is not None:
            super().on_step_end(args, state, control, **kwargs)

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,
        **kwargs: Any,
    ) -> None:
        """Writes one line."""
        if state.is_world_process_zero and (line := log_line(logs or {}, state, self.seconds_left(state))):
            self.write(line)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Closes the bar, if there is one."""
        if self.training_bar is not None:
            super().on_train_end(args, state, control, **kwargs)

    def seconds_left(self, state: TrainerState) -> float | None:
        """Until the last step, at the pace so far; None before there is one."""
        done = state.global_step - getattr(self, "start_step", state.global_step)
        if done <= 0:
            return None
        return (time.monotonic() - self.start_time) / done * (state.max_steps - state.global_step)

    def write(self, line: str) -> None:
        """To the standard output, above the bar."""
        if self.training_bar is not None:
            self.training_bar.write(line)
        else:
            print(line, flush=True)


def describe_schedule(args: IfcTrainingArguments, state: TrainerState) -> str:
    """Steps, clips and learning rates of a training that begins, in one line."""
    clips = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
    parts = f"{args.train_batch_size} at once, {args.world_size} processes, {args.gradient_accumulation_steps} in turn"
    rate = f"learning rate {args.learning_rate:g} (backbone {args.learning_rate * args.backbone_lr_factor:g})"
    drops = args.drop_steps(state.max_steps)
    if drops:
        schedule = ", ".join(f"x{args.lr_drop_factor:g} after step {step}" for step in drops)
        if drops[-1] >= state.max_steps:
            schedule += " (behind the last step)"
    else:
        schedule = f"schedule {args.schedule_name}"
    warmup = f"warm-up {args.get_warmup_steps(state.max_steps)} steps"
    return f"schedule: {state.max_steps} steps of {clips} clips ({parts}); {rate}, {warmup}, {schedule}"


def log_line(logs: Mapping[str, Any], state: TrainerState, seconds_left: float | None) -> str | None:
    """What a person wants to know of an entry of the log; None for other entries."""
    place = f"step {state.global_step}/{state.max_steps}"
    if "loss" in logs:
        terms = ", ".join(f"{name} {logs[key]:.3f}" for key, name in TERMS.items() if key in logs)
        left = f", {format_seconds(seconds_left)} left" if seconds_left is not None else ""
        return f"{place}: loss {logs['loss']:.3f} ({terms}), rate {logs.get('learning_rate', 0):.1e}{left}"
    if "train_runtime" in logs:
        return f"{place}: trained for {format_seconds(logs['train_runtime'])}, mean loss {logs['train_loss']:.3f}"
    prefixes = [key.removesuffix("_AP") for key in logs if key.endswith("_AP")]
    if prefixes:
        scores = ", ".join(f"{name} {logs[f'{prefixes[0]}_{name}']:.3f}" for name in SHOWN_SCORES)
        return f"{place}: {prefixes[0]} {scores} ({format_seconds(logs[f'{prefixes[0]}_runtime'])})"
    return None


def format_seconds(seconds: float) -> str:
    """As h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))


def plot_training(log_history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws the loss with its three terms, and the AP if it was measured, over the steps.

    Args:
        log_history: Of the trainer's state.
        path: PNG to write.

    Raises:
        ImportError: If matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('the picture of the curves needs matplotlib: pip install "ifc_hf[draw]"') from error

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for key, name in {"loss": "loss", **TERMS}.items():
        steps, values = curve(log_history, key)
        axes.plot(steps, values, label=name, linewidth=1)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    keys = sorted({key for entry in log_history for key in entry if key.endswith("_AP")})
    if keys:
        scores = axes.twinx()
        for key in keys:
            scores.plot(*curve(log_history, key), "o--", color="black", markersize=3, label=key)
        scores.set(ylabel="AP", ylim=(0, 1))
        scores.legend(loc="upper left")
    axes.legend(loc="upper right")
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def curve(log_history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of a number of the log."""
    entries = [entry for entry in log_history if key in entry]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]

"""Settings of a training run."""

import os
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from typing import Any

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments

WHOLE_VIDEOS = "whole videos are scored one after the other, and their masks never become one array"
NO_TOKENS = "the model has no tokens"
UNTESTED = "it is not tested with this model; use fsdp"
# Fields of `TrainingArguments` that nothing here would look at, or that would break the training, with the reason.
REFUSED = {
    "label_smoothing_factor": "the class loss takes the labels as they are",
    "use_liger_kernel": "there are no Liger kernels for this model",
    "liger_kernel_config": "there are no Liger kernels for this model",
    "use_cache": "the model keeps nothing from one call to the next",
    "neftune_noise_alpha": NO_TOKENS,
    "include_num_input_tokens_seen": NO_TOKENS,
    "optim_target_modules": "the optimizer's groups are the head and the backbone",
    "auto_find_batch_size": "it begins anew with trained weights; `ifc-hf train --batch auto` tries before step 1",
    "enable_jit_checkpoint": "SIGTERM and Ctrl-C make a checkpoint anyway",
    "per_device_eval_batch_size": WHOLE_VIDEOS,
    "prediction_loss_only": WHOLE_VIDEOS,
    "eval_accumulation_steps": WHOLE_VIDEOS,
    "eval_do_concat_batches": WHOLE_VIDEOS,
    "include_for_metrics": WHOLE_VIDEOS,
    "batch_eval_metrics": WHOLE_VIDEOS,
    "label_names": WHOLE_VIDEOS,
    "bf16_full_eval": "the evaluation runs in the precision of the weights",
    "fp16_full_eval": "the evaluation runs in the precision of the weights",
    "remove_unused_columns": "clips become inputs of the model in the collator",
    "length_column_name": "clips have no lengths to be grouped by",
    "deepspeed": UNTESTED,
    "parallelism_config": UNTESTED,
}
SAMPLING_BY_LENGTH = ("group_by_length", "batch_rebalance")


@dataclass
class IfcTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the authors' schedule as defaults.

    AdamW at 1e-4, the backbone at a tenth of it, weight decay 1e-4 on everything, the gradient norm of the whole model
    clipped to 0.01, and the learning rate divided by ten after two thirds of the steps. Every field of
    `TrainingArguments` works as usual or is refused (`REFUSED`); none is ignored.

    Attributes:
        backbone_lr_factor: Learning rate of the backbone relative to `learning_rate`.
        lr_drop_steps: When the learning rate is multiplied by `lr_drop_factor`: optimizer steps, or, below 1, shares
            of the training (as `warmup_steps` may be). None: one drop after two thirds of the training, as in all
            schedules of the authors; an empty list: no drop. With another `lr_scheduler_type` than
            "constant_with_warmup" there are no drops.
        lr_drop_factor: What a drop multiplies the learning rate by.
        early_stopping_patience: Stop after so many evaluations that did not better `metric_for_best_model`, and keep
            the best checkpoint. Sets `load_best_model_at_end`, and evaluates as often as it saves unless
            `eval_strategy` says otherwise.
        same_orientation: Clips that are padded to one size are all wider than high, or none of them is: less padding,
            so less memory.
        eval_num_frames: Window T of the evaluation; None: the model's `num_frames`.
        eval_clip_stride: Frames from one window of the evaluation to the next.
        eval_score_threshold: Tracks are reported under a class if its probability exceeds this.
        eval_multi_label: Report a track under every such class, or under the best alone.
    """

    learning_rate: float = field(default=1e-4)
    weight_decay: float = field(default=1e-4)
    max_grad_norm: float = field(default=0.01)
    lr_scheduler_type: str = field(default="constant_with_warmup")
    remove_unused_columns: bool = field(default=False)
    per_device_eval_batch_size: int = field(default=1)
    # All parameters take part in every step, also without any instance.
    ddp_find_unused_parameters: bool | None = field(default=False)
    metric_for_best_model: str | None = field(default="AP")
    greater_is_better: bool | None = field(default=True)

    backbone_lr_factor: float = field(default=0.1, metadata={"help": "Learning rate of the backbone, relative."})
    lr_drop_steps: list[float] | None = field(
        default=None, metadata={"help": "Steps or shares at which the learning rate drops; default: at two thirds."}
    )
    lr_drop_factor: float = field(default=0.1, metadata={"help": "What a drop multiplies the learning rate by."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better score."}
    )
    same_orientation: bool = field(default=False, metadata={"help": "Batches of wide or of tall frames alone."})
    eval_num_frames: int | None = field(default=None, metadata={"help": "Window of the evaluation, in frames."})
    eval_clip_stride: int = field(default=1, metadata={"help": "Frames from one window to the next in evaluation."})
    eval_score_threshold: float = field(default=0.01, metadata={"help": "Smallest class probability to report."})
    eval_multi_label: bool = field(default=True, metadata={"help": "Report a track under several classes."})

    def __post_init__(self) -> None:
        """Checks the fields that are new, and refuses those that would have no effect.

        Raises:
            ValueError: If one is out of its range, contradicts another, or would be ignored.
        """
        refuse_ignored(self)
        if self.early_stopping_patience is not None:
            self._prepare_early_stopping()
        self._join_processes_on_cpus()
        super().__post_init__()
        if self.backbone_lr_factor < 0:
            raise ValueError(f"backbone_lr_factor must not be negative, got {self.backbone_lr_factor}")
        if any(not step > 0 or (step > 1 and step != int(step)) for step in self.lr_drop_steps or ()):
            raise ValueError(
                f"lr_drop_steps must be positive, got {self.lr_drop_steps}: whole steps, or shares of the training "
                "below 1"
            )
        if self.lr_drop_steps and not self.drops_learning_rate:
            raise ValueError(
                f"lr_drop_steps={self.lr_drop_steps} and lr_scheduler_type={self.schedule_name!r} "
                "contradict each other: give one of them"
            )
        if self.same_orientation and self.train_sampling_strategy != "random":
            raise ValueError(
                f"same_orientation and train_sampling_strategy={self.train_sampling_strategy!r} contradict each other"
            )
        if self.lr_scheduler_kwargs and self.drops_learning_rate:
            raise ValueError(f"lr_scheduler_kwargs={self.lr_scheduler_kwargs} has no effect without lr_scheduler_type")

    @property
    def schedule_name(self) -> str:
        """`lr_scheduler_type` as a word; the field holds a member of an enumeration after the checks."""
        return str(getattr(self.lr_scheduler_type, "value", self.lr_scheduler_type))

    @property
    def drops_learning_rate(self) -> bool:
        """Whether the schedule is that of `lr_drop_steps` and not one of Transformers'."""
        return self.schedule_name == "constant_with_warmup"

    def drop_steps(self, num_training_steps: int) -> list[int]:
        """The steps after which the learning rate drops, ascending."""
        if not self.drops_learning_rate:
            return []
        drops = [2 / 3] if self.lr_drop_steps is None else self.lr_drop_steps
        return sorted(round(num_training_steps * drop) if drop < 1 else int(drop) for drop in drops)

    def _join_processes_on_cpus(self) -> None:
        """Lets processes on CPUs wait for each other for `ddp_timeout`, which Transformers heeds on GPUs alone."""
        on_cpus = self.use_cpu or parse_flag_from_env("ACCELERATE_USE_CPU")
        if on_cpus and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            # The group of processes that this makes outlives the state, which Transformers makes anew.
            PartialState(cpu=True, backend=self.ddp_backend, timeout=timedelta(seconds=self.ddp_timeout))

    def _prepare_early_stopping(self) -> None:
        if int(self.early_stopping_patience or 0) < 1:
            raise ValueError(f"early_stopping_patience must be at least 1, got {self.early_stopping_patience}")
        if str(getattr(self.save_strategy, "value", self.save_strategy)) == "no":
            raise ValueError("early_stopping_patience keeps the best checkpoint: save_strategy must not be 'no'")
        self.load_best_model_at_end = True
        if str(getattr(self.eval_strategy, "value", self.eval_strategy)) == "no":
            self.eval_strategy, self.eval_steps = self.save_strategy, self.save_steps


def refuse_ignored(args: IfcTrainingArguments) -> None:
    """Refuses what has another value than its default and would have no effect.

    Raises:
        ValueError: It names the field and says why.
    """
    for known in fields(args):
        if known.name in REFUSED and getattr(args, known.name) != default_of(known):
            raise ValueError(
                f"{known.name}={getattr(args, known.name)!r} is not supported: {REFUSED[known.name]}. Leave it out."
            )
    if args.train_sampling_strategy in SAMPLING_BY_LENGTH:
        raise ValueError(
            f"train_sampling_strategy={args.train_sampling_strategy!r} is not supported: clips have no lengths to be "
            "grouped by. Leave it out."
        )


def default_of(known: Any) -> Any:
    """Default of a dataclass' field."""
    return known.default if known.default_factory is MISSING else known.default_factory()

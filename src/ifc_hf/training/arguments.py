"""Settings of a training run."""

from dataclasses import dataclass, field

from transformers import TrainingArguments


@dataclass
class IfcTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the authors' schedule as defaults.

    AdamW at 1e-4, the backbone at a tenth of it, weight decay 1e-4 on everything, the gradient norm of the whole model
    clipped to 0.01, and the learning rate divided by ten after two thirds of the steps. Every field of
    `TrainingArguments` works as usual.

    Attributes:
        backbone_lr_factor: Learning rate of the backbone relative to `learning_rate`.
        lr_drop_steps: Optimizer steps after which the learning rate is multiplied by `lr_drop_factor`; None: one drop
            after two thirds of the training, as in all schedules of the authors; an empty list leaves the schedule to
            `lr_scheduler_type`. `warmup_steps` counts in either case.
        lr_drop_factor: What a drop multiplies the learning rate by.
        eval_num_frames: Window T of the evaluation; None: the model's `num_frames`.
        eval_clip_stride: Frames from one window of the evaluation to the next.
        eval_score_threshold: Tracks are reported under a class if its probability exceeds this.
        eval_multi_label: Report a track under every such class, or under the best alone.
    """

    learning_rate: float = field(default=1e-4)
    weight_decay: float = field(default=1e-4)
    max_grad_norm: float = field(default=0.01)
    remove_unused_columns: bool = field(default=False)
    # All parameters take part in every step, also without any instance.
    ddp_find_unused_parameters: bool | None = field(default=False)
    metric_for_best_model: str | None = field(default="AP")
    greater_is_better: bool | None = field(default=True)

    backbone_lr_factor: float = field(default=0.1, metadata={"help": "Learning rate of the backbone, relative."})
    lr_drop_steps: list[int] | None = field(
        default=None, metadata={"help": "Steps at which the learning rate drops; default: at two thirds."}
    )
    lr_drop_factor: float = field(default=0.1, metadata={"help": "What a drop multiplies the learning rate by."})
    eval_num_frames: int | None = field(default=None, metadata={"help": "Window of the evaluation, in frames."})
    eval_clip_stride: int = field(default=1, metadata={"help": "Frames from one window to the next in evaluation."})
    eval_score_threshold: float = field(default=0.01, metadata={"help": "Smallest class probability to report."})
    eval_multi_label: bool = field(default=True, metadata={"help": "Report a track under several classes."})

    def __post_init__(self) -> None:
        """Checks the fields that are new.

        Raises:
            ValueError: If one is out of its range.
        """
        super().__post_init__()
        if self.backbone_lr_factor < 0:
            raise ValueError(f"backbone_lr_factor must not be negative, got {self.backbone_lr_factor}")
        if self.lr_drop_steps is not None and any(step < 1 for step in self.lr_drop_steps):
            raise ValueError(f"lr_drop_steps must be positive, got {self.lr_drop_steps}")

    def drop_steps(self, num_training_steps: int) -> list[int]:
        """The steps after which the learning rate drops, ascending."""
        if self.lr_drop_steps is not None:
            return sorted(self.lr_drop_steps)
        return [round(num_training_steps * 2 / 3)]

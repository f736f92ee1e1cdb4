"""The model card of a training run: what the network is, how it was trained, how it scored."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.utils import HFValidationError, validate_repo_id
from transformers import TrainerState

from .template import SCORE_NAMES, eval_results_of, markdown_table, model_card, percent

if TYPE_CHECKING:
    from ..training.arguments import IfcTrainingArguments


def training_card(
    name: str,
    source: str,
    id2label: Mapping[int, str],
    args: "IfcTrainingArguments",
    state: TrainerState,
    num_frames: int | None,
    base_model: str | None = None,
    datasets: str | list[str] | None = None,
    **metadata: Any,
) -> str:
    """Text of the card.

    Args:
        name: Title.
        source: What `from_pretrained` takes.
        id2label: Name of every class.
        args: Of the training.
        state: Of the trainer, after the training.
        num_frames: T of the training clips, if they have one.
        base_model: Hub id of the weights that the training went on from, for the header and the text; of a folder or a
            file, the text has the last part of its name.
        datasets: Hub ids of the data; the scores are those of the first.
        **metadata: Further fields of `ModelCardData`.

    Returns:
        Markdown with a YAML header.
    """
    origin = ""
    if base_model and is_hub_id(base_model):
        origin = f", from the weights of [{base_model}](https://huggingface.co/{base_model}) on"
    elif base_model:
        origin = f", from the weights of `{Path(base_model).name}` on"
    dataset_ids = [datasets] if isinstance(datasets, str) else datasets or []
    results = []
    for dataset_id in dataset_ids[:1]:  # the Hub takes results only with the id of the data
        for prefix, scores in last_scores(state, best=args.load_best_model_at_end).items():
            results += eval_results_of(dataset_id, dataset_id, prefix, scores)
    return model_card(
        name,
        source,
        f"IFC for video instance segmentation: finds, outlines and follows the objects of {len(id2label)} classes. "
        f"Trained with `ifc_hf`{origin}.",
        [id2label[label] for label in sorted(id2label)],
        num_frames=num_frames or 1,
        scores=score_table(state, best=args.load_best_model_at_end),
        training=markdown_table(("setting", "value"), training_settings(args, state, num_frames)),
        eval_results=results,
        base_model=base_model if base_model and is_hub_id(base_model) else None,
        datasets=dataset_ids or None,
        **metadata,
    )


def is_hub_id(name: str) -> bool:
    """Whether a name can be that of a user's repository, and isn't a folder of this machine."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name and not Path(name).exists()


def score_table(state: TrainerState, best: bool) -> str:
    """The last evaluation, or that of the best checkpoint if this is what was kept; one row per data set."""
    step = scored_step(state, best)
    if step is None:
        return "Not measured during the training."
    rows = [
        (prefix, *(percent(scores[name] / 100) for name in SCORE_NAMES))
        for prefix, scores in last_scores(state, best).items()
    ]
    return f"Of whole videos, in percent, after step {step}:\n\n{markdown_table(('data', *SCORE_NAMES), rows)}"


def last_scores(state: TrainerState, best: bool) -> dict[str, dict[str, float]]:
    """Scores in percent by the name of the evaluation, "eval" if there is one; empty if nothing was scored."""
    step = scored_step(state, best)
    return {
        key.removesuffix("_AP"): {name: 100 * log[f"{key.removesuffix('_AP')}_{name}"] for name in SCORE_NAMES}
        for log in state.log_history
        for key in log
        if key.endswith("_AP") and log["step"] == step
    }


def scored_step(state: TrainerState, best: bool) -> int | None:
    """The step of the weights that were kept, if they were scored, else the last one that was."""
    steps = {int(log["step"]) for log in state.log_history if any(name.endswith("_AP") for name in log)}
    if best and state.best_global_step in steps:
        return state.best_global_step
    return max(steps, default=None)


def training_settings(
    args: "IfcTrainingArguments", state: TrainerState, num_frames: int | None
) -> list[tuple[str, object]]:
    """Name and value of what one needs to know to train alike."""
    clips = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    drops = [f"x{args.lr_drop_factor:g} after step {step}" for step in args.drop_steps(state.max_steps)]
    schedule = ", ".join(drops) or args.schedule_name
    optimizer = args.optim.value if isinstance(args.optim, Enum) else args.optim  # a string has no checks behind it
    return [
        ("steps", state.global_step),
        ("clips per step", clips),
        ("frames per clip", num_frames or "-"),
        ("learning rate", f"{args.learning_rate:g}; backbone {args.learning_rate * args.backbone_lr_factor:g}"),
        ("learning rate schedule", f"{schedule}; warm-up {args.get_warmup_steps(state.max_steps)} steps"),
        (
            "optimizer",
            f"{optimizer}, weight decay {args.weight_decay:g}, gradient norm up to {args.max_grad_norm:g}",
        ),
        ("precision", "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32"),
        ("seed", args.seed),
    ]

"""The model card of a training run: what the network is, how it was trained, how it scored."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from huggingface_hub.utils import HFValidationError, validate_repo_id
from transformers import TrainerState

from .arguments import IfcTrainingArguments
from .result_files import percent

# Tags, since the Hub has no pipeline tag for the task; `image-segmentation` would offer a widget for single images.
TAGS = ("video-instance-segmentation", "ifc")
SCORE_COLUMNS = ("AP", "AP50", "AP75", "AR1", "AR10")

TEMPLATE = """---
{metadata}
---

# {name}

A network for video instance segmentation: it finds, outlines and follows the objects of {num_classes} classes. The
architecture is IFC (*Video Instance Segmentation using Inter-Frame Communication Transformers*,
[arXiv 2106.03299](https://arxiv.org/abs/2106.03299)), trained with `ifc_hf`{origin}.

```python
from ifc_hf import IfcForVideoInstanceSegmentation, IfcImageProcessor, IfcVideoSegmenter

model = IfcForVideoInstanceSegmentation.from_pretrained("{source}")
processor = IfcImageProcessor.from_pretrained("{source}")
tracks = IfcVideoSegmenter(model, processor)(frames)  # any iterable of RGB frames
```

## Scores

{scores}

## Training

{settings}

## Classes

{classes}.
"""


def training_card(
    name: str,
    source: str,
    id2label: Mapping[int, str],
    args: IfcTrainingArguments,
    state: TrainerState,
    num_frames: int | None,
    base_model: str | None = None,
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
        base_model: Hub id of the model that the training went on from; anything else is left out.
        **metadata: Further fields of `ModelCardData`; `tags` are added to ours.

    Returns:
        Markdown with a YAML header.
    """
    base_model = base_model if is_hub_id(base_model) else None
    tags = [*TAGS, *(tag for tag in metadata.pop("tags", None) or () if tag not in TAGS)]
    data = ModelCardData(library_name="transformers", base_model=base_model, tags=tags, **metadata)
    classes = [id2label[label] for label in sorted(id2label)]
    return TEMPLATE.format(
        metadata=data.to_yaml(),
        name=name,
        num_classes=len(classes),
        origin=f", from the weights of [{base_model}](https://huggingface.co/{base_model}) on" if base_model else "",
        source=source,
        scores=score_table(state, best=args.load_best_model_at_end),
        settings=markdown_table(("setting", "value"), training_settings(args, state, num_frames)),
        classes=", ".join(classes),
    )


def is_hub_id(name: str | None) -> bool:
    """Whether a name can be that of a repository, and isn't a folder of this machine."""
    try:
        validate_repo_id(name or "")
    except HFValidationError:
        return False
    return not Path(str(name)).exists()


def score_table(state: TrainerState, best: bool) -> str:
    """The last evaluation, or that of the best checkpoint if this is what was kept; one row per data set."""
    steps = {log["step"] for log in state.log_history if any(name.endswith("_AP") for name in log)}
    if not steps:
        return "Not measured during the training."
    step = state.best_global_step if best and state.best_global_step in steps else max(steps)
    rows = []
    for log in state.log_history:
        for prefix in [key.removesuffix("_AP") for key in log if key.endswith("_AP") and log["step"] == step]:
            rows.append((prefix, *(percent(log[f"{prefix}_{column}"]) for column in SCORE_COLUMNS)))
    return f"Of whole videos, in percent, after step {step}:\n\n{markdown_table(('data', *SCORE_COLUMNS), rows)}"


def training_settings(
    args: IfcTrainingArguments, state: TrainerState, num_frames: int | None
) -> list[tuple[str, object]]:
    """Name and value of what one needs to know to train alike."""
    clips = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    drops = [f"x{args.lr_drop_factor:g} after step {step}" for step in args.drop_steps(state.max_steps)]
    schedule = args.lr_scheduler_type if args.lr_drop_steps == [] else ", ".join(drops)
    return [
        ("steps", state.global_step),
        ("clips per step", clips),
        ("frames per clip", num_frames or "-"),
        ("learning rate", f"{args.learning_rate:g}; backbone {args.learning_rate * args.backbone_lr_factor:g}"),
        ("learning rate schedule", f"{schedule}; warm-up {args.get_warmup_steps(state.max_steps)} steps"),
        ("optimizer", f"{args.optim}, weight decay {args.weight_decay:g}, gradient norm up to {args.max_grad_norm:g}"),
        ("precision", "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32"),
        ("seed", args.seed),
    ]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)

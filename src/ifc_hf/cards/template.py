"""Model cards: the one page that says what a checkpoint is, how to use it, how it was made, where it fails.

`model_card` writes every card of this package: of training runs (`training.model_card`), of converted checkpoints
(`conversion.model_card`), and of models that are pushed without one (`hub`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

# The Hub knows no tag for the task. This is the nearest one; the tags beside it say what it is. The task's own name
# has to be given to `pipeline`, which would otherwise take this one for it.
PIPELINE_TAG = "image-segmentation"
TAGS = ("video-instance-segmentation", "ifc")
SCORE_NAMES = ("AP", "AP50", "AP75", "AR1", "AR10")

LIMITATIONS = (
    "It knows the classes below and no others: other things are missed, or taken for one of these.",
    "Masks are predicted at an eighth of the resized frame, so thin parts and small objects come out coarse.",
    "An identity is kept from window to window; who is out of sight for longer than a window comes back as another.",
    "Of the objects of a crowd at most as many are found as the network has queries.",
    "It should not be used to identify or watch people, or where a missed object can do harm.",
)

TEMPLATE = """---
{metadata}
---

# {name}

{introduction}

## Use

```python
from transformers import pipeline

import ifc_hf  # makes the task known

pipe = pipeline("video-instance-segmentation", model="{source}")
for track in pipe("clip.mp4", num_frames={num_frames}, threshold=0.3):
    print(track["track_id"], track["label"], track["score"], track["boxes"][0])
```

Without the package the code beside the weights does the same, given PyAV, SciPy and pycocotools:

```python
from transformers import pipeline

pipe = pipeline("video-instance-segmentation", model="{source}", trust_remote_code=True)
tracks = pipe("clip.mp4", num_frames={num_frames})
```

`ifc-hf predict clip.mp4 -o results --model {source} --num-frames {num_frames}` writes the drawn video, too.

## Scores

{scores}

## Training

{training}

## Limitations

{limitations}

## Classes

{classes}.

## Source

Hwang, Heo, Oh, Kim: *Video Instance Segmentation using Inter-Frame Communication Transformers*, NeurIPS 2021,
[arXiv 2106.03299](https://arxiv.org/abs/2106.03299).
"""


def model_card(
    name: str,
    source: str,
    introduction: str,
    classes: Iterable[str],
    num_frames: int,
    scores: str,
    training: str,
    limitations: Sequence[str] = LIMITATIONS,
    eval_results: Sequence[EvalResult] = (),
    **metadata: Any,
) -> str:
    """Text of a card.

    Args:
        name: Title, and the model's name beside its results on the Hub.
        source: What `from_pretrained` takes: Hub id or folder.
        introduction: What it is, in a paragraph.
        classes: Names of the classes.
        num_frames: Frames T of a window in the usage code.
        scores: How well it does, in Markdown, with where the figures come from.
        training: How it was made, in Markdown.
        limitations: Where it fails, a sentence each.
        eval_results: The scores for the Hub's `model-index`, see `eval_results_of`.
        **metadata: Further fields of `ModelCardData`; `tags` are added to ours.

    Returns:
        Markdown with a YAML header.
    """
    tags = [*TAGS, *(tag for tag in metadata.pop("tags", None) or () if tag not in TAGS)]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=PIPELINE_TAG,
        tags=tags,
        metrics=list(SCORE_NAMES) if eval_results else None,
        model_name=name if eval_results else None,
        eval_results=list(eval_results) or None,
        **metadata,
    )
    return TEMPLATE.format(
        metadata=data.to_yaml(),
        name=name,
        introduction=introduction,
        source=source,
        num_frames=num_frames,
        scores=scores,
        training=training,
        limitations="\n".join(f"- {limitation}" for limitation in limitations),
        classes=", ".join(classes) or "Without names",
    )


def eval_results_of(
    dataset_id: str,
    dataset_name: str,
    split: str,
    scores: Mapping[str, float],
    config: str | None = None,
    source: tuple[str, str] | None = None,
) -> list[EvalResult]:
    """Scores of one data set as the Hub's `model-index` holds them.

    Args:
        dataset_id: Id as on the Hub: letters, digits, `_`, `-`, `.`, and at most one `/`.
        dataset_name: For people.
        split: Of the data set.
        scores: Percent by name; those of `SCORE_NAMES` are taken.
        config: What else tells this measurement from others on the same data.
        source: Name and address of who measured it, if it wasn't the maker of the card.

    Returns:
        One entry per score.
    """
    source_name, source_url = source or (None, None)
    return [
        EvalResult(
            task_type=PIPELINE_TAG,
            task_name="Video instance segmentation",
            dataset_type=dataset_id,
            dataset_name=dataset_name,
            dataset_split=split,
            dataset_config=config,
            metric_type=name,
            metric_name=name,
            metric_value=round(scores[name], 1),
            source_name=source_name,
            source_url=source_url,
        )
        for name in SCORE_NAMES
        if scores.get(name, -1) >= 0  # negative: there was nothing to score
    ]


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def percent(value: float) -> str:
    """A score in percent; a dash for the evaluator's -1, which means that there was nothing to score."""
    return "-" if value < 0 else f"{100 * value:.1f}"

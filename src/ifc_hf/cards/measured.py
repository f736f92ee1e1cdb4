"""Scores of a later evaluation, put into the card of a model folder."""

import re
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard

from ..files import write_text
from .published import DATASET_IDS, DATASET_TITLES
from .template import SCORE_NAMES, eval_results_of, markdown_table, percent

SECTION = re.compile(r"^## Scores\n\n(.*?)\n*(?=^## )", re.MULTILINE | re.DOTALL)


def add_scores(card_file: Path, data: str, split: str, num_frames: int, scores: Mapping[str, float]) -> bool:
    """Puts the scores of whole videos into a card's section "Scores" and its header.

    Scores of other data, splits and windows stay; those of the same are replaced.

    Args:
        card_file: The README.md of a model folder.
        data: Key of `DATASET_IDS`, or the name of another data set.
        split: Of the data.
        num_frames: Window T.
        scores: 0 to 1 by name, -1 where there was nothing to score; those of `SCORE_NAMES` are taken.

    Returns:
        Whether it was done; not if there is no card, or none with such a section.
    """
    if not card_file.is_file():
        return False
    card = ModelCard.load(card_file)
    section = SECTION.search(card.text)
    if section is None:
        return False
    title = f"{DATASET_TITLES.get(data, data)}, split {split}, whole videos in windows of {num_frames} frames"
    table = markdown_table(SCORE_NAMES, [[percent(scores[name]) for name in SCORE_NAMES]])
    block = f"{title}, in percent, measured by `ifc-hf evaluate`:\n\n{table}"
    former = re.compile(rf"^{re.escape(title)},[^\n]*\n\n(\|[^\n]*\n?)+", re.MULTILINE)
    kept = "" if section[1].startswith("Not measured") else former.sub("", section[1]).strip()
    text = "\n\n".join(part for part in (kept, block) if part)
    card.text = SECTION.sub(lambda _: f"## Scores\n\n{text}\n\n", card.text, count=1)
    dataset_id = DATASET_IDS.get(data) or re.sub(r"[^\w.-]+|^[.-]+|[.-]+$", "-", data).strip("-.") or "data"
    new = eval_results_of(
        dataset_id, DATASET_TITLES.get(data, data), split, {name: 100 * scores[name] for name in SCORE_NAMES},
        f"T={num_frames}",
    )  # fmt: skip
    card.data.model_name = card.data.model_name or card.text.strip().splitlines()[0].lstrip("# ")
    others = [result for result in card.data.eval_results or [] if key_of(result) not in set(map(key_of, new))]
    card.data.eval_results = [*others, *new]
    card.data.metrics = list(SCORE_NAMES)
    write_text(card_file, str(card))
    return True


def key_of(result: EvalResult) -> tuple[object, ...]:
    """What tells one measurement from another."""
    return result.dataset_type, result.dataset_split, result.dataset_config, result.metric_type

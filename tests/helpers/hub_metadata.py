"""What the Hub refuses in the header of a model card, as far as it is known.

Sources: the Hub's documentation of model cards (hub-docs, modelcard.md), its task list (the npm package
@huggingface/tasks 0.21.54) and the messages that it shows on pages with bad cards.
"""

import re
from typing import Any

import yaml

# Of the tasks those about pictures and videos.
PIPELINE_TAGS = {
    "any-to-any", "depth-estimation", "image-classification", "image-feature-extraction", "image-segmentation",
    "image-to-image", "image-to-video", "keypoint-detection", "mask-generation", "object-detection",
    "video-classification", "video-to-video", "zero-shot-image-classification", "zero-shot-object-detection",
}  # fmt: skip
LICENSES = {"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0", "other", "unknown"}
DATASET_ID = r"(?:[\w-]+/)?[\w\-.]+"


def metadata_errors(card: str) -> list[str]:
    """Complaints about a card's YAML header; empty if it is fine.

    Args:
        card: The whole README.md.
    """
    header = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    if header is None:
        return ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(header[1])
    except yaml.YAMLError as error:
        return [f"not YAML: {error}"]
    errors = []
    if data.get("pipeline_tag") not in {None, *PIPELINE_TAGS}:
        errors.append(f'"pipeline_tag" must be one of {sorted(PIPELINE_TAGS)}')
    if data.get("license") not in {None, *LICENSES}:
        errors.append(f'"license" must be one of {sorted(LICENSES)}')
    for field in ("tags", "datasets", "metrics"):
        value = data.get(field) or []
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            errors.append(f'"{field}" must be an array of strings')
    for dataset in data.get("datasets") or []:
        if not re.fullmatch(DATASET_ID, str(dataset)):
            errors.append(f'"datasets" with value "{dataset}" is not valid')
    for index, entry in enumerate(data.get("model-index") or []):
        errors += result_errors(f"model-index[{index}]", entry)
    return errors


def result_errors(where: str, entry: dict[str, Any]) -> list[str]:
    """Complaints about one model of `model-index`."""
    errors = [] if entry.get("name") else [f'"{where}.name" is required']
    for index, result in enumerate(entry.get("results") or []):
        place = f"{where}.results[{index}]"
        if not result.get("task", {}).get("type"):
            errors.append(f'"{place}.task.type" is required')
        dataset = result.get("dataset", {})
        if not re.fullmatch(DATASET_ID, str(dataset.get("type", ""))):
            errors.append(f'"{place}.dataset.type" with value "{dataset.get("type")}" fails to match the pattern')
        if not dataset.get("name"):
            errors.append(f'"{place}.dataset.name" is required')
        for metric in result.get("metrics") or [{}]:
            if not metric.get("type") or metric.get("value") is None:
                errors.append(f'"{place}.metrics" needs type and value')
    return errors

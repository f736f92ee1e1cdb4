"""Ready recipes: data, model and schedule of a training run, as JSON files beside this module."""

import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run but where its data are and where it writes.

    Attributes:
        description: What it is for, and why it differs from the authors' schedule if it does.
        data: `kind` ("video", "image" or "joint"), `version` of YouTube-VIS, `num_frames` T, and fields of
            `Augmentation` as `video_augmentation` and `image_augmentation`.
        model: For a new model `backbone_weights`, and fields of `IfcConfig` as `config`; `checkpoint_config` are those
            that replace the fields of a checkpoint that the training goes on from.
        training: Fields of `IfcTrainingArguments`.
        processor: Fields of `IfcImageProcessor`.
    """

    description: str
    data: dict[str, Any]
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)


def recipe_names() -> list[str]:
    """Names of the recipes of this package."""
    folder = files(__package__).joinpath("recipes")
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def load_recipe(name_or_path: str) -> Recipe:
    """Reads a recipe.

    Args:
        name_or_path: One of `recipe_names`, or a JSON file of the same form.

    Raises:
        ValueError: If there is no such recipe, or the file is none.
    """
    source: Any = Path(name_or_path)
    if name_or_path in recipe_names():
        source = files(__package__).joinpath("recipes", f"{name_or_path}.json")
    elif not source.is_file():
        raise ValueError(f"There is no recipe {name_or_path!r}: expected a JSON file or one of {recipe_names()}.")
    try:
        return Recipe(**json.loads(source.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source} is not a recipe: {error}") from error

"""Ready recipes: data, model and schedule of a training run, as JSON files beside this module."""

import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..files import JsonObject

# The authors' sizes of whole frames, in pixels.
VIDEO_SIZE = {"shortest_edge": 360, "longest_edge": 1333}
IMAGE_SIZE = {"shortest_edge": 800, "longest_edge": 1333}
TEST_SIZES = {"video": VIDEO_SIZE, "joint": VIDEO_SIZE, "image": IMAGE_SIZE}

# Names in the `data` of a recipe.
NEEDED = {"kind", "split", "num_frames"}
OPTIONAL = {
    "version", "eval_split", "batch_size", "video_augmentation", "image_augmentation",
    "image_split", "image_labels", "weights", "length",
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run but where its data are and where it writes.

    Attributes:
        description: What it is for, and why it differs from the authors' schedule if it does.
        data: `kind` ("video", "image" or "joint"), `version` of YouTube-VIS, `split`, `eval_split`, `num_frames` T,
            `batch_size` (clips per step over all processes), and fields of `Augmentation` as `video_augmentation` and
            `image_augmentation`. Joint training has `image_split`, `image_labels`, `weights` and `length` of
            `MixedClipDataset`, too.
        model: For a new model `backbone_weights`, and fields of `IfcConfig` as `config`; `checkpoint_config` are those
            that replace the fields of a checkpoint that the training goes on from. The model's `num_frames`, its
            default window, is that of the data unless one of these says otherwise.
        training: Fields of `IfcTrainingArguments`.
        processor: Fields of `IfcImageProcessor`. Without a `size` it is `TEST_SIZES` of the kind of data, whatever a
            checkpoint was made for.
    """

    description: str
    data: JsonObject
    model: JsonObject = field(default_factory=dict)
    training: JsonObject = field(default_factory=dict)
    processor: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the names in `data`.

        Raises:
            ValueError: If one is unknown or missing, or the kind is none of the three.
        """
        missing, unknown = sorted(NEEDED - self.data.keys()), sorted(self.data.keys() - NEEDED - OPTIONAL)
        if missing or unknown:
            raise ValueError(f"data: missing {missing}, unknown {unknown}; known are {sorted(NEEDED | OPTIONAL)}")
        if self.data["kind"] not in TEST_SIZES:
            raise ValueError(f"data: kind must be one of {sorted(TEST_SIZES)}, got {self.data['kind']!r}")


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

"""Training with Transformers' Trainer: arguments, trainer, recipes."""

from ..extras import require

require("training", "train", "accelerate")

from .arguments import IfcTrainingArguments  # noqa: E402 -- only now is it known that accelerate is there
from .models import build_model, load_backbone_weights  # noqa: E402
from .recipe import Recipe, load_recipe, recipe_names  # noqa: E402
from .trainer import IfcTrainer  # noqa: E402

__all__ = [
    "IfcTrainer",
    "IfcTrainingArguments",
    "Recipe",
    "build_model",
    "load_backbone_weights",
    "load_recipe",
    "recipe_names",
]

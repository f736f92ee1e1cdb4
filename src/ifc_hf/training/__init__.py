"""Training with Transformers' Trainer: arguments, trainer, recipes."""

from .arguments import IfcTrainingArguments
from .models import build_model, load_backbone_weights
from .recipe import Recipe, load_recipe, recipe_names
from .trainer import IfcTrainer

__all__ = [
    "IfcTrainer",
    "IfcTrainingArguments",
    "Recipe",
    "build_model",
    "load_backbone_weights",
    "load_recipe",
    "recipe_names",
]

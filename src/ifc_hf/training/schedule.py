"""The length of a training: what of a recipe's schedule goes with it."""

from collections.abc import Mapping
from typing import Any

from ..files import JsonObject

LENGTHS = ("max_steps", "num_train_epochs")


def with_length(recipe: Mapping[str, Any], overrides: Mapping[str, Any]) -> JsonObject:
    """Training arguments of a recipe with some replaced; if its length is, warm-up and drops keep their shares of it.

    Args:
        recipe: Fields of `IfcTrainingArguments`.
        overrides: Fields that replace them; what is given here is not scaled.

    Returns:
        The fields. `warmup_steps` and `lr_drop_steps` are shares of the training (below 1) where they were scaled.

    Raises:
        ValueError: If the overrides give the length twice.
    """
    given = [name for name in LENGTHS if name in overrides]
    if len(given) == 2:
        raise ValueError(
            f"max_steps={overrides['max_steps']} and num_train_epochs={overrides['num_train_epochs']}: "
            "give one of them"
        )
    settings = {**recipe, **overrides}
    if given == ["num_train_epochs"]:
        settings["max_steps"] = -1  # it would hold instead
    former_steps = recipe.get("max_steps", -1)
    if not given or former_steps <= 0:
        return settings

    def share(step: float) -> float:
        return step / former_steps if step >= 1 else step

    if "warmup_steps" in recipe and "warmup_steps" not in overrides:
        settings["warmup_steps"] = share(recipe["warmup_steps"])
    if recipe.get("lr_drop_steps") and "lr_drop_steps" not in overrides:
        settings["lr_drop_steps"] = [share(step) for step in recipe["lr_drop_steps"]]
    return settings

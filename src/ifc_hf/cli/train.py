"""`ifc-hf train`: one of the ready recipes, or one's own, on one process or many."""

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--recipe", required=True, help="name of a recipe, or a JSON file of that form")
    parser.add_argument("--data", help="folder of the videos (YouTube-VIS, OVIS, or any set in that format)")
    parser.add_argument("--coco", help="folder of COCO")
    parser.add_argument("--output", required=True, help="folder for checkpoints and the trained model")
    parser.add_argument("--checkpoint", help="IFC model (folder or Hub id) to go on from")
    parser.add_argument("--backbone-weights", help="ImageNet weights: Hub id, folder, .pth, .pkl, package")
    parser.add_argument("--split", help="split to train on, e.g. train_sub")
    parser.add_argument("--eval-split", help="split to score during the training, e.g. val_sub")
    parser.add_argument("--labels", help="JSON file: the data's class names to those wanted, null to leave out")
    parser.add_argument("--resume", action="store_true", help="go on from the last whole checkpoint in --output")
    parser.add_argument("--cache-dir", help="where the parsed annotations are kept")
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="NAME=VALUE", type=parse_setting, dest="settings",
        help="training arguments, e.g. learning_rate=5e-5 bf16=true report_to=tensorboard; the last of a name counts",
    )  # fmt: skip


def parse_setting(text: str) -> tuple[str, Any]:
    """`name=value`; the value is JSON, or else a string."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def run(args: argparse.Namespace) -> int:
    """Trains, in each of the processes that torchrun has started, or in this one alone.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        The exit code 0; what goes wrong is raised.
    """
    from dataclasses import replace

    from ..training import load_recipe
    from ..training.session import make_trainer

    recipe = load_recipe(args.recipe)
    splits = {"split": args.split, "eval_split": args.eval_split}
    recipe = replace(recipe, data=recipe.data | {name: split for name, split in splits.items() if split})
    trainer = make_trainer(
        recipe, args.output, args.data, args.coco, args.checkpoint, args.backbone_weights, args.labels,
        dict(args.settings), args.cache_dir,
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=args.resume)
    trainer.save_model()
    trainer.create_model_card()
    if trainer.is_world_process_zero():
        print(f"Wrote {args.output}")
    return 0

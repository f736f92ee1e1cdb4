"""`ifc-hf train`: one of the ready recipes, or one's own, on one process or many.

Ctrl-C and SIGTERM end it after the step at hand, with a checkpoint that `--resume` goes on from.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import JsonObject
from .arguments import add_invalid_annotations, positive_float, positive_int

if TYPE_CHECKING:
    from ..training import IfcTrainer

CURVE_FILE = "training.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--recipe", required=True, help="name of a recipe, or a JSON file of that form")
    parser.add_argument("--data", help="folder of the videos, in YouTube-VIS format (default: $DETECTRON2_DATASETS)")
    parser.add_argument("--coco", help="folder of COCO (default: $DETECTRON2_DATASETS)")
    parser.add_argument("--output", required=True, help="folder for checkpoints and the trained model")
    parser.add_argument("--checkpoint", help="IFC model to go on from: folder, Hub id, or demo: the shipped one")
    parser.add_argument(
        "--backbone-weights",
        help="ImageNet weights: .pkl (the authors' R-50.pkl), .pth, Hub id, folder, package; default: the recipe's",
    )
    parser.add_argument("--split", help="split to train on, e.g. train_sub")
    parser.add_argument("--eval-split", help="split to score during the training, e.g. val_sub")
    parser.add_argument("--labels", help="JSON file: the data's class names to those wanted, null to leave out")
    parser.add_argument("--epochs", type=positive_float, help="passes over the data, instead of the recipe's steps")
    parser.add_argument("--batch", type=batch, metavar="N|auto", help="clips at once on one device; auto: what fits")
    parser.add_argument("--patience", type=positive_int, help="stop after so many evaluations without a better AP")
    add_invalid_annotations(parser)
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


def batch(text: str) -> int | str:
    """Argument type: a whole number of at least 1, or "auto"."""
    return text if text == "auto" else positive_int(text)


def run(args: argparse.Namespace) -> int:
    """Trains, in each of the processes that torchrun has started, or in this one alone.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        The exit code: 0, or 128 and the number of the signal that ended the training. What goes wrong is raised.
    """
    from ..extras import require

    require("training", "train", "accelerate", "datasets")
    from dataclasses import replace

    from ..processes import end_with_launcher
    from ..training import load_recipe
    from ..training.batch_size import fit_batch_size
    from ..training.interruption import TrainingInterrupted
    from ..training.session import make_trainer

    end_with_launcher()
    recipe = load_recipe(args.recipe)
    splits = {"split": args.split, "eval_split": args.eval_split}
    recipe = replace(recipe, data=recipe.data | {name: split for name, split in splits.items() if split})
    if args.patience is not None and not recipe.data.get("eval_split"):
        raise ValueError("--patience needs a split to score: --eval-split")
    trainer = make_trainer(
        recipe, args.output, args.data, args.coco, args.checkpoint, args.backbone_weights, args.labels,
        training_settings(args, recipe.training), args.cache_dir, args.invalid_annotations,
    )  # fmt: skip
    if args.batch == "auto":
        fit_batch_size(trainer)
    try:
        trainer.train(resume_from_checkpoint=args.resume)
    except TrainingInterrupted as interruption:
        if trainer.is_world_process_zero():
            print(interruption, file=sys.stderr)
        return interruption.exit_code
    finish(trainer, Path(args.output))
    return 0


def training_settings(args: argparse.Namespace, recipe: JsonObject) -> JsonObject:
    """Training arguments of the command line, and what a command does that a library doesn't.

    Raises:
        ValueError: If an argument says what `--set` says as well.
    """
    from transformers.integrations import is_tensorboard_available

    settings = dict(args.settings)
    options = {
        "num_train_epochs": args.epochs,
        "per_device_train_batch_size": 1 if args.batch == "auto" else args.batch,
        "early_stopping_patience": args.patience,
    }
    for name, value in options.items():
        if value is not None and settings.setdefault(name, value) != value:
            raise ValueError(f"--set {name}={settings[name]} contradicts the command's argument")
    defaults = {
        "disable_tqdm": not sys.stderr.isatty(),  # a bar is no use in a file
        "report_to": "tensorboard" if is_tensorboard_available() else "none",
    }
    return {**{name: value for name, value in defaults.items() if name not in recipe}, **settings}


def finish(trainer: "IfcTrainer", output: Path) -> None:
    """Scores the trained model if that wasn't done, and writes it with its card and curves."""
    from ..training.progress import plot_training

    state = trainer.state
    kept_step = state.best_global_step if trainer.args.load_best_model_at_end else state.global_step
    is_scored = any(key.endswith("_AP") and log["step"] == kept_step for log in state.log_history for key in log)
    if trainer.eval_dataset is not None and not is_scored:
        trainer.evaluate()
    trainer.save_model()
    trainer.create_model_card()
    if trainer.is_world_process_zero():
        try:
            plot_training(state.log_history, output / CURVE_FILE)
        except ImportError as error:  # weights are there, so this is no failure
            print(f"no {CURVE_FILE}: {error}", file=sys.stderr)
        print(f"Wrote {output}")

"""A whole training run made of a recipe: data, model, arguments, trainer."""

import json
import logging
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Any, TypeAlias

import datasets
import numpy as np
from transformers import set_seed

from ..checkpoints import find_checkpoint
from ..data.augmentation import IMAGE_AUGMENTATION, VIDEO_AUGMENTATION, Augmentation
from ..data.clips import ClipDataset, ImageClipDataset, MixedClipDataset, VideoClipDataset
from ..data.coco import load_coco
from ..data.labels import classes_without_tracks, has_annotations, id2label, map_labels, shorten
from ..data.layout import existing_root
from ..data.ytvis import load_ytvis
from ..model.image_processing_ifc import IfcImageProcessor
from .arguments import IfcTrainingArguments
from .models import build_model
from .recipe import TEST_SIZES, Recipe
from .schedule import with_length
from .trainer import IfcTrainer

logger = logging.getLogger(__name__)
# What the weights of a backbone expect of their pixels.
PIXEL_FORM = ("do_flip_channel_order", "image_mean", "image_std", "rescale_factor")


def make_trainer(
    recipe: Recipe,
    output_dir: str,
    data_root: str | None = None,
    coco_root: str | None = None,
    checkpoint: str | None = None,
    backbone_weights: str | None = None,
    labels: str | Mapping[str, str | None] | None = None,
    overrides: Mapping[str, Any] | None = None,
    cache_dir: str | None = None,
    invalid_annotations: str = "error",
) -> IfcTrainer:
    """Prepares a training run: everything that can be wrong with data or settings is found here.

    Args:
        recipe: What to train on, which model, which schedule.
        output_dir: Where checkpoints go.
        data_root: Folder of the videos, see `load_ytvis`; default: the environment's DETECTRON2_DATASETS.
        coco_root: Folder of the images, see `load_coco`; default: the same.
        checkpoint: IFC model to go on from: folder, Hub id, or "demo" for the shipped one.
        backbone_weights: Instead of those of the recipe; not used with a checkpoint.
        labels: Map from the classes of the data to those wanted, see `map_labels`.
        overrides: Fields of `IfcTrainingArguments` that replace those of the recipe.
        cache_dir: Where `datasets` keeps the rows.
        invalid_annotations: "error", or "drop" those that can't be used, see `load_ytvis`.

    Returns:
        The trainer, ready to train.

    Raises:
        ValueError: If the recipe, the data or an override is wrong.
    """
    args = make_arguments(recipe, output_dir, overrides or {})
    # One process parses and caches the annotations, the others read the cache.
    with args.main_process_first(local=False, desc="reading the data"):
        train_rows, eval_rows = load_rows(recipe, data_root, coco_root, labels, cache_dir, invalid_annotations)
    if backbone_weights is None and checkpoint is None:
        backbone_weights = recipe.model.get("backbone_weights")
    begins_from = checkpoint or backbone_weights
    checkpoint = find_checkpoint(checkpoint) if checkpoint else None
    set_seed(args.seed)  # before the new weights are drawn
    config = config_fields(recipe, checkpoint)
    model = build_model(checkpoint, id2label(train_rows[0][1]), backbone_weights, **config)
    trainer = IfcTrainer(
        model=model,
        args=args,
        train_dataset=make_clips(recipe, train_rows, args.seed),
        eval_dataset=eval_rows,
        processing_class=make_processor(recipe, checkpoint),
    )
    trainer.begins_from = begins_from
    return trainer


def make_arguments(recipe: Recipe, output_dir: str, overrides: Mapping[str, Any]) -> IfcTrainingArguments:
    """Arguments of a recipe; gradient accumulation makes up for the processes that are missing to its batch size.

    Another length (`max_steps`, `num_train_epochs`) takes warm-up and drops of the learning rate along.

    Raises:
        ValueError: If an override is no field, or the processes don't divide the batch size.
    """
    known = {field.name for field in fields(IfcTrainingArguments)}
    settings = with_length(recipe.training, overrides)
    unknown = sorted(set(settings) - known)
    if unknown:
        raise ValueError(f"{unknown} are no training arguments (see IfcTrainingArguments)")
    args = IfcTrainingArguments(output_dir=output_dir, **settings)
    batch_size = recipe.data.get("batch_size")
    if batch_size is not None and "gradient_accumulation_steps" not in overrides:
        at_once = args.train_batch_size * args.world_size
        if batch_size % at_once:
            raise ValueError(
                f"The recipe has {batch_size} clips per step, which {args.world_size} processes of "
                f"{args.train_batch_size} clips can't make up: set per_device_train_batch_size, or "
                "gradient_accumulation_steps to give the batch size up."
            )
        args.gradient_accumulation_steps = batch_size // at_once
    return args


Rows: TypeAlias = "list[tuple[str, datasets.Dataset]]"


def load_rows(
    recipe: Recipe,
    data_root: str | None,
    coco_root: str | None,
    labels: str | Mapping[str, str | None] | None = None,
    cache_dir: str | None = None,
    invalid_annotations: str = "error",
) -> tuple[Rows, datasets.Dataset | None]:
    """Rows to train on, each with "video" or "image", and rows to evaluate on."""
    data, kind = recipe.data, recipe.data["kind"]
    settings: dict[str, Any] = {"cache_dir": cache_dir, "invalid_annotations": invalid_annotations}
    train_rows: list[tuple[str, Any]] = []
    eval_rows: Any = None
    if kind in ("video", "joint"):
        root = existing_root(data_root, "--data for the videos of this recipe")
        load = partial(load_ytvis, root, data.get("version"), **settings)
        train_rows.append(("video", load(split=data["split"])))
        if data.get("eval_split"):
            eval_rows = load(split=data["eval_split"])
            warn_of_missing_classes(eval_rows, data["eval_split"])
        if labels is not None:
            train_rows = [(name, map_labels(rows, labels)) for name, rows in train_rows]
            eval_rows = None if eval_rows is None else map_labels(eval_rows, labels)
    if kind in ("image", "joint"):
        root = existing_root(coco_root, "--coco for the images of this recipe")
        images = load_coco(root, data["split"] if kind == "image" else data["image_split"], **settings)
        image_labels = labels if kind == "image" else data["image_labels"]
        if image_labels is not None:
            wanted = list(id2label(train_rows[0][1]).values()) if train_rows else None
            images = map_labels(images, image_labels, wanted)
        train_rows.append(("image", images))
    for name, rows in [*train_rows, *([("evaluation", eval_rows)] if eval_rows is not None else [])]:
        if not has_annotations(rows):
            file = json.loads(rows.info.description)["file"]
            raise ValueError(f"{file} has no annotations, so it can't be used for training or scoring ({name} data).")
    return train_rows, eval_rows


def warn_of_missing_classes(rows: datasets.Dataset, split: str) -> None:
    """Says which classes a split can't score for want of a track."""
    missing = classes_without_tracks(rows)
    if missing and len(missing) < len(id2label(rows)):
        advice = "; `ifc-hf dataset hold-out` writes one that has them" if split == "val_sub" else ""
        logger.warning("split %r has no track of %s: their AP can't be measured%s", split, shorten(missing), advice)


def config_fields(recipe: Recipe, checkpoint: str | None) -> dict[str, Any]:
    """Fields of `IfcConfig` that the recipe sets in a new model, or changes in that of a checkpoint."""
    fields_of_model = recipe.model.get("checkpoint_config" if checkpoint else "config", {})
    return {"num_frames": recipe.data["num_frames"], **fields_of_model}


def make_augmentation(recipe: Recipe, kind: str) -> Augmentation:
    """What changes at random in the videos or images of a recipe."""
    defaults = VIDEO_AUGMENTATION if kind == "video" else IMAGE_AUGMENTATION
    return Augmentation(**{**vars(defaults), **recipe.data.get(f"{kind}_augmentation", {})})


def make_clips(recipe: Recipe, train_rows: Rows, seed: int) -> ClipDataset:
    """Training clips of the rows, as the recipe says."""
    data = recipe.data
    parts: list[ClipDataset] = []
    for kind, rows in train_rows:
        clip_class = VideoClipDataset if kind == "video" else ImageClipDataset
        parts.append(clip_class(rows, data["num_frames"], make_augmentation(recipe, kind), seed))
    if len(parts) == 1:
        return parts[0]
    return MixedClipDataset(parts, data.get("weights"), data.get("length"), seed)


def make_processor(recipe: Recipe, checkpoint: str | None) -> IfcImageProcessor:
    """The processor of the recipe; what it doesn't say is the checkpoint's, but for the size.

    Raises:
        ValueError: If the recipe feeds pixels in another form than the checkpoint's weights expect.
    """
    settings = {"size": TEST_SIZES[recipe.data["kind"]], **recipe.processor}
    if checkpoint is None:
        return IfcImageProcessor(**settings)
    processor = IfcImageProcessor.from_pretrained(checkpoint)
    for name in PIXEL_FORM:
        expected = getattr(processor, name)
        if not np.allclose(settings.get(name, expected), expected):
            raise ValueError(
                f"The recipe's {name} is {settings[name]}, but {checkpoint} was trained with {expected}: take a "
                "recipe for its backbone."
            )
    return IfcImageProcessor.from_pretrained(checkpoint, **settings)

"""Recipes: what they hold, how they stand to the authors' configurations, what they make of a checkpoint."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from ifc_hf import IfcConfig, IfcImageProcessor
from ifc_hf.checkpoints import find_checkpoint
from ifc_hf.data.augmentation import MAX_LONGER_SIDE
from ifc_hf.data.class_names import CLASS_NAMES
from ifc_hf.data.clips import MAX_FRAME_DISTANCE
from ifc_hf.data.orientation import OrientationSampler
from ifc_hf.data.synthetic import write_synthetic_coco, write_synthetic_ytvis
from ifc_hf.loading import load_config
from ifc_hf.training import IfcTrainingArguments, load_backbone_weights, load_recipe, recipe_names
from ifc_hf.training.recipe import Recipe
from ifc_hf.training.session import (
    config_fields,
    load_rows,
    make_arguments,
    make_augmentation,
    make_processor,
    make_trainer,
)
from paths import ROOT
from tiny_training import tiny_model

AUTHORS = json.loads((Path(__file__).parent / "authors_values.json").read_text(encoding="utf-8"))
CONFIGS = "projects/IFC/configs/"
# The files that give a value, the first that has it. `cpu_small` has no counterpart.
BASES = {
    "coco": ["base_coco.yaml"],
    "coco_r101": ["R101_coco.yaml", "base_coco.yaml"],
    "ytvis_2019": ["base_ytvis.yaml"],
    "ytvis_2019_r101": ["R101_ytvis.yaml", "base_ytvis.yaml"],
    "ytvis_2019_one_gpu": ["base_ytvis.yaml"],
    "ytvis_2021": ["base_ytvis.yaml"],
    "ovis": ["base_ytvis.yaml"],
    "joint_2019": ["base_ytvis.yaml"],
}
AUTHORS_OWN = ("coco", "coco_r101", "ytvis_2019", "ytvis_2019_r101")
DOCS = ROOT / "docs" / "recipes.md"
ON_CPU = {"use_cpu": True, "report_to": "none"}


@cache
def values_of(name: str) -> dict[str, Any]:
    """What a recipe comes to, by the names of the authors' configuration."""
    recipe = load_recipe(name)
    args = make_arguments(recipe, "unused", ON_CPU)
    config = IfcConfig(num_labels=2, **config_fields(recipe, None))
    processor = make_processor(recipe, None)
    is_video = recipe.data["kind"] != "image"
    augmentation = make_augmentation(recipe, "video" if is_video else "image")
    to_255 = [1 if processor.rescale_factor == 1 else 255] * 3
    values = {
        "MODEL.WEIGHTS": recipe.model.get("backbone_weights", "--checkpoint"),
        "MODEL.PIXEL_MEAN": [round(m * f, 3) for m, f in zip(processor.image_mean, to_255, strict=True)],
        "MODEL.PIXEL_STD": [round(s * f, 3) for s, f in zip(processor.image_std, to_255, strict=True)],
        "MODEL.RESNETS.DEPTH": 2 + 3 * sum(config.backbone_config.depths),
        "MODEL.RESNETS.STRIDE_IN_1X1": config.backbone_config.downsample_in_bottleneck,
        "MODEL.BACKBONE.FREEZE_AT": config.frozen_backbone_stages,
        "MODEL.IFC.NUM_CLASSES": len(CLASS_NAMES["ytvis_2019" if is_video else "coco"]),
        "MODEL.IFC.MASK_WEIGHT": config.mask_loss_coefficient,
        "MODEL.IFC.DICE_WEIGHT": config.dice_loss_coefficient,
        "MODEL.IFC.DEEP_SUPERVISION": config.auxiliary_loss,
        "MODEL.IFC.NO_OBJECT_WEIGHT": config.no_object_coefficient,
        "MODEL.IFC.MASK_STRIDE": config.mask_target_stride,
        "MODEL.IFC.MATCH_STRIDE": config.mask_target_stride,
        "MODEL.IFC.NHEADS": config.num_attention_heads,
        "MODEL.IFC.DROPOUT": config.dropout,
        "MODEL.IFC.DIM_FEEDFORWARD": config.intermediate_size,
        "MODEL.IFC.ENC_LAYERS": config.encoder_layers,
        "MODEL.IFC.DEC_LAYERS": config.decoder_layers,
        "MODEL.IFC.PRE_NORM": config.pre_norm,
        "MODEL.IFC.NUM_MEMORY_BUS": config.num_memory_tokens,
        "MODEL.IFC.HIDDEN_DIM": config.hidden_size,
        "MODEL.IFC.NUM_OBJECT_QUERIES": config.num_queries,
        "MODEL.IFC.CLIP_STRIDE": args.eval_clip_stride,
        "MODEL.IFC.MULTI_CLS_ON": args.eval_multi_label,
        "MODEL.IFC.APPLY_CLS_THRES": args.eval_score_threshold,
        "SOLVER.IMS_PER_BATCH": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        "SOLVER.BASE_LR": args.learning_rate,
        "SOLVER.BACKBONE_MULTIPLIER": args.backbone_lr_factor,
        "SOLVER.OPTIMIZER": "ADAMW" if args.optim.startswith("adamw") else args.optim,
        "SOLVER.WEIGHT_DECAY": args.weight_decay,
        "SOLVER.MAX_ITER": args.max_steps,
        "SOLVER.STEPS": args.drop_steps(args.max_steps),
        "SOLVER.GAMMA": args.lr_drop_factor,
        "SOLVER.WARMUP_ITERS": args.get_warmup_steps(args.max_steps),
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": args.max_grad_norm,
        "INPUT.FORMAT": "BGR" if processor.do_flip_channel_order else "RGB",
        "INPUT.SAMPLING_FRAME_NUM": config.num_frames,
        "INPUT.SAMPLING_FRAME_RANGE": MAX_FRAME_DISTANCE,
        "INPUT.MIN_SIZE_TRAIN": list(augmentation.shorter_sides),
        "INPUT.MAX_SIZE_TRAIN": MAX_LONGER_SIDE,
        "INPUT.MIN_SIZE_TEST": processor.size.shortest_edge,
        "INPUT.MAX_SIZE_TEST": processor.size.longest_edge,
        "INPUT.CROP.ENABLED": augmentation.crop_range is not None,
        "INPUT.CROP.SIZE": augmentation.crop_range and list(augmentation.crop_range),
        "DATALOADER.ASPECT_RATIO_GROUPING": args.same_orientation,
        "DATALOADER.NUM_WORKERS": args.dataloader_num_workers,
    }  # fmt: skip
    assert recipe.data["num_frames"] == config.num_frames
    return values


def authors_value(recipe: str, key: str) -> tuple[Any, str] | None:
    """The authors' value and where it is written; None if their configuration doesn't have it."""
    bases = [CONFIGS + base for base in BASES[recipe]]
    for file in [*bases, "projects/IFC/ifc/config.py", "detectron2/config/defaults.py"]:
        if key in AUTHORS[file]:
            entry = AUTHORS[file][key]
            return entry["value"], Path(file).name + (f":{entry['line']}" if entry["line"] else "")
    return None


def differences() -> dict[tuple[str, str], tuple[Any, Any]]:
    """The authors' value and ours, by recipe and key, where they are not equal."""
    return {
        (recipe, key): (theirs[0], ours)
        for recipe in BASES
        for key, ours in values_of(recipe).items()
        if (theirs := authors_value(recipe, key)) is not None and theirs[0] != ours
    }


def shown(value: Any) -> str:
    """A value as the tables of the documentation show it; steps of sizes are shortened."""
    if isinstance(value, list) and len(value) > 3:
        return f"{value[0]}, {value[1]}, ..., {value[-1]}"
    if isinstance(value, list):
        return ", ".join(map(shown, value)) or "none"
    return f"{value:,}" if type(value) is int else str(value)


def value_table() -> str:
    """Every value of the authors' own four configurations, with where it is written."""
    lines = ["| value | " + " | ".join(f"`{name}`" for name in AUTHORS_OWN) + " |", "|---" * 5 + "|"]
    for key in values_of("coco"):
        cells = []
        for recipe in AUTHORS_OWN:
            theirs = authors_value(recipe, key)
            mark = " (here: see below)" if (recipe, key) in differences() else ""
            cells.append("" if theirs is None else f"{shown(theirs[0])} ({theirs[1]}){mark}")
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def documented_differences() -> dict[tuple[str, str], tuple[str, str, str]]:
    """The authors' value, ours and the reason, by recipe and key, as the documentation lists them."""
    section = DOCS.read_text(encoding="utf-8").partition("## Where they differ")[2]
    rows = re.findall(r"^\| (.+?) \| ([A-Z_.]+) \| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    return {
        (recipe, key): (theirs, ours, reason)
        for recipes, key, theirs, ours, reason in rows
        for recipe in re.findall(r"`(\w+)`", recipes)
    }


def test_every_value_is_documented_beside_the_authors():
    assert value_table() in DOCS.read_text(encoding="utf-8")


def test_every_difference_from_the_authors_has_its_reason():
    documented = documented_differences()
    found = {where: (shown(theirs), shown(ours)) for where, (theirs, ours) in differences().items()}
    assert {where: values[:2] for where, values in documented.items()} == found
    assert all(len(reason.split()) >= 3 for *_, reason in documented.values())


def test_all_recorded_values_are_compared():
    recorded = {key for values in AUTHORS.values() for key in values}
    behaviour = {  # constants of the code, with tests of their own
        "INPUT.AUGMENTATIONS", "INPUT.CROP.TYPE", "INPUT.MIN_SIZE_TRAIN_SAMPLING", "INPUT.RANDOM_FLIP",
        "INPUT.SAMPLING_FRAME_SHUFFLE", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "SOLVER.WARMUP_FACTOR",
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS",
    }  # fmt: skip
    assert recorded - set(values_of("coco")) == behaviour


@pytest.mark.parametrize("name", recipe_names())
def test_ready_recipes_can_be_made(name):
    recipe, values = load_recipe(name), values_of(name)
    assert values["SOLVER.IMS_PER_BATCH"] == recipe.data["batch_size"]
    assert {"shortest_edge", "longest_edge"} <= recipe.processor["size"].keys(), "a recipe says its sizes"


def test_one_gpu_sees_as_many_clips_at_the_scaled_rate():
    one_gpu, eight = load_recipe("ytvis_2019_one_gpu"), load_recipe("ytvis_2019")
    clips = [recipe.data["batch_size"] * recipe.training["max_steps"] for recipe in (one_gpu, eight)]
    assert clips[0] == clips[1] and one_gpu.training["learning_rate"] == 1e-4 * (4 / 16) ** 0.5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "video", "split": "train", "num_frames": 2, "batchsize": 3}, r"unknown \['batchsize'\]"),
        ({"kind": "video", "split": "train"}, r"missing \['num_frames'\]"),
        ({"kind": "film", "split": "train", "num_frames": 2}, "kind must be one of .*, got 'film'"),
    ],
)
def test_recipes_with_wrong_names_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        Recipe("for a test", data)


@pytest.fixture
def coco_checkpoint(tmp_path):
    """As the image stage leaves it: windows of one frame, images of 800 pixels."""
    tiny_model(num_frames=1).save_pretrained(tmp_path / "coco_model")
    IfcImageProcessor(size={"shortest_edge": 800, "longest_edge": 1333}).save_pretrained(tmp_path / "coco_model")
    return str(tmp_path / "coco_model")


def trainer_of(name, tmp_path, checkpoint):
    recipe = load_recipe(name) if isinstance(name, str) else name
    data = write_synthetic_ytvis(tmp_path / "data", num_videos=1, num_frames=2, size_hw=(32, 48))
    images = write_synthetic_coco(tmp_path / "coco", num_images=1)
    if recipe.data["kind"] == "joint":
        recipe = Recipe(recipe.description, recipe.data | {"image_labels": {"circle": "circle"}}, recipe.model,
                        recipe.training, recipe.processor)  # fmt: skip
    return make_trainer(
        recipe, str(tmp_path / "out"), str(data), str(images), checkpoint,
        overrides={**ON_CPU, "save_strategy": "no"}, cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["ytvis_2019", "ytvis_2021", "ytvis_2019_one_gpu", "ovis", "joint_2019"])
def test_video_recipes_turn_an_image_checkpoint_into_a_video_model(name, tmp_path, coco_checkpoint):
    trainer = trainer_of(name, tmp_path, coco_checkpoint)
    assert trainer.model.config.num_frames == trainer.train_dataset.num_frames == 5
    assert dict(trainer.processing_class.size) == {"shortest_edge": 360, "longest_edge": 1333}


def test_the_image_recipe_turns_a_video_checkpoint_into_an_image_model(tmp_path):
    tiny_model(num_frames=5).save_pretrained(tmp_path / "video_model")
    IfcImageProcessor().save_pretrained(tmp_path / "video_model")
    trainer = trainer_of("coco", tmp_path, str(tmp_path / "video_model"))
    assert trainer.model.config.num_frames == 1 and trainer.processing_class.size.shortest_edge == 800


def test_own_recipes_get_the_frames_and_sizes_of_their_kind(tmp_path, coco_checkpoint):
    recipe = Recipe("own", {"kind": "video", "split": "train", "num_frames": 3})
    trainer = trainer_of(recipe, tmp_path, coco_checkpoint)
    assert trainer.model.config.num_frames == 3 and trainer.processing_class.size.shortest_edge == 360
    recipe = Recipe("own", recipe.data, {"checkpoint_config": {"num_frames": 9}})
    assert config_fields(recipe, coco_checkpoint)["num_frames"] == 9


def test_a_recipe_for_other_pixels_than_the_checkpoint_expects_is_refused(tmp_path, coco_checkpoint):
    with pytest.raises(ValueError, match=r"The recipe's do_flip_channel_order is True, but .*coco_model"):
        trainer_of("ytvis_2019_r101", tmp_path, coco_checkpoint)
    msra = make_processor(load_recipe("coco_r101"), None)
    msra.save_pretrained(coco_checkpoint)
    for name in ("ytvis_2019_r101", "ytvis_2019"):
        processor = make_processor(load_recipe(name), coco_checkpoint)
        assert processor.do_flip_channel_order and list(processor.image_std) == [1.0, 1.0, 1.0]
        assert processor.size.shortest_edge == 360


@pytest.mark.parametrize(
    ("begins_from", "base_model", "text"),
    [
        ("someone/ifc-coco", "someone/ifc-coco", "[someone/ifc-coco](https://huggingface.co/someone/ifc-coco)"),
        ("runs/coco", None, "`coco`"),
        ("R-50.pkl", None, "`R-50.pkl`"),
        ("demo", None, "`demo`"),
    ],
)
def test_the_card_says_where_the_training_began(tmp_path, coco_checkpoint, monkeypatch, begins_from, base_model, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "coco").mkdir(parents=True)
    trainer = trainer_of("ytvis_2019", tmp_path, coco_checkpoint)
    assert trainer.begins_from == coco_checkpoint
    trainer.begins_from = begins_from
    trainer.create_model_card()
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.base_model == base_model and f"from the weights of {text} on" in card.text


def test_the_shipped_checkpoint_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe("own", {"kind": "video", "split": "train", "num_frames": 3})
    trainer = trainer_of(recipe, tmp_path, "demo")
    assert trainer.model.config.num_queries == load_config("demo").num_queries == 10
    assert trainer.begins_from == "demo"
    (tmp_path / "demo").mkdir()
    assert find_checkpoint("demo") == "demo", "a folder of that name goes first"


def test_the_folder_of_detectron2_is_the_default(tmp_path, monkeypatch, coco_checkpoint):
    write_synthetic_ytvis(tmp_path / "datasets" / "ytvis_2019", num_videos=2, num_frames=2, size_hw=(32, 48))
    write_synthetic_coco(tmp_path / "datasets" / "coco", num_images=3)
    with pytest.raises(ValueError, match="give --data for the videos of this recipe, or set DETECTRON2_DATASETS"):
        load_rows(load_recipe("ytvis_2019"), None, None)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    for name, number in (("ytvis_2019", 2), ("coco", 3)):
        [(_, rows)], _ = load_rows(load_recipe(name), None, None, cache_dir=str(tmp_path / "cache"))
        assert len(rows) == number


def test_the_trainer_makes_batches_of_one_orientation(tmp_path, coco_checkpoint):
    trainer = trainer_of("coco", tmp_path, coco_checkpoint)
    assert isinstance(trainer.get_train_dataloader().batch_sampler.sampler, OrientationSampler)
    with pytest.raises(ValueError, match="same_orientation and train_sampling_strategy='sequential' contradict"):
        IfcTrainingArguments(str(tmp_path), same_orientation=True, train_sampling_strategy="sequential", **ON_CPU)


def test_weights_that_have_to_be_fetched_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"R-101\.pkl: no such file of backbone weights; give one with --backbone-weights"
    ):
        load_backbone_weights(tiny_model(), load_recipe("coco_r101").model["backbone_weights"])

"""`ifc-hf train` and `ifc-hf evaluate`: recipes, result files, bad input."""

import json
import re
import zipfile
from pathlib import Path

import pytest
import torch

from ifc_hf import IfcConfig, IfcImageProcessor
from ifc_hf.cli.main import main
from ifc_hf.data.clips import ImageClipDataset, MixedClipDataset, VideoClipDataset
from ifc_hf.data.synthetic import write_synthetic_coco, write_synthetic_ytvis
from ifc_hf.evaluation import evaluate_ytvis
from ifc_hf.training.recipe import Recipe
from ifc_hf.training.session import load_rows, make_clips
from tiny_training import tiny_model

SHAPES = {0: "circle", 1: "square", 2: "triangle"}
LABELS = {"id2label": SHAPES, "label2id": {name: label for label, name in SHAPES.items()}}


@pytest.fixture
def data(tmp_path):
    return write_synthetic_ytvis(tmp_path / "data", num_videos=4, num_frames=4, size_hw=(32, 48), num_valid_videos=3)


@pytest.fixture
def model_folder(tmp_path):
    """A model that has learnt nothing and sees an object in every query."""
    model = tiny_model(**LABELS)
    with torch.no_grad():
        model.class_head.layers[-1].bias[-1] = -10
    model.save_pretrained(tmp_path / "model")
    IfcImageProcessor(size={"shortest_edge": 32, "longest_edge": 200}).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def evaluate(model_folder, data, output, *options):
    folders = ["--model", str(model_folder), "--data", str(data), "--output", str(output)]
    return main(["evaluate", *folders, "--cache-dir", str(output.parent / "cache"), *options])


def test_evaluate_writes_results_scores_and_pictures(model_folder, data, tmp_path, capsys):
    output = tmp_path / "results"
    assert evaluate(model_folder, data, output, "--worst", "2") == 0
    with zipfile.ZipFile(output / "results.zip") as archive:
        assert archive.namelist() == ["results.json"]
        predictions = json.loads(archive.read("results.json"))
    assert predictions == json.loads((output / "results.json").read_text())
    assert {prediction["category_id"] for prediction in predictions} <= {1, 2, 3}
    metrics = json.loads((output / "metrics.json").read_text())
    expected = evaluate_ytvis(data / "valid.json", output / "results.json")
    assert metrics["stats"] == pytest.approx(expected["stats"], abs=1e-12)
    table = (output / "per_category.md").read_text()
    tracks = json.loads((data / "valid.json").read_text())["annotations"]
    assert table in capsys.readouterr().out and f"| all | {len(tracks)} |" in table
    assert (output / "precision_recall.png").stat().st_size > 1000
    assert len(list((output / "worst_tracks").glob("*.png"))) == min(2, len(tracks))
    assert not list(output.glob("*.part")) and not list(output.glob("*.jsonl"))


def test_split_without_annotations_gives_a_submission_and_no_score(model_folder, data, tmp_path, capsys):
    content = json.loads((data / "valid.json").read_text())
    del content["annotations"]
    (data / "valid.json").write_text(json.dumps(content))
    assert evaluate(model_folder, data, tmp_path / "results") == 0
    assert "no score" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["results.json", "results.zip"]


def test_evaluate_refuses_other_classes_and_takes_a_map(model_folder, data, tmp_path, capsys):
    content = json.loads((data / "valid.json").read_text())
    for category, name in zip(content["categories"], ("disc", "square", "cone"), strict=True):
        category["name"] = name
    (data / "valid.json").write_text(json.dumps(content))
    assert evaluate(model_folder, data, tmp_path / "results") == 1
    assert "give a map with --labels" in capsys.readouterr().err
    (tmp_path / "map.json").write_text(json.dumps({"disc": "circle", "cone": "triangle", "square": None}))
    assert evaluate(model_folder, data, tmp_path / "results", "--labels", str(tmp_path / "map.json")) == 0
    counts = {
        row["name"]: row["num_gt"]
        for row in json.loads((tmp_path / "results/metrics.json").read_text())["per_category"]
    }
    labels = [annotation["category_id"] for annotation in content["annotations"]]
    assert counts == {"circle": labels.count(1), "square": 0, "triangle": labels.count(3)}


def tiny_recipe(tmp_path, **data):
    config = tiny_model().config
    fields = ("hidden_size", "encoder_layers", "decoder_layers", "num_attention_heads", "num_queries")
    recipe = {
        "description": "for a test",
        "data": {"kind": "video", "split": "train", "num_frames": 2, "batch_size": 2, **data},
        "model": {
            "config": {name: getattr(config, name) for name in fields}
            | {"backbone_config": config.backbone_config.to_dict(), "intermediate_size": 32}
        },
        "training": {
            "max_steps": 2, "per_device_train_batch_size": 1, "save_steps": 2, "use_cpu": True, "report_to": "none",
            "disable_tqdm": True,
        },
    }  # fmt: skip
    recipe["data"].setdefault("video_augmentation", {"shorter_sides": [32]})
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    return str(tmp_path / "recipe.json")


def train(recipe, data, output, *options):
    folders = ["--data", str(data), "--output", str(output), "--cache-dir", str(output.parent / "cache")]
    return main(["train", "--recipe", recipe, *folders, *options])


def test_train_makes_a_model_for_the_classes_of_the_data(data, tmp_path, capsys):
    output = tmp_path / "trained"
    assert train(tiny_recipe(tmp_path), data, output, "--set", "seed=3", "learning_rate=1e-3") == 0
    config = IfcConfig.from_pretrained(output)
    assert config.id2label == SHAPES
    assert {"model.safetensors", "preprocessor_config.json", "README.md", "checkpoint-2"} <= {
        path.name for path in output.iterdir()
    }
    state = json.loads((output / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["max_steps"] == 2
    assert train(tiny_recipe(tmp_path), data, output, "--resume", "--set", "max_steps=3") == 0


def test_a_recipe_says_what_to_change_in_a_checkpoint(model_folder, data, tmp_path):
    old = IfcConfig.from_pretrained(model_folder)
    changes = {"num_memory_tokens": 0, "no_object_coefficient": 0.5}
    recipe = json.loads(Path(tiny_recipe(tmp_path)).read_text())
    recipe["model"] = {"config": {"hidden_size": 64}, "checkpoint_config": changes}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    output = tmp_path / "trained"
    assert train(str(tmp_path / "recipe.json"), data, output, "--checkpoint", str(model_folder)) == 0
    new = IfcConfig.from_pretrained(output)
    assert {name: getattr(new, name) for name in changes} == changes
    assert new.hidden_size == old.hidden_size, "`config` is for new models"


def test_missing_frames_are_counted_before_the_training(data, tmp_path, capsys):
    for index in (1, 2):
        (data / "train" / "JPEGImages" / "train_0001" / f"{index:05d}.jpg").unlink()
    assert train(tiny_recipe(tmp_path), data, tmp_path / "trained") == 1
    error = capsys.readouterr().err
    assert "train.json, video 2 (train_0001), frame 1: 2 of 4 frames are missing" in error and "00001.jpg" in error
    assert not (tmp_path / "trained").exists() or not list((tmp_path / "trained").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "nothing"], "no annotation file of split 'nothing'"),
        (["--set", "lerning_rate=1"], r"\['lerning_rate'\] are no training arguments"),
        (["--set", "per_device_train_batch_size=3"], "2 clips per step, which 1 processes of 3 clips can't make up"),
        (["--set", "lr_drop_steps=[0]"], r"lr_drop_steps must be positive, got \[0\]"),
        (["--checkpoint", "nowhere/at/all"], "nowhere/at/all"),
    ],
)
def test_wrong_settings_of_a_training(data, tmp_path, capsys, options, message):
    assert train(tiny_recipe(tmp_path), data, tmp_path / "trained", *options) == 1
    assert re.search(message, capsys.readouterr().err)


def test_unknown_and_broken_recipes(data, tmp_path, capsys):
    assert train("no_such", data, tmp_path / "trained") == 1
    assert "There is no recipe 'no_such': expected a JSON file or one of ['coco'" in capsys.readouterr().err
    (tmp_path / "broken.json").write_text('{"description": "x", "date": {}}')
    assert train(str(tmp_path / "broken.json"), data, tmp_path / "trained") == 1
    assert "broken.json is not a recipe" in capsys.readouterr().err


def test_joint_recipe_mixes_videos_and_images_under_the_video_classes(data, tmp_path):
    images = write_synthetic_coco(tmp_path / "coco", num_images=3)
    recipe = Recipe(
        "for a test",
        {
            "kind": "joint", "split": "train", "image_split": "train2017", "num_frames": 2, "weights": [1, 1],
            "image_labels": {"square": "square", "triangle": "circle"},
        },
    )  # fmt: skip
    rows, eval_rows = load_rows(recipe, str(data), str(images), cache_dir=str(tmp_path / "cache"))
    clips = make_clips(recipe, rows, seed=0)
    assert eval_rows is None and isinstance(clips, MixedClipDataset)
    assert [type(part) for part in clips.parts] == [VideoClipDataset, ImageClipDataset]
    used = {item["category"] for row in clips.parts[1].rows for item in row["objects"]}
    assert used <= {0, 1}
    with pytest.raises(ValueError, match="give --coco for the images of this recipe"):
        load_rows(recipe, str(data), None, cache_dir=str(tmp_path / "cache"))


def test_data_without_annotations_can_not_be_trained_on(data, tmp_path, capsys):
    content = json.loads((data / "train.json").read_text())
    del content["annotations"]
    (data / "train.json").write_text(json.dumps(content))
    assert train(tiny_recipe(tmp_path), data, tmp_path / "trained") == 1
    assert "train.json has no annotations, so it can't be used for training" in capsys.readouterr().err

"""`ifc-hf train` and `ifc-hf evaluate`: recipes, result files, bad input."""

import json
import os
import re
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from ifc_hf import IfcConfig, IfcImageProcessor
from ifc_hf.cards.template import model_card
from ifc_hf.cli.main import main
from ifc_hf.data.clips import ImageClipDataset, MixedClipDataset, VideoClipDataset
from ifc_hf.data.synthetic import write_synthetic_coco, write_synthetic_ytvis
from ifc_hf.evaluation import evaluate_coco, evaluate_ytvis
from ifc_hf.training import IfcTrainer, build_model
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


def test_invalid_annotations_end_a_command_or_are_dropped(model_folder, data, tmp_path, capsys, caplog):
    for split in ("train", "valid"):
        content = json.loads((data / f"{split}.json").read_text())
        length = content["videos"][0]["length"]
        content["annotations"][0].update({name: [None] * length for name in ("segmentations", "bboxes", "areas")})
        (data / f"{split}.json").write_text(json.dumps(content))
    commands = {
        "train.json": lambda *options: train(tiny_recipe(tmp_path), data, tmp_path / "trained", *options),
        "valid.json": lambda *options: evaluate(model_folder, data, tmp_path / "results", *options),
    }
    for file, command in commands.items():
        assert command() == 1
        assert "track with no mask" in capsys.readouterr().err
        caplog.clear()
        assert command("--invalid-annotations", "drop") == 0
        assert f"{file}: 1 annotations dropped" in caplog.text and "track with no mask" in caplog.text


def test_evaluate_puts_its_scores_into_the_card(model_folder, data, tmp_path):
    text = model_card("tiny", "tiny", "Tiny.", ["cat"], num_frames=2, scores="Not measured.", training="None.")
    (model_folder / "README.md").write_text(text)
    assert evaluate(model_folder, data, tmp_path / "results") == 0
    score = json.loads((tmp_path / "results" / "metrics.json").read_text())["AP"]
    card = (model_folder / "README.md").read_text()
    assert "Not measured" not in card and f"| {100 * score:.1f} |" in card
    assert "data, split valid, whole videos in windows of 2 frames" in card


def test_data_without_annotations_can_not_be_trained_on(data, tmp_path, capsys):
    content = json.loads((data / "train.json").read_text())
    del content["annotations"]
    (data / "train.json").write_text(json.dumps(content))
    assert train(tiny_recipe(tmp_path), data, tmp_path / "trained") == 1
    assert "train.json has no annotations, so it can't be used for training" in capsys.readouterr().err


def test_result_files_speak_the_ids_of_the_data_whatever_the_order_of_the_models_classes(model_folder, data, tmp_path):
    assert evaluate(model_folder, data, tmp_path / "same") == 0
    names = ["triangle", "circle", "square"]
    build_model(str(model_folder), dict(enumerate(names))).save_pretrained(model_folder)  # the same, in another order
    assert evaluate(model_folder, data, tmp_path / "other") == 0
    same, other = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("same", "other"))
    found = [sorted((p["video_id"], p["category_id"], round(p["score"], 4)) for p in file) for file in (same, other)]
    assert found[0] == found[1]
    scores = [json.loads((tmp_path / name / "metrics.json").read_text())["stats"] for name in ("same", "other")]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    content = json.loads((data / "valid.json").read_text())
    content["categories"] = [{"id": 70, "name": "square"}]  # fewer, with another id
    content["annotations"] = [{**a, "category_id": 70} for a in content["annotations"] if a["category_id"] == 2]
    (data / "valid.json").write_text(json.dumps(content))
    assert evaluate(model_folder, data, tmp_path / "fewer") == 0
    assert {p["category_id"] for p in json.loads((tmp_path / "fewer" / "results.json").read_text())} == {70}


def test_evaluate_scores_the_masks_of_coco(model_folder, tmp_path, capsys):
    root = write_synthetic_coco(tmp_path / "coco", num_images=3)
    folders = ["--coco", str(root), "--split", "train2017", "--cache-dir", str(tmp_path / "cache")]
    model = ["--model", str(model_folder), "--output", str(tmp_path / "results")]
    assert main(["evaluate", *model, *folders, "--score-threshold", "0"]) == 0
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results and {"image_id", "category_id", "score", "segmentation"} == results[0].keys()
    expected = evaluate_coco(root / "annotations" / "instances_train2017.json", results)
    metrics = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert metrics["stats"] == pytest.approx(expected["stats"]) and "| AP | AP50 |" in capsys.readouterr().out
    assert main(["evaluate", *model, *folders, "--num-frames", "3"]) == 1
    assert "--num-frames: not with --coco" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "module"), [("train", "accelerate"), ("evaluate", "datasets")])
def test_the_extra_that_is_missing_is_named(model_folder, data, tmp_path, capsys, monkeypatch, command, module):
    monkeypatch.setitem(sys.modules, module, None)
    if command == "train":
        assert train("cpu_small", data, tmp_path / "trained") == 1
    else:
        assert evaluate(model_folder, data, tmp_path / "results") == 1
    assert f'needs {module}: pip install "ifc_hf[train]"' in capsys.readouterr().err


def test_epochs_batch_and_patience_of_the_command(data, tmp_path, capsys):
    options = ["--epochs", "2", "--batch", "2", "--patience", "1", "--eval-split", "valid", "--set", "save_steps=1"]
    output = tmp_path / "trained"
    assert train(tiny_recipe(tmp_path), data, output, *options, "learning_rate=0.0") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("schedule: 4 steps of 2 clips (2 at once, 1 processes, 1 in turn)") for line in lines)
    state = json.loads((output / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["global_step"] == 2 and state["best_global_step"] == 1 and not (output / "checkpoint-3").exists()
    assert (output / "training.png").stat().st_size > 1000


def test_the_eval_split_is_scored_at_the_end_and_chooses_the_threshold(data, tmp_path, monkeypatch):
    monkeypatch.setattr("ifc_hf.training.trainer.best_threshold", lambda scores, lowest: 0.375)
    output = tmp_path / "trained"
    assert train(tiny_recipe(tmp_path), data, output, "--eval-split", "valid") == 0
    assert IfcConfig.from_pretrained(output).default_threshold == 0.375
    assert "after step 2:" in (output / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--patience", "2"], "--patience needs a split to score: --eval-split"),
        (["--epochs", "2", "--set", "max_steps=3"], "max_steps=3 and num_train_epochs=2.0: give one of them"),
        (["--batch", "1", "--set", "per_device_train_batch_size=2"], "contradicts the command's argument"),
        (["--set", "label_smoothing_factor=0.1"], "label_smoothing_factor=0.1 is not supported"),
    ],
)
def test_options_that_contradict_each_other(data, tmp_path, capsys, options, message):
    assert train(tiny_recipe(tmp_path), data, tmp_path / "trained", *options) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_leave_a_checkpoint_and_one_line(data, tmp_path, capsys, monkeypatch, number, exit_code):
    loss, sent = IfcTrainer.compute_loss, []

    def interrupted(self, *args, **kwargs):
        if self.state.global_step == 1 and not sent:
            sent.append(os.kill(os.getpid(), number))
        return loss(self, *args, **kwargs)

    monkeypatch.setattr(IfcTrainer, "compute_loss", interrupted)
    output = tmp_path / "trained"
    assert train(tiny_recipe(tmp_path), data, output, "--set", "max_steps=5", "save_strategy=no") == exit_code
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert re.match(
        r"interrupted after step 2 of 5: the checkpoint .*checkpoint-2 is whole, resume from it", last_line
    )
    monkeypatch.setattr(IfcTrainer, "compute_loss", loss)
    assert train(tiny_recipe(tmp_path), data, output, "--resume", "--set", "max_steps=5") == 0


def test_a_split_without_a_track_of_a_class_is_told(data, tmp_path, caplog):
    content = json.loads((data / "valid.json").read_text())
    content["annotations"] = [{**a, "category_id": 1 + 2 * (a["id"] % 2)} for a in content["annotations"]]
    (data / "val_sub.json").write_text(json.dumps(content))
    shutil.copytree(data / "valid", data / "val_sub")
    recipe = Recipe("for a test", {"kind": "video", "split": "train", "eval_split": "val_sub", "num_frames": 2})
    load_rows(recipe, str(data), None, cache_dir=str(tmp_path / "cache"))
    assert "split 'val_sub' has no track of ['square']" in caplog.text and "`ifc-hf dataset hold-out`" in caplog.text

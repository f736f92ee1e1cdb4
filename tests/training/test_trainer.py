"""Trainer: loss over the whole batch, optimizer and schedule, evaluation, checkpoints, bad input."""

import re
import shutil
from collections import namedtuple
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoBackbone, AutoConfig, TrainerState

from golden import golden_json, manifest
from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation
from ifc_hf.cards.trained import score_table
from ifc_hf.conversion import convert_state_dict
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.evaluation import evaluate_ytvis
from ifc_hf.model.masks import decode_rle, encode_rle
from ifc_hf.scoring.video_evaluation import SCORE_NAMES, join_scores, score_videos, segment_row
from ifc_hf.training import build_model, load_backbone_weights
from ifc_hf.training.checkpoints import last_whole_checkpoint
from tiny_training import KeepGradients, tiny_model, tiny_trainer

SHAPES = ["circle", "square", "triangle"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """6 videos to train on and 3 to evaluate on."""
    return write_synthetic_ytvis(tmp_path_factory.mktemp("data"), num_videos=6, num_frames=4, size_hw=(32, 48))


def first_gradients(data, tmp_path, config=None, rows=None, **settings):
    """Gradients of the first step, and its log."""
    model = tiny_model(**{"dropout": 0.0, **(config or {})})
    trainer = tiny_trainer(data, tmp_path, model, rows, max_steps=1, max_grad_norm=1e9, **settings)
    keeper = KeepGradients()
    trainer.add_callback(keeper)
    trainer.train()
    return keeper.gradients, trainer.state.log_history[0]


def assert_same_gradients(actual, expected):
    assert actual.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(
            actual[name], gradient, rtol=1e-4, atol=1e-6 * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_accumulated_batch_equals_the_big_batch(data, tmp_path):
    big, big_log = first_gradients(data, tmp_path, per_device_train_batch_size=4)
    for batch_size in (1, 2):
        settings = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": 4 // batch_size}
        gradients, log = first_gradients(data, tmp_path, **settings)
        assert_same_gradients(gradients, big)
        for name in ("loss", "loss_ce", "loss_mask", "loss_dice", "loss_ce_0", "cardinality_error"):
            assert log[name] == pytest.approx(big_log[name], rel=1e-5), name


def test_accumulation_counts_clips_without_any_object(data, tmp_path):
    rows = [dict(row) for row in tiny_trainer(data, tmp_path).train_dataset.rows]
    for row in rows[:3]:
        row["objects"] = []
    big, _ = first_gradients(data, tmp_path, rows=rows, per_device_train_batch_size=6)
    parts, _ = first_gradients(data, tmp_path, rows=rows, per_device_train_batch_size=1, gradient_accumulation_steps=6)
    assert_same_gradients(parts, big)


def test_batch_without_any_object_trains_the_classification(data, tmp_path):
    rows = [{**row, "objects": []} for row in tiny_trainer(data, tmp_path).train_dataset.rows]
    gradients, log = first_gradients(data, tmp_path, rows=rows)
    assert log["loss_mask"] == log["loss_dice"] == 0 and log["loss_ce"] > 0 and log["class_error"] == 100
    assert gradients["class_head.layers.1.weight"].abs().sum() > 0


def test_gradient_checkpointing_changes_nothing(data, tmp_path):
    plain, _ = first_gradients(data, tmp_path)
    checkpointed, _ = first_gradients(data, tmp_path, gradient_checkpointing=True)
    assert_same_gradients(checkpointed, plain)


def test_compiled_model_trains_alike(data, tmp_path):
    plain, plain_log = first_gradients(data, tmp_path)
    # Without code generation, which takes minutes; what is looked at is the way through the trainer.
    compiled, log = first_gradients(data, tmp_path, torch_compile=True, torch_compile_backend="eager")
    assert_same_gradients({name.removeprefix("_orig_mod."): gradient for name, gradient in compiled.items()}, plain)
    assert log["loss_ce"] == pytest.approx(plain_log["loss_ce"], rel=1e-5)


def test_bfloat16_trains_close_to_float32(data, tmp_path):
    _, plain = first_gradients(data, tmp_path)
    _, mixed = first_gradients(data, tmp_path, bf16=True)
    assert mixed["loss"] == pytest.approx(plain["loss"], rel=0.02) and mixed["loss"] != plain["loss"]


def test_every_loss_term_is_logged_and_adds_up(data, tmp_path):
    trainer = tiny_trainer(data, tmp_path)
    trainer.train()
    config = trainer.model.config
    for log in trainer.state.log_history[:-1]:
        terms = [{name: log[f"loss_{name}{suffix}"] for name in ("ce", "mask", "dice")} for suffix in ("", "_0")]
        total = sum(
            config.class_loss_coefficient * layer["ce"]
            + config.mask_loss_coefficient * layer["mask"]
            + config.dice_loss_coefficient * layer["dice"]
            for layer in terms
        )
        assert log["loss"] == pytest.approx(total, rel=1e-5)
        assert {"class_error", "cardinality_error", "cardinality_error_0", "grad_norm", "learning_rate"} <= log.keys()


def test_same_seed_gives_the_same_weights_and_another_seed_others(data, tmp_path):
    def train(seed):
        trainer = tiny_trainer(data, tmp_path, tiny_model(), seed=seed)
        trainer.train()
        return trainer.model.state_dict()

    first, second, other = train(1), train(1), train(2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_optimizer_groups_are_those_of_the_authors(golden_model, data, tmp_path, monkeypatch):
    recorded = golden_json("optimizer_groups")
    rates = {name: (learning_rate, weight_decay) for name, learning_rate, weight_decay in recorded["rows"]}
    # The names are the authors', so the numbers go through the converter as if they were weights.
    expected_rates, expected_decays = (
        convert_state_dict(
            {
                name: torch.full(shape, rates[name][i] if name in rates else 0.0)
                for name, shape in manifest("r50_ytvis").items()
            }
        )
        for i in range(2)
    )
    model = golden_model("r50_ytvis")
    names = dict(enumerate([*SHAPES, *map(str, range(len(SHAPES), model.config.num_labels))]))
    monkeypatch.setattr(model.config, "id2label", names)
    trainer = tiny_trainer(data, tmp_path, model, learning_rate=1e-4, max_steps=recorded["max_iter"])
    optimizer = trainer.create_optimizer()
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {names[parameter] for group in optimizer.param_groups for parameter in group["params"]}
    assert found == {name for name in names.values() if expected_rates[name].max() > 0}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert (expected_rates[names[parameter]] == torch.tensor(group["lr"])).all(), names[parameter]
            assert (expected_decays[names[parameter]] == torch.tensor(group["weight_decay"])).all(), names[parameter]
        assert list(group["betas"]) == recorded["betas"] and group["eps"] == recorded["eps"]
    assert type(optimizer).__name__ == recorded["optimizer"]
    assert trainer.args.max_grad_norm == recorded["clip_whole_model_grad_norm"]
    schedule = trainer.create_scheduler(trainer.args.max_steps, optimizer).lr_lambdas[0]
    (drop,) = recorded["steps"]
    assert [schedule(step) for step in (0, drop - 1, drop, trainer.args.max_steps - 1)] == [1, 1, 0.1, 0.1]


def test_warm_up_and_other_schedules(data, tmp_path):
    trainer = tiny_trainer(data, tmp_path, lr_drop_steps=[10, 20], warmup_steps=4)
    schedule = trainer.create_scheduler(30, trainer.create_optimizer()).lr_lambdas[0]
    assert [round(schedule(step), 6) for step in (0, 3, 4, 9, 10, 20)] == [0.2, 0.8, 1, 1, 0.1, 0.01]
    trainer = tiny_trainer(data, tmp_path, lr_drop_steps=[], lr_scheduler_type="linear")
    scheduler = trainer.create_scheduler(10, trainer.create_optimizer())
    assert scheduler.lr_lambdas[0](5) == 0.5


class AnnotationsAsPredictions:
    """Stands for a segmenter that finds the objects of rows in turn, with masks that are off by some pixels."""

    def __init__(self, rows, category_names):
        self.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(category_names))))
        self.rows = iter(rows)

    def __call__(self, frames, output_size):
        row = next(self.rows)
        assert [frame.size for frame in frames] == [(row["width"], row["height"])] * row["length"]
        assert output_size == (row["height"], row["width"])
        return [
            {
                "label_id": track["category"],
                "score": 0.9 - 0.1 * shift,
                "segmentations": [self.shifted(rle, shift) for rle in track["segmentations"]],
            }
            for shift, track in enumerate(row["objects"], start=1)
        ]

    def shifted(self, rle, shift):
        return None if rle is None else encode_rle(np.roll(decode_rle(rle), shift, axis=1))


def test_scores_of_divided_videos_equal_those_of_a_result_file(data, tmp_path):
    rows = tiny_trainer(data, tmp_path).eval_dataset
    names = rows.features["objects"].feature["category"].names
    parts = [
        score_videos(AnnotationsAsPredictions(rows.select(range(rank, len(rows), 2)), names), rows, rank, 2)
        for rank in range(2)
    ]
    segmenter = AnnotationsAsPredictions(rows, names)
    predictions = [item for row in rows for item in segment_row(segmenter, row, category_ids=[1, 2, 3])]
    expected = evaluate_ytvis(data / "valid.json", predictions)
    assert 0 < expected["AP"] < 1
    assert join_scores(parts).compute()["stats"] == pytest.approx(expected["stats"], abs=1e-12)


def test_evaluation_names_its_numbers(data, tmp_path):
    trainer = tiny_trainer(data, tmp_path)
    metrics = trainer.evaluate()
    assert {"eval_AP", "eval_AP50", "eval_AR10", "eval_runtime"} <= metrics.keys() and metrics["eval_AP"] >= 0
    both = trainer.evaluate({"a": trainer.eval_dataset, "b": trainer.eval_dataset})
    assert both["eval_a_AP"] == both["eval_b_AP"] == metrics["eval_AP"]


def test_evaluation_leaves_random_numbers_alone(data, tmp_path):
    trainer = tiny_trainer(data, tmp_path)
    state = torch.get_rng_state()
    trainer.evaluate()
    assert torch.equal(torch.get_rng_state(), state)


def test_best_checkpoint_is_that_of_the_highest_ap(data, tmp_path, monkeypatch):
    scores = iter([0.1, 0.5, 0.2])
    every_step = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    trainer = tiny_trainer(data, tmp_path, load_best_model_at_end=True, **every_step)

    def score(parts):
        accumulator = MagicMock(video_ids=[1])
        accumulator.compute.return_value = dict.fromkeys(SCORE_NAMES, next(scores))
        return accumulator

    thresholds = iter([0.25, 0.375, 0.5])
    monkeypatch.setattr("ifc_hf.training.trainer.join_scores", score)
    monkeypatch.setattr("ifc_hf.training.trainer.best_threshold", lambda *args: next(thresholds))
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2") and trainer.state.best_metric == 0.5
    assert trainer.model.config.default_threshold == 0.375
    assert IfcConfig.from_pretrained(tmp_path / "checkpoint-2").default_threshold == 0.375
    best = build_model(str(tmp_path / "checkpoint-2"), dict(enumerate(SHAPES))).state_dict()
    assert all(torch.equal(best[name], tensor) for name, tensor in trainer.model.state_dict().items())


def test_class_head_is_new_when_the_number_of_classes_changes(tmp_path):
    model = tiny_model(num_labels=3)
    model.save_pretrained(tmp_path)
    tuned = build_model(str(tmp_path), {0: "cat", 1: "dog"})
    assert tuned.config.id2label == {0: "cat", 1: "dog"} and tuned.config.label2id == {"cat": 0, "dog": 1}
    new = {name for name, tensor in tuned.state_dict().items() if tensor.shape != model.state_dict()[name].shape}
    assert new == {"class_head.layers.1.weight", "class_head.layers.1.bias"}
    for name, tensor in tuned.state_dict().items():
        assert name in new or torch.equal(tensor, model.state_dict()[name]), name
    assert torch.isfinite(tuned.class_head.layers[1].weight).all()
    frozen = [name for name, parameter in tuned.named_parameters() if not parameter.requires_grad]
    assert frozen and all(name.startswith("model.backbone.") for name in frozen)


def test_backbone_weights_come_from_a_folder(tmp_path):
    model = tiny_model()
    torch.manual_seed(5)
    source = AutoBackbone.from_config(model.config.backbone_config)
    source.save_pretrained(tmp_path)
    load_backbone_weights(model, str(tmp_path))
    for name, tensor in model.model.backbone.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name]), name


def test_backbone_weights_come_from_a_torchvision_file(golden_model, tmp_path):
    weights = golden_model("r50_ytvis").model.backbone.state_dict()
    torchvision_names = {}
    for name, tensor in weights.items():
        name = re.sub(r"encoder\.stages\.(\d)\.layers\.", lambda match: f"layer{int(match[1]) + 1}.", name)
        name = re.sub(r"layer\.(\d)\.convolution", lambda match: f"conv{int(match[1]) + 1}", name)
        name = re.sub(r"layer\.(\d)\.normalization", lambda match: f"bn{int(match[1]) + 1}", name)
        name = name.replace("shortcut.convolution", "downsample.0").replace("shortcut.normalization", "downsample.1")
        name = name.replace("embedder.embedder.convolution", "conv1").replace("embedder.embedder.normalization", "bn1")
        torchvision_names[name] = tensor
    torch.save(torchvision_names, tmp_path / "resnet50.pth")
    model = IfcForVideoInstanceSegmentation(IfcConfig(num_labels=2))
    load_backbone_weights(model, str(tmp_path / "resnet50.pth"))
    for name, tensor in model.model.backbone.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_backbone_weights_of_another_network_are_refused(tmp_path):
    config = AutoConfig.for_model("resnet", embedding_size=8, hidden_sizes=[8, 8, 16, 24], depths=[1, 1, 1, 1])
    AutoBackbone.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"doesn't fit the backbone: \d+ tensors differ, first encoder"):
        load_backbone_weights(tiny_model(), str(tmp_path))
    with pytest.raises(ValueError, match="nowhere can't be loaded as a backbone"):
        load_backbone_weights(tiny_model(), str(tmp_path / "nowhere"))


def test_full_disk_is_found_before_the_first_step_and_before_a_checkpoint(data, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    free_bytes = [10_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, free_bytes[0]))
    trainer = tiny_trainer(data, tmp_path / "new", save_strategy="steps", save_steps=1)
    with pytest.raises(
        OSError, match=r"Not enough disk for a checkpoint in .*new: it needs about \d+\.\d MB, 0\.0 MB are free"
    ):
        trainer.train()
    assert trainer.state.global_step == 0
    free_bytes[0] = 10**12
    trainer.add_callback(shrinking_disk(free_bytes))
    with pytest.raises(OSError, match="Not enough disk for a checkpoint"):
        trainer.train()
    assert trainer.state.global_step == 2 and last_whole_checkpoint(str(tmp_path / "new")).endswith("checkpoint-1")


def shrinking_disk(free_bytes):
    """A callback after whose second step the disk is full."""
    from transformers import TrainerCallback

    class ShrinkingDisk(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                free_bytes[0] = 0

    return ShrinkingDisk()


def test_cut_off_checkpoints_are_passed_over(tmp_path):
    assert last_whole_checkpoint(str(tmp_path / "none")) is None
    for step, state in ((2, '{"global_step": 2}'), (10, '{"global'), (30, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_whole_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoint-2")


def test_processor_is_required(data, tmp_path):
    from ifc_hf.training import IfcTrainer, IfcTrainingArguments

    args = IfcTrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    with pytest.raises(ValueError, match="needs an image processor"):
        IfcTrainer(model=tiny_model(), args=args)


def test_evaluation_without_videos_is_refused(data, tmp_path):
    trainer = tiny_trainer(data, tmp_path)
    with pytest.raises(ValueError, match="eval_dataset is missing or empty"):
        trainer.evaluate([])


def test_predict_names_what_to_use_instead(data, tmp_path):
    trainer = tiny_trainer(data, tmp_path)
    with pytest.raises(NotImplementedError, match=r"Use `ifc-hf evaluate` .*, or trainer\.evaluate for the score"):
        trainer.predict(trainer.eval_dataset)


def test_model_card_tells_the_training_and_the_score(data, tmp_path):
    trainer = tiny_trainer(
        data, tmp_path / "shapes", eval_strategy="steps", eval_steps=2, gradient_accumulation_steps=3
    )
    trainer.train()
    trainer.create_model_card(tags="demo", finetuned_from="someone/ifc-coco", dataset_tags="someone/shapes")
    card = ModelCard.load(tmp_path / "shapes" / "README.md")
    metadata = card.data.to_dict()
    assert metadata["license"] == "apache-2.0" and metadata["library_name"] == "transformers"
    assert metadata["tags"] == ["video-instance-segmentation", "ifc", "demo"]
    assert metadata["base_model"] == "someone/ifc-coco" and metadata["datasets"] == ["someone/shapes"]
    assert card.text.strip().startswith("# shapes\n")
    for line in ("| steps | 3 |", "| clips per step | 6 |", "| frames per clip | 2 |", "after step 3:"):
        assert line in card.text, line
    assert "| learning rate | 0.001; backbone 0.0001 |" in card.text and "x0.1 after step 2;" in card.text
    scores = [log for log in trainer.state.log_history if "eval_AP" in log][-1]
    assert f"| eval | {100 * scores['eval_AP']:.1f} | {100 * scores['eval_AP50']:.1f} |" in card.text
    result = next(result for result in card.data.eval_results if result.metric_type == "AP75")
    assert result.dataset_type == "someone/shapes" and result.metric_value == round(100 * scores["eval_AP75"], 1)
    assert "## Classes\n\ncircle, square, triangle.\n" in card.text
    assert "adamw" in card.text and "OptimizerNames" not in card.text


def test_model_card_gives_the_score_of_the_checkpoint_that_was_kept():
    history = [
        {"step": step, **dict.fromkeys([f"eval_{name}" for name in SCORE_NAMES], score)}
        for step, score in ((10, 0.5), (20, 0.25))
    ]
    state = TrainerState(log_history=history, best_global_step=10)
    assert "after step 10" in score_table(state, best=True) and "| eval | 50.0 |" in score_table(state, best=True)
    assert "after step 20" in score_table(state, best=False) and "| eval | 25.0 |" in score_table(state, best=False)
    assert score_table(TrainerState(), best=True) == "Not measured during the training."


def test_model_card_names_no_folder_of_this_machine(data, tmp_path):
    tiny_model().save_pretrained(tmp_path / "start")
    model = build_model(str(tmp_path / "start"), dict(enumerate(SHAPES)))
    tiny_trainer(data, tmp_path / "run", model).create_model_card()
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert "base_model" not in card.data.to_dict() and str(tmp_path) not in card.content
    assert "Not measured during the training." in card.text and "from the weights of `start` on" in card.text
    assert "## Classes\n\ncircle, square, triangle.\n" in card.text

"""Arguments are obeyed or refused; schedules go with the length of the training."""

import dataclasses

import pytest
import torch
from torch.utils.data import Subset
from transformers import TrainingArguments

from ifc_hf import IfcImageProcessor
from ifc_hf.data import load_ytvis
from ifc_hf.data.clips import VideoClipDataset
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.training import IfcTrainer, IfcTrainingArguments
from ifc_hf.training.arguments import REFUSED
from ifc_hf.training.batch_size import fit_batch_size, largest_fitting, try_step
from ifc_hf.training.schedule import with_length
from tiny_training import NUM_FRAMES, tiny_model, tiny_trainer

OTHER_VALUES = {
    "label_smoothing_factor": 0.1, "use_liger_kernel": True, "liger_kernel_config": {"rope": True}, "use_cache": True,
    "neftune_noise_alpha": 5.0, "include_num_input_tokens_seen": "all", "optim_target_modules": ["attn"],
    "auto_find_batch_size": True, "enable_jit_checkpoint": True, "per_device_eval_batch_size": 4,
    "prediction_loss_only": True, "eval_accumulation_steps": 2, "eval_do_concat_batches": False,
    "include_for_metrics": ["inputs"], "batch_eval_metrics": True, "label_names": ["labels"], "bf16_full_eval": True,
    "fp16_full_eval": True, "remove_unused_columns": True, "length_column_name": "size", "deepspeed": {},
    "parallelism_config": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_synthetic_ytvis(tmp_path_factory.mktemp("data"), num_videos=4, num_frames=4, size_hw=(32, 48))


def arguments(**settings):
    return IfcTrainingArguments("run", use_cpu=True, report_to="none", **settings)


def test_every_refused_field_has_a_value_to_refuse():
    assert OTHER_VALUES.keys() == REFUSED.keys() <= {field.name for field in dataclasses.fields(TrainingArguments)}


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_what_would_be_ignored_is_refused(name):
    with pytest.raises(ValueError, match=rf"{name}=.* is not supported: .* Leave it out\."):
        arguments(**{name: OTHER_VALUES[name]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_sampling_strategy": "group_by_length"}, "clips have no lengths"),
        ({"lr_drop_steps": [4, 0.5, -1]}, r"lr_drop_steps must be positive, got \[4, 0.5, -1\]"),
        ({"lr_drop_steps": [1.5]}, "whole steps, or shares"),
        ({"lr_drop_steps": [5], "lr_scheduler_type": "cosine"}, "'cosine' contradict each other"),
        ({"lr_scheduler_kwargs": {"num_cycles": 2}}, "has no effect without lr_scheduler_type"),
        ({"early_stopping_patience": 0}, "must be at least 1, got 0"),
        ({"early_stopping_patience": 2, "save_strategy": "no"}, "save_strategy must not be 'no'"),
        ({"backbone_lr_factor": -1.0}, "must not be negative"),
    ],
)
def test_contradictions_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        arguments(**settings)


@pytest.mark.parametrize("name", ["compute_metrics", "preprocess_logits_for_metrics", "compute_loss_func"])
def test_functions_that_would_not_be_called_are_refused(tmp_path, name):
    given = {name: lambda *args: {"mine": 1.0}}
    with pytest.raises(ValueError, match=f"IfcTrainer never calls {name}"):
        IfcTrainer(tiny_model(), arguments(), processing_class=IfcImageProcessor(), **given)


def test_plain_arguments_are_refused_and_no_arguments_are_the_defaults(tmp_path, monkeypatch):
    plain = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    with pytest.raises(TypeError, match="expected IfcTrainingArguments, got TrainingArguments"):
        IfcTrainer(tiny_model(), plain, processing_class=IfcImageProcessor())
    monkeypatch.chdir(tmp_path)
    trainer = IfcTrainer(tiny_model(), processing_class=IfcImageProcessor())
    assert type(trainer.args) is IfcTrainingArguments and trainer.args.max_grad_norm == 0.01


def test_rows_and_streams_are_no_clips(data, tmp_path):
    rows = load_ytvis(data, cache_dir=tmp_path)
    stream = VideoClipDataset(load_ytvis(data, cache_dir=tmp_path, streaming=True), NUM_FRAMES)
    for clips, message in ((rows, "expected clips, got rows"), (stream, "is a stream, which can be scored but not")):
        with pytest.raises(TypeError, match=message):
            IfcTrainer(tiny_model(), arguments(), train_dataset=clips, processing_class=IfcImageProcessor())


def test_a_stream_is_scored_as_its_rows_are(data, tmp_path, capfd):
    trainer = tiny_trainer(data, tmp_path)
    expected = trainer.evaluate()
    assert "Evaluating" not in capfd.readouterr().err, "disable_tqdm holds for the evaluation, too"
    stream = load_ytvis(data, split="valid", streaming=True, cache_dir=data / "cache")
    metrics = trainer.evaluate(stream)
    assert metrics["eval_AP"] == expected["eval_AP"] and metrics["eval_AR100"] == expected["eval_AR100"]


def test_a_subset_of_clips_has_new_ones_in_every_epoch(data, tmp_path):
    trainer = tiny_trainer(data, tmp_path, max_steps=2)
    clips = trainer.train_dataset
    trainer.train_dataset = Subset(clips, [0, 1])
    trainer.train()
    assert int(clips._epoch) == 1


def test_another_optimizer_is_obeyed_and_one_that_chooses_rates_refused(data, tmp_path):
    trainer = tiny_trainer(data, tmp_path)
    chosen = (torch.optim.SGD, {"lr": 0.5, "momentum": 0.25})
    trainer.optimizer_cls_and_kwargs = chosen
    head, backbone = trainer.create_optimizer().param_groups
    assert (head["lr"], backbone["lr"], head["momentum"]) == (0.5, 0.05, 0.25)
    trainer.optimizer, trainer.optimizer_cls_and_kwargs = None, (torch.optim.SGD, {"params": []})
    with pytest.raises(ValueError, match="would choose the learning rates itself"):
        trainer.create_optimizer()


def test_transformers_schedules_are_obeyed(data, tmp_path):
    trainer = tiny_trainer(data, tmp_path, lr_scheduler_type="cosine", max_steps=4, logging_steps=1)
    trainer.train()
    rates = [log["learning_rate"] for log in trainer.state.log_history if "learning_rate" in log]
    assert rates == pytest.approx([1e-3, 8.535534e-4, 5e-4, 1.464466e-4])


@pytest.mark.parametrize(
    ("overrides", "steps", "warmup", "drops"),
    [
        ({}, 600, 60, [300, 450]),
        ({"max_steps": 60}, 60, 6, [30, 45]),
        ({"max_steps": 1200, "warmup_steps": 5}, 1200, 5, [600, 900]),
        ({"max_steps": 60, "lr_drop_steps": [50]}, 60, 6, [50]),
        ({"num_train_epochs": 3}, 200, 20, [100, 150]),
    ],
)
def test_warm_up_and_drops_go_with_the_length(overrides, steps, warmup, drops):
    recipe = {"max_steps": 600, "warmup_steps": 60, "lr_drop_steps": [300, 450]}
    args = arguments(**with_length(recipe, overrides))
    assert args.max_steps == (-1 if "num_train_epochs" in overrides else steps)
    assert args.get_warmup_steps(steps) == warmup and args.drop_steps(steps) == drops


def test_two_lengths_are_refused():
    with pytest.raises(ValueError, match="max_steps=5 and num_train_epochs=1: give one of them"):
        with_length({"max_steps": 600}, {"max_steps": 5, "num_train_epochs": 1})


def test_training_stops_when_the_score_stays(data, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 1, "early_stopping_patience": 2, "learning_rate": 0.0}
    trainer = tiny_trainer(data, tmp_path, max_steps=6, **settings)
    trainer.train()
    assert trainer.state.global_step == 3, "the first evaluation is the best, two more don't better it"


def out_of_memory(limit):
    tried = []

    def attempt(number):
        tried.append(number)
        if number > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    return tried, attempt


def test_the_largest_batch_that_fits():
    tried, attempt = out_of_memory(limit=4)
    assert largest_fitting([16, 8, 4, 2, 1], attempt) == 4 and tried == [16, 8, 4]
    with pytest.raises(ValueError, match="Not even one clip fits"):
        largest_fitting([2, 1], out_of_memory(limit=0)[1])
    with pytest.raises(RuntimeError, match="another fault"):
        largest_fitting([1], lambda number: (_ for _ in ()).throw(RuntimeError("another fault")))


def test_fitting_the_batch_keeps_the_clips_of_a_step_and_the_weights(data, tmp_path):
    trainer = tiny_trainer(data, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=3)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    state = torch.get_rng_state()
    try_step(trainer, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in trainer.model.state_dict().items())
    assert fit_batch_size(trainer) == 1, "without an accelerator"
    assert trainer.args.gradient_accumulation_steps == 6 and len(trainer.get_train_dataloader()) == 4

"""Training and evaluation in several processes, and in a process that is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ifc_hf import IfcImageProcessor
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.training.checkpoints import last_whole_checkpoint
from paths import SCRIPTS
from tiny_training import __file__ as PROGRAM
from tiny_training import tiny_model

SHAPES = {0: "circle", 1: "square", 2: "triangle"}

# These start processes that import torch anew: more than a few seconds each.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """8 videos to train on, 3 to evaluate on: an odd number for two processes."""
    return write_synthetic_ytvis(
        tmp_path_factory.mktemp("data"), num_videos=8, num_frames=4, size_hw=(32, 48), num_valid_videos=3
    )


def train(data: Path, output: Path, processes: int, *options: str, **settings: object) -> int:
    """Runs `tiny_training.py` and returns its exit code."""
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", f"--master-port={free_port()}"]
    command = [*launcher, PROGRAM, str(data), str(output), "--settings", json.dumps(settings), *options]
    return run(command).returncode


def run(command: list[str]) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    print(result.stdout[-2000:], result.stderr[-4000:])  # pytest shows them if the test fails
    return result


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def history(output: Path) -> list[dict]:
    return json.loads((output / "history.json").read_text(encoding="utf-8"))


def test_two_processes_equal_one_with_the_joined_batch(data, tmp_path):
    options = ["--evaluate", "--config", '{"dropout": 0.0}']
    settings = {"max_steps": 2, "max_grad_norm": 1e9}
    assert train(data, tmp_path / "one", 1, *options, per_device_train_batch_size=4, **settings) == 0
    assert train(data, tmp_path / "two", 2, *options, per_device_train_batch_size=2, **settings) == 0
    one, two = (torch.load(tmp_path / name / "gradients.pt") for name in ("one", "two"))
    assert one.keys() == two.keys()
    largest = max(float(gradient.abs().max()) for gradient in one.values())
    for name, gradient in one.items():
        assert float((two[name] - gradient).abs().max()) <= 1e-5 * largest, name
    for log_one, log_two in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        assert log_one.keys() == log_two.keys()
        for name, value in log_one.items():
            if name.startswith(("loss", "eval_A")):
                assert log_two[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert "eval_AP" in history(tmp_path / "two")[-1]
    scores = [json.loads((tmp_path / "two" / f"scores.{rank}.json").read_text()) for rank in range(2)]
    assert scores[0] == scores[1] and scores[0]["eval_AP"] == history(tmp_path / "two")[-1]["eval_AP"]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_adapters_train_and_are_scored_on_two_processes(data, tmp_path, strategy):
    pytest.importorskip("peft", reason="peft is in the extra `test`")
    settings = {"max_steps": 2, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
    sharded = {"fsdp": True} if strategy == "fsdp" else {}
    assert train(data, tmp_path, 2, "--evaluate", "--lora", **settings, **sharded) == 0
    scores = [json.loads((tmp_path / f"scores.{rank}.json").read_text()) for rank in range(2)]
    assert scores[0] == scores[1] and "eval_AP" in scores[0]


@pytest.mark.parametrize("processes", [1, 2])
def test_every_epoch_draws_new_clips(data, tmp_path, processes):
    settings = {"max_steps": 6, "per_device_train_batch_size": 4 // processes}  # two steps of 4 videos an epoch
    assert train(data, tmp_path, processes, **settings) == 0
    assert json.loads((tmp_path / "epochs.json").read_text()) == [0, 1, 2]


def test_sharded_training_equals_that_of_one_process(data, tmp_path):
    options = ["--evaluate", "--config", '{"dropout": 0.0}']
    # With this epsilon, AdamW doesn't blow a gradient that is but rounding up to a whole step.
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "max_grad_norm": 1e9, "adam_epsilon": 1e-2}
    # One epoch: the next ones shuffle otherwise in two processes than in one.
    sharded = {**settings, "per_device_train_batch_size": 1, "fsdp": True}
    assert train(data, tmp_path / "one", 1, *options, **settings, per_device_train_batch_size=2) == 0
    assert train(data, tmp_path / "two", 2, *options, "--kill-after", "3", **sharded) != 0
    assert (tmp_path / "two" / "checkpoint-2" / "pytorch_model_fsdp.bin").exists()
    assert last_whole_checkpoint(str(tmp_path / "two")).endswith("checkpoint-2")
    assert train(data, tmp_path / "two", 2, *options, "--resume", **sharded) == 0
    for name in ("checkpoint-2", "checkpoint-4"):
        one, two = (load_file(tmp_path / output / name / "model.safetensors") for output in ("one", "two"))
        assert one.keys() == two.keys()
        for tensor, expected in one.items():
            # A hundredth of what one step can change.
            torch.testing.assert_close(two[tensor], expected, rtol=0, atol=1e-5, msg=f"{name}, {tensor}")
    change = one["class_head.layers.0.weight"] - tiny_model().class_head.layers[0].weight
    assert float(change.detach().abs().max()) > 1e-3
    assert "eval_AP" in history(tmp_path / "two")[-1]


def test_killed_and_resumed_training_ends_with_the_weights_of_one_never_killed(data, tmp_path):
    # An evaluation lies between the save and the next step, and another between that and the kill. Dropout is on.
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "eval_strategy": "steps", "eval_steps": 1}
    assert train(data, tmp_path / "whole", 1, **settings) == 0
    assert train(data, tmp_path / "killed", 1, "--kill-after", "5", **settings) == -signal.SIGKILL
    assert last_whole_checkpoint(str(tmp_path / "killed")).endswith("checkpoint-3")
    assert train(data, tmp_path / "killed", 1, "--resume", **settings) == 0
    whole, resumed = (torch.load(tmp_path / name / "weights.pt") for name in ("whole", "killed"))
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name
    losses = [[log["loss"] for log in history(tmp_path / name) if "loss" in log][-1] for name in ("whole", "killed")]
    assert losses[0] == losses[1]


def test_evaluate_command_in_two_processes_equals_one(data, tmp_path):
    model = tiny_model(id2label=SHAPES, label2id={name: label for label, name in SHAPES.items()})
    with torch.no_grad():
        model.class_head.layers[-1].bias[-1] = -10  # an untrained model that sees an object in every query
    model.save_pretrained(tmp_path / "model")
    IfcImageProcessor(size={"shortest_edge": 32, "longest_edge": 200}).save_pretrained(tmp_path / "model")
    script = SCRIPTS / "evaluate.py"
    launch = [
        "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(free_port()),
    ]  # fmt: skip
    for name, launcher in (("one", []), ("two", launch)):
        folders = ["--model", tmp_path / "model", "--data", data, "--output", tmp_path / name, "--worst", "1"]
        command = [sys.executable, *launcher, script, *folders, "--cache-dir", tmp_path / "cache"]
        result = run([str(part) for part in command])
        assert result.returncode == 0
    predictions, metrics = [], []
    for name in ("one", "two"):
        predictions.append(json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")))
        metrics.append(json.loads((tmp_path / name / "metrics.json").read_text(encoding="utf-8")))
        assert len(list((tmp_path / name / "worst_tracks").iterdir())) == 1
        assert not list((tmp_path / name).glob("*.jsonl"))
    assert predictions[0] and sorted(map(json.dumps, predictions[0])) == sorted(map(json.dumps, predictions[1]))
    assert metrics[0] == metrics[1]

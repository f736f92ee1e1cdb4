"""Several processes of one run: they end with their launcher, and none waits for a lost one for ever."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta

import pytest

from ifc_hf import processes
from ifc_hf.cli.main import main, run_cleanly
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.processes import Processes

# As gloo puts it for a process that is frozen, and for one that was killed.
LOST = [
    "[/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 5000ms for recv operation",
    "[../third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:32831",
]
TIMEOUT_SECONDS = 15
RECIPE = {
    "description": "A tiny network.",
    "data": {"kind": "video", "split": "train", "num_frames": 2, "batch_size": 2,
             "video_augmentation": {"shorter_sides": [32]}},
    "processor": {"size": {"shortest_edge": 32, "longest_edge": 200}},
    "model": {"config": {
        "hidden_size": 32, "encoder_layers": 1, "decoder_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "num_queries": 3, "num_memory_tokens": 2, "frozen_backbone_stages": 0, "backbone_config": {
            "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1],
            "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"],
        },
    }},
    "training": {
        "max_steps": 1_000_000, "per_device_train_batch_size": 1, "logging_steps": 1, "save_strategy": "no",
        "report_to": "none", "use_cpu": True, "ddp_timeout": TIMEOUT_SECONDS, "dataloader_pin_memory": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("message", LOST)
def test_a_lost_process_is_one_line(message, capsys):
    def work() -> int:
        raise RuntimeError(message)

    assert run_cleanly(work) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: another process of this run has ended, or has not answered")


def test_other_runtime_errors_are_no_lost_process():
    def work() -> int:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        run_cleanly(work)


def test_processes_that_share_videos_end_with_the_launcher_and_wait_for_each_other_as_long_as_asked(monkeypatch):
    ends, given = [], []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(processes, "end_with_launcher", lambda: ends.append(True))
    monkeypatch.setattr("accelerate.PartialState", lambda **settings: given.append(settings))
    Processes("cpu", timeout_seconds=90)
    assert ends and given == [{"cpu": True, "timeout": timedelta(seconds=90)}]


@pytest.mark.parametrize("timeout", ["0", "-1", "inf", "soon"])
@pytest.mark.parametrize("command", [["predict", "clip.mp4"], ["evaluate", "--model", "m", "--output", "o"]])
def test_a_timeout_is_a_number_of_seconds(command, timeout):
    with pytest.raises(SystemExit) as ending:
        main([*command, "--timeout", timeout])
    assert ending.value.code == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="stops a process")
def test_a_training_ends_within_its_timeout_when_a_rank_is_frozen(tmp_path):
    data = write_synthetic_ytvis(tmp_path / "data", num_videos=2, num_frames=2, size_hw=(32, 48))
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "ifc_hf.cli.main", "train", "--recipe", tmp_path / "recipe.json", "--data", data,
               "--output", tmp_path / "run", "--cache-dir", tmp_path / "cache"]  # fmt: skip
    ranks = []
    for rank in range(2):
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, **{name: str(value) for name, value in own.items()}, "PYTHONUNBUFFERED": "1"}
        errors = open(tmp_path / f"errors.{rank}", "w+", encoding="utf-8")  # noqa: SIM115 - closed below
        ranks.append(
            (subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True), errors)
        )
    (first, errors), (second, _) = ranks
    try:
        assert any(line.startswith("step 3/") for line in first.stdout), (tmp_path / "errors.0").read_text()
        second.send_signal(signal.SIGSTOP)
        first.communicate(timeout=TIMEOUT_SECONDS + 30)
    finally:
        for process, _ in ranks:
            process.kill()
            process.wait()
    errors.seek(0)
    said = errors.read().splitlines()
    for _, file in ranks:
        file.close()
    assert first.returncode == 1
    assert said[-1].startswith("error: another process of this run has ended, or has not answered"), said[-5:]

"""Ctrl-C, SIGTERM and SIGKILL: a checkpoint first, and no process is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.processes import by_rank
from ifc_hf.training.checkpoints import last_whole_checkpoint
from ifc_hf.training.interruption import TrainingInterrupted
from running_processes import all_end, members
from tiny_training import __file__ as PROGRAM
from tiny_training import tiny_model, tiny_trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_synthetic_ytvis(tmp_path_factory.mktemp("data"), num_videos=4, num_frames=4, size_hw=(32, 48))


class SignalDuring(TrainerCallback):
    """Sends this process a signal within a step."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step + 1 == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_training_after_its_step_with_a_checkpoint(data, tmp_path, number, exit_code):
    whole = tiny_trainer(data, tmp_path / "whole", tiny_model(), max_steps=4)
    whole.train()
    handler = signal.getsignal(number)
    trainer = tiny_trainer(data, tmp_path / "run", tiny_model(), max_steps=4)
    trainer.add_callback(SignalDuring(number, step=2))
    with pytest.raises(
        TrainingInterrupted, match=r"after step 2 of 4: the checkpoint .*checkpoint-2 is whole"
    ) as stop:
        trainer.train()
    assert stop.value.exit_code == exit_code and signal.getsignal(number) == handler
    assert last_whole_checkpoint(str(tmp_path / "run")).endswith("checkpoint-2")
    resumed = tiny_trainer(data, tmp_path / "run", tiny_model(), max_steps=4)
    resumed.train(resume_from_checkpoint=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def test_a_signal_during_the_evaluation_saves_without_a_score(data, tmp_path, monkeypatch):
    from ifc_hf.scoring import video_evaluation

    segment, videos = video_evaluation.segment_row, []

    def interrupted(segmenter, row):
        videos.append(row["video_id"])
        os.kill(os.getpid(), signal.SIGTERM)
        return segment(segmenter, row)

    monkeypatch.setattr(video_evaluation, "segment_row", interrupted)
    trainer = tiny_trainer(data, tmp_path, max_steps=3, eval_strategy="steps", eval_steps=1)
    with pytest.raises(TrainingInterrupted, match="after step 1 of 3"):
        trainer.train()
    assert len(videos) == 1 < len(trainer.eval_dataset)
    assert last_whole_checkpoint(str(tmp_path)).endswith("checkpoint-1")
    assert not any("eval_AP" in log for log in trainer.state.log_history)


@pytest.mark.parametrize(
    ("moment", "strategy"),
    [
        ("in the step", {"eval_strategy": "steps", "eval_steps": 2}),
        ("in the evaluation", {"eval_strategy": "epoch"}),
    ],
)
def test_what_a_signal_kept_from_being_scored_is_scored_after_resuming(data, tmp_path, monkeypatch, moment, strategy):
    settings = {"max_steps": 4, "save_strategy": "no", **strategy}  # two steps an epoch
    whole = tiny_trainer(data, tmp_path / "whole", tiny_model(), **settings)
    whole.train()
    trainer = tiny_trainer(data, tmp_path / "run", tiny_model(), **settings)
    if moment == "in the step":
        trainer.add_callback(SignalDuring(signal.SIGTERM, step=2))
    else:
        score = trainer.evaluate
        monkeypatch.setattr(trainer, "evaluate", lambda *args, **more: os.kill(os.getpid(), signal.SIGTERM) or score())
    with pytest.raises(TrainingInterrupted):
        trainer.train()
    resumed = tiny_trainer(data, tmp_path / "run", tiny_model(), **settings)
    resumed.train(resume_from_checkpoint=True)
    scores = [
        [(log["step"], log["eval_AP"]) for log in run.state.log_history if "eval_AP" in log]
        for run in (whole, resumed)
    ]
    assert [step for step, _ in scores[0]] == [2, 4] and scores[0] == scores[1]
    assert resumed.state.best_metric == whole.state.best_metric
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def test_a_signal_in_the_last_evaluation_interrupts(data, tmp_path, monkeypatch):
    trainer = tiny_trainer(data, tmp_path, tiny_model(), max_steps=2, save_strategy="no", eval_strategy="epoch")
    score = trainer.evaluate
    monkeypatch.setattr(trainer, "evaluate", lambda *args, **more: os.kill(os.getpid(), signal.SIGTERM) or score())
    with pytest.raises(TrainingInterrupted, match="interrupted after step 2 of 2"):
        trainer.train()
    assert last_whole_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoint-2")


def test_a_signal_in_the_last_step_lets_the_training_end(data, tmp_path):
    trainer = tiny_trainer(data, tmp_path, max_steps=2)
    trainer.add_callback(SignalDuring(signal.SIGINT, step=2))
    assert trainer.train().global_step == 2


def test_by_rank_hands_on_the_error_of_a_process_that_is_alone():
    with pytest.raises(ZeroDivisionError):
        by_rank(lambda: 1 // 0)
    assert by_rank(lambda: 7) == [7]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at Linux' list of processes")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_outlive_a_signal_to_all_and_end_with_the_training(data, tmp_path, number):
    settings = {"max_steps": 10_000, "dataloader_num_workers": 2, "logging_steps": 1}
    command = [sys.executable, PROGRAM, str(data), str(tmp_path), "--settings", json.dumps(settings)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        assert any(line.startswith("step 3/") for line in process.stdout), "the training began"
        while len(members(process.pid)) < 3:  # an epoch has two steps, and workers of its own
            time.sleep(0.01)
        if number == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, number)  # as a terminal's Ctrl-C and Slurm do
        process.communicate(timeout=120)
        assert all_end(process.pid)
    finally:
        for pid in members(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert (last_whole_checkpoint(str(tmp_path)) is not None) == (number != signal.SIGKILL)

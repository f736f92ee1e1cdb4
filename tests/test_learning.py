"""A small model learns generated videos: the CPU recipe, from the command line to the score."""

import argparse
import json

import pytest

from ifc_hf.cli import train
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.training.checkpoints import last_whole_checkpoint


def run_train(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return train.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.mark.slow  # about 5 minutes of CPU time
def test_cpu_recipe_learns(tmp_path):
    data = write_synthetic_ytvis(
        tmp_path / "data", num_videos=200, num_frames=6, size_hw=(96, 128), num_valid_videos=10
    )
    settings = ["--set", "eval_on_start=true", "disable_tqdm=true"]
    folders = ["--data", data, "--output", tmp_path / "model", "--cache-dir", tmp_path / "cache"]
    assert run_train("--recipe", "cpu_small", *folders, *settings) == 0
    state = json.loads((tmp_path / last_whole_checkpoint(str(tmp_path / "model")) / "trainer_state.json").read_text())
    losses = [log["loss"] for log in state["log_history"] if "loss" in log]
    scores = [log["eval_AP"] for log in state["log_history"] if "eval_AP" in log]
    print("losses", losses, "AP", scores)
    assert losses[-1] < 0.2 * losses[0]
    assert scores[0] < 0.05 and max(scores) > 0.5

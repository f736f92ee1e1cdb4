"""A small model learns generated videos: the CPU recipe, from the command line to the score."""

import json
from pathlib import Path

import pytest

from ifc_hf.cli.main import main
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.training.checkpoints import last_whole_checkpoint


@pytest.mark.slow  # about 6 minutes of CPU time
def test_cpu_recipe_learns(tmp_path):
    sizes = {"num_videos": 800, "num_frames": 6, "size_hw": (96, 128), "num_valid_videos": 10}
    data = write_synthetic_ytvis(tmp_path / "data", **sizes)
    folders = ["--data", f"{data}", "--output", f"{tmp_path}/model", "--cache-dir", f"{tmp_path}/cache"]
    settings = ["--set", "eval_on_start=true", "disable_tqdm=true"]
    assert main(["train", "--recipe", "cpu_small", *folders, *settings]) == 0
    state = json.loads((Path(last_whole_checkpoint(f"{tmp_path}/model")) / "trainer_state.json").read_text())
    losses = [log["loss"] for log in state["log_history"] if "loss" in log]
    scores = [log["eval_AP"] for log in state["log_history"] if "eval_AP" in log]
    assert losses[-1] < 0.2 * losses[0]
    assert scores[0] < 0.05 and max(scores) > 0.5

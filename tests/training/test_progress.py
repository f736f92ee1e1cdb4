"""What a person sees of a training."""

import sys

import pytest
from PIL import Image
from transformers import TrainerState

from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.training.progress import log_line, plot_training
from tiny_training import tiny_trainer

LOSS = {"loss": 12.34567, "loss_ce": 2.1, "loss_mask": 0.0523, "loss_dice": 0.8, "learning_rate": 1e-4, "epoch": 0.2}


def test_lines_hold_what_a_person_wants_to_know():
    state = TrainerState(global_step=20, max_steps=6000)
    line = log_line({**LOSS, "loss_ce_0": 3.0, "grad_norm": 9.0}, state, 5025.4)
    expected = "step 20/6000: loss 12.346 (class 2.100, mask 0.052, dice 0.800), rate 1.0e-04, 1:23:45 left"
    assert line == expected
    scores = {f"eval_{name}": 0.25 for name in ("AP", "AP50", "AP75", "AR1", "AR10", "APs")}
    line = log_line({**scores, "eval_runtime": 61.0}, state, None)
    assert line == "step 20/6000: eval AP 0.250, AP50 0.250, AP75 0.250, AR1 0.250, AR10 0.250 (0:01:01)"
    assert log_line({"train_runtime": 3.0, "train_loss": 1.5}, state, None).endswith(
        "trained for 0:00:03, mean loss 1.500"
    )
    assert log_line({"total_flos": 1}, state, None) is None


@pytest.mark.parametrize("disable_tqdm", [True, False])
def test_a_training_prints_its_schedule_once_and_readable_lines(tmp_path, capsys, disable_tqdm):
    data = write_synthetic_ytvis(tmp_path / "data", num_videos=4, num_frames=4, size_hw=(32, 48))
    settings = {"max_steps": 3, "gradient_accumulation_steps": 2, "disable_tqdm": disable_tqdm}
    trainer = tiny_trainer(data, tmp_path / "run", **settings)
    capsys.readouterr()
    trainer.train()
    output = capsys.readouterr()
    lines = [line for line in output.out.splitlines() if line.startswith(("schedule", "step"))]
    assert lines[0] == (
        "schedule: 3 steps of 4 clips (2 at once, 1 processes, 2 in turn); learning rate 0.001 (backbone 0.0001), "
        "warm-up 0 steps, x0.1 after step 2"
    )
    assert [line.partition(":")[0] for line in lines[1:]] == ["step 1/3", "step 2/3", "step 3/3", "step 3/3"]
    assert " left" in lines[1] and "{'loss'" not in output.out
    assert ("3/3" in output.err) == (not disable_tqdm), "the bar"


def test_curves_become_a_picture(tmp_path, monkeypatch):
    history = [{**LOSS, "step": step} for step in (1, 2, 3)] + [{"step": 3, "eval_AP": 0.5}]
    plot_training(history, tmp_path / "training.png")
    with Image.open(tmp_path / "training.png") as picture:
        assert picture.size == (840, 480)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'needs matplotlib: pip install "ifc_hf\[draw\]"'):
        plot_training(history, tmp_path / "other.png")

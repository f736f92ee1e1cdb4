"""The same seed and the same number of threads give the same weights and the same masks, to the last bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ifc_hf import IfcVideoSegmenter
from ifc_hf.data.synthetic import write_synthetic_ytvis
from tiny_training import tiny_trainer

STEPS = 50


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_ytvis(tmp_path_factory.mktemp("data"), 4, 4, (40, 56), num_valid_videos=1)


@pytest.fixture
def as_before():
    """Gives threads and algorithms back to the other tests."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def train_and_segment(data: Path, output: Path, **settings: Any) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Weights after some steps, dropout and augmentation included, and what they find in a video."""
    trainer = tiny_trainer(data, output, max_steps=STEPS, logging_steps=STEPS, **settings)
    trainer.train()
    frames = np.random.default_rng(0).integers(0, 256, (6, 40, 56, 3), dtype=np.uint8)
    segmenter = IfcVideoSegmenter(trainer.model, trainer.processing_class, num_frames=2, score_threshold=0.0)
    return trainer.model.state_dict(), [track.to_dict() for track in segmenter(frames)]


@pytest.mark.slow
@pytest.mark.parametrize("full_determinism", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_training_and_its_masks_repeat(data, tmp_path, as_before, threads, full_determinism):
    torch.set_num_threads(threads)
    first, second = (
        train_and_segment(data, tmp_path / name, full_determinism=full_determinism) for name in ("first", "second")
    )
    assert all(torch.equal(first[0][name], weights) for name, weights in second[0].items())
    assert first[1] == second[1]
    assert any(rle is not None for track in first[1] for rle in track["segmentations"])


@pytest.mark.slow
def test_another_seed_gives_other_weights(data, tmp_path):
    one, other = (train_and_segment(data, tmp_path / str(seed), seed=seed) for seed in (1, 2))
    assert not all(torch.equal(one[0][name], weights) for name, weights in other[0].items())

"""Model folders that can't be used: one clear error, whatever is broken; never random weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ifc_hf.cli.main import main
from ifc_hf.loading import checkpoint_folder, load_checkpoint
from ifc_hf.samples import sample_clip
from tiny_models import save_tiny_model

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "model")


def change_config(folder: Path, **values: object) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **values}))


def change_weights(folder: Path, change: Callable[[dict], dict]) -> None:
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})


def test_a_whole_folder_loads(whole):
    model, processor = load_checkpoint(whole)
    assert not model.training and model.dtype == torch.float32 and processor.size["shortest_edge"] == 48


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-100],
        lambda content: content[:5],
        lambda content: b"",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: b"\x10" + bytes(7) + b"{not json at all}",
        lambda content: content + b"more",
    ],
)
def test_broken_weights_file(folder, change):
    (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))
    with pytest.raises(ValueError, match=r"model: its weights can't be used \(SafetensorError: "):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: {f"x.{name}": tensor for name, tensor in tensors.items()},
            r"\d+ missing tensors \(class_head",
        ),
        (lambda tensors: dict(list(tensors.items())[1:]), r"1 missing tensors \(class_head.layers.0.bias\)"),
        (lambda tensors: {**tensors, "zzz": torch.zeros(2)}, r"1 tensors that the model doesn't have \(zzz\)"),
        (
            lambda tensors: {**tensors, "model.query_embedding.weight": torch.zeros(2, 3)},
            r"1 tensors of another shape \(model.query_embedding.weight \(2, 3\) instead of \(7, 32\)\)",
        ),
    ],
)
def test_weights_of_another_model(folder, change, message):
    change_weights(folder, change)
    with pytest.raises(ValueError, match="model: the weights don't fit the configuration: .*" + message):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_size": -1},
        {"hidden_size": "a"},
        {"num_attention_heads": 5},
        {"num_frames": 0},
        {"activation_function": "none"},
        {"encoder_layers": -3},
        {"backbone_config": {"model_type": "none"}},
        {"backbone_config": 5},
        {"id2label": [1, 2]},
        {"id2label": {"a": "b"}},
    ],
)
def test_configuration_that_cannot_work(folder, values):
    change_config(folder, **values)
    with pytest.raises(ValueError, match="model: its configuration can't be used"):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b""])
def test_file_that_is_no_configuration(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises((ValueError, OSError), match="config"):
        load_checkpoint(folder)


def test_device_that_is_not_there(whole):
    for device in ("gpu", "cuda:99", "meta"):
        with pytest.raises(ValueError, match=f"device '{device}' can't be used on this machine"):
            load_checkpoint(whole, device)


def test_a_command_says_it_in_one_line(folder, tmp_path, capsys):
    change_weights(folder, lambda tensors: {f"x.{name}": tensor for name, tensor in tensors.items()})
    arguments = ["predict", str(sample_clip()), "-o", str(tmp_path / "out"), "--model", str(folder)]
    assert main(arguments) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and "Loading weights" not in line]
    assert len(lines) == 1 and lines[0].startswith("error: ") and "the weights don't fit" in lines[0]


def test_where_a_checkpoint_lies(whole, tmp_path):
    assert checkpoint_folder(whole) == whole
    assert checkpoint_folder(tmp_path / "none") is None
    assert checkpoint_folder("somebody/not-in-the-cache") is None

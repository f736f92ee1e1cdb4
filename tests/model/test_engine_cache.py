"""What the cache of engines keeps is used again if it fits, and costs nothing but time if it doesn't."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from ifc_hf.model import engine_cache
from ifc_hf.model.engine_cache import cached, fingerprint
from tiny_models import tiny_model


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr("ifc_hf.model.engine_cache.constants.HF_HOME", str(tmp_path))
    return tmp_path


def make():
    return b"made"


def never():
    raise AssertionError("it was there")


def cached_file(home: Path) -> Path:
    return home / "ifc_hf" / "engines" / "folder" / "name"


def test_the_second_time_nothing_is_made(home):
    assert cached("folder", "name", make) == b"made"
    assert cached("folder", "name", never) == b"made"
    assert os.listdir(cached_file(home).parent) == ["name"]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:-1] + b"x", lambda b: b + b"x"])
def test_a_damaged_file_is_made_anew(home, damage):
    cached("folder", "name", make)
    file = cached_file(home)
    file.write_bytes(damage(file.read_bytes()))
    assert cached("folder", "name", lambda: b"again") == b"again"
    assert cached("folder", "name", never) == b"again"


def test_a_folder_that_can_not_be_made(home):
    (home / "ifc_hf").write_text("a file")
    assert cached("folder", "name", make) == b"made"


@pytest.mark.parametrize("step", ["mkstemp", "replace"])
def test_a_full_disk(home, monkeypatch, step):
    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    owner = engine_cache.tempfile if step == "mkstemp" else engine_cache.os
    monkeypatch.setattr(owner, step, refuse)
    assert cached("folder", "name", make) == b"made"
    assert os.listdir(cached_file(home).parent) == []


def with_other_weights(model):
    model.mask_head.conv_8.weight.data[0, 0, 0, 0] += 1e-6
    return model


def test_fingerprints():
    torch.manual_seed(0)
    state, model = tiny_model().state_dict(), tiny_model()
    model.load_state_dict(state)
    same = tiny_model()
    same.load_state_dict(state)
    assert fingerprint(model) == fingerprint(same)
    other_settings = tiny_model(pre_norm=True)
    other_settings.load_state_dict(state, strict=False)
    others = [fingerprint(other_settings), fingerprint(with_other_weights(same))]
    assert len({fingerprint(model), *others}) == 3


@pytest.mark.parametrize("package", engine_cache.PACKAGES)
def test_another_version_of_a_package_counts(package, monkeypatch):
    network = nn.Linear(1, 1)
    before = fingerprint(network)
    of_others = engine_cache.installed_version
    monkeypatch.setattr(
        engine_cache, "installed_version", lambda name: "0.0.0" if name == package else of_others(name)
    )
    assert fingerprint(network) != before

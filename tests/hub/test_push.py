"""Pushing to a Hub and loading from it, against a server of the tests' own; each client in a fresh process."""

from collections.abc import Iterator

import pytest

from hub_clients import CODE_FILES, WITHOUT_PACKAGES
from loopback_hub import WEIGHTS_AND_SETTINGS, LoopbackHub, loopback_hub, run_client

MAKE = """
import sys; sys.path.insert(0, HELPERS)
from ifc_hf import IfcImageProcessor
from tiny_models import tiny_model
model = tiny_model(id2label={0: "cat", 1: "dog", 2: "bird"})
processor = IfcImageProcessor(size={"shortest_edge": 32, "longest_edge": 64})
"""

# Prints numbers by which two clients can be compared.
LOAD = """
import numpy as np, torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForInstanceSegmentation, pipeline
classes = (AutoConfig, AutoImageProcessor, AutoModel, AutoModelForInstanceSegmentation)
things = [auto_class.from_pretrained(ROOT, **OPTIONS) for auto_class in classes]
print([type(thing).__name__ for thing in things])
pipe = pipeline("video-instance-segmentation", model=ROOT, **OPTIONS)
video = np.random.default_rng(0).integers(0, 255, (4, 40, 56, 3), dtype=np.uint8)
print([(track["label"], round(track["score"], 5), track["segmentations"]) for track in pipe(video, threshold=0.1)])
"""
FROM_THE_FOLDER = """
for thing in (*things, pipe, pipe.model):
    assert type(thing).__module__.startswith("transformers_modules.user.tiny."), type(thing)
"""


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    """A Hub with the repository `user/tiny`."""
    with loopback_hub() as hub:
        cache = tmp_path_factory.mktemp("pusher")
        run_client(f"{MAKE}model.push_to_hub('user/tiny')\nprocessor.push_to_hub('user/tiny')", hub, cache)
        yield hub


def load(trusting: bool, revision: str | None = None) -> str:
    """Program of a client that loads `user/tiny`, with the package or without it."""
    options = {"revision": revision, **({"trust_remote_code": True} if trusting else {})}
    start = f"MISSING = ['ifc_hf']\n{WITHOUT_PACKAGES}" if trusting else "import ifc_hf\n"
    return f"{start}ROOT, OPTIONS = 'user/tiny', {options}\n{LOAD}{FROM_THE_FOLDER if trusting else ''}"


def test_what_is_pushed(pushed):
    files = pushed.repositories["user/tiny"].files("main")
    assert set(files) == CODE_FILES | WEIGHTS_AND_SETTINGS


@pytest.mark.slow
def test_loading_with_and_without_the_package_and_offline(pushed, tmp_path):
    with_package = run_client(load(trusting=False), pushed, tmp_path / "with")
    without = run_client(load(trusting=True), pushed, tmp_path / "without")
    assert with_package == without
    assert "'counts'" in without
    assert "['IfcConfig', 'IfcImageProcessor', 'IfcModel', 'IfcForVideoInstanceSegmentation']" in without
    offline = run_client(
        load(trusting=True), pushed, tmp_path / "without", HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9"
    )
    assert offline == without


@pytest.mark.slow
def test_older_revision(pushed, tmp_path):
    revision = pushed.repositories["user/tiny"].commits[2][0]
    newest = run_client(load(trusting=False), pushed, tmp_path)
    other = "model.class_head.layers[-1].bias.data += 5 * __import__('torch').eye(4)[1]"
    run_client(f"{MAKE}{other}\nmodel.push_to_hub('user/tiny')", pushed, tmp_path)
    assert run_client(load(trusting=False), pushed, tmp_path) != newest
    assert run_client(load(trusting=False, revision=revision), pushed, tmp_path) == newest


@pytest.mark.slow
def test_private_repository(pushed, tmp_path):
    run_client(f"{MAKE}model.push_to_hub('user/secret', private=True)", pushed, tmp_path)
    program = (
        "import ifc_hf\nfrom transformers import AutoModel\nprint(type(AutoModel.from_pretrained('user/secret')))"
    )
    assert "IfcModel" in run_client(program, pushed, tmp_path / "owner")
    run_client(
        program, pushed, tmp_path / "stranger", fails_with="user/secret is not a local folder", HF_TOKEN="hf_other"
    )


@pytest.mark.slow
def test_interrupted_upload_is_tried_again(pushed, tmp_path):
    pushed.failures[r"PUT /uploads/\w+"] = 1
    # Other weights than those that the Hub has, which would not be sent again.
    run_client(
        f"{MAKE}model.class_head.layers[-1].bias.data += 1\nmodel.push_to_hub('user/retried')", pushed, tmp_path
    )
    assert pushed.failures[r"PUT /uploads/\w+"] == 0
    assert "model.safetensors" in pushed.repositories["user/retried"].files("main")


@pytest.mark.slow
def test_server_error_leaves_the_repository_as_it_was(pushed, tmp_path):
    run_client(f"{MAKE}model.push_to_hub('user/failing')", pushed, tmp_path)
    commits = len(pushed.repositories["user/failing"].commits)
    pushed.failures[r"POST /api/models/user/failing/commit/main"] = 99
    run_client(f"{MAKE}model.push_to_hub('user/failing')", pushed, tmp_path, fails_with="the test wants this to fail")
    assert len(pushed.repositories["user/failing"].commits) == commits


@pytest.mark.slow
def test_pushes_of_a_trainer_carry_the_code(pushed, tmp_path):
    settings = {
        "push_to_hub": True, "hub_model_id": "user/trained", "hub_strategy": "every_save", "hub_always_push": True,
        "save_strategy": "steps", "save_steps": 1, "max_steps": 2,
    }  # fmt: skip
    program = f"""
import sys; sys.path.insert(0, HELPERS)
from pathlib import Path
from ifc_hf.data.synthetic import write_synthetic_ytvis
from tiny_training import tiny_trainer
folder = Path({str(tmp_path)!r})
write_synthetic_ytvis(folder / "data", num_videos=2, num_frames=3, size_hw=(32, 48))
trainer = tiny_trainer(folder / "data", folder / "trained", **{settings})
trainer.train()
trainer.push_to_hub()
"""
    run_client(program, pushed, tmp_path / "cache")
    pushes = [set(files) for _, files in pushed.repositories["user/trained"].commits if "config.json" in files]
    assert len(pushes) >= 2
    for files in pushes:
        assert files >= CODE_FILES | {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert "README.md" in pushes[-1]

"""Model cards: their headers suit the Hub, their code runs, and the shipped ones are what the generator writes."""

import os
import re
import subprocess
import sys

import pytest
from huggingface_hub import ModelCard

from hub_clients import WITHOUT_PACKAGES
from hub_metadata import metadata_errors
from ifc_hf import IfcImageProcessor, default_checkpoint
from ifc_hf.cards.published import PUBLISHED, converted_card, published_card
from ifc_hf.cards.template import LIMITATIONS, eval_results_of, model_card
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.samples import sample_clip
from paths import ROOT
from tiny_models import tiny_model

CARDS = ROOT / "model_cards"


def example_card(**changes) -> str:
    scores = {"AP": 12.34, "AP50": 50.0, "AR1": -100.0}
    settings = {
        "name": "ifc-tiny", "source": "models/ifc-tiny", "introduction": "Tiny.", "classes": ["cat", "dog", "bird"],
        "num_frames": 3, "scores": "Low.", "training": "None.", "license": "apache-2.0", "tags": ["ifc", "demo"],
        "eval_results": eval_results_of("someone/shapes", "Shapes", "valid", scores), "datasets": ["someone/shapes"],
    }  # fmt: skip
    return model_card(**{**settings, **changes})


def test_header_says_what_the_hub_sorts_by():
    card = example_card()
    data = ModelCard(card).data
    assert metadata_errors(card) == []
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "image-segmentation", "apache-2.0")
    assert data.tags == ["video-instance-segmentation", "ifc", "demo"]
    assert [(result.metric_type, result.metric_value) for result in data.eval_results] == [
        ("AP", 12.3),
        ("AP50", 50.0),
    ]
    assert data.model_name == "ifc-tiny" and data.datasets == ["someone/shapes"]


def test_limitations_are_said():
    assert all(f"- {limitation}\n" in example_card() for limitation in LIMITATIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval_results": eval_results_of("my shapes", "Shapes", "valid", {"AP": 1})}, "dataset.type"),
        ({"license": "mine"}, "license"),
        ({"datasets": ["no such id"]}, "datasets"),
    ],
)
def test_the_rules_find_what_the_hub_would_refuse(changes, message):
    assert message in " ".join(metadata_errors(example_card(**changes)))


@pytest.mark.parametrize("result", PUBLISHED, ids=lambda result: result.name)
def test_cards_of_the_authors_checkpoints(result):
    card = (CARDS / f"{result.name}.md").read_text(encoding="utf-8")
    assert card == published_card(result), "run scripts/make_model_cards.py"
    assert metadata_errors(card) == []
    assert "As published by the authors" in card and "not measured by `ifc_hf`" in card
    assert f"scripts/convert_original.py CHECKPOINT.pth {result.name} --backbone {result.backbone}" in card
    figures = {entry.metric_type: entry.metric_value for entry in ModelCard(card).data.eval_results}
    assert tuple(figures.values()) == result.scores
    assert all(entry.source_url == "https://arxiv.org/abs/2106.03299" for entry in ModelCard(card).data.eval_results)


def test_the_shipped_checkpoint_has_a_card():
    card = (CARDS / "ifc-demo.md").read_text(encoding="utf-8")
    assert card == (default_checkpoint() / "README.md").read_text(encoding="utf-8")
    assert metadata_errors(card) == []
    assert {entry.metric_type for entry in ModelCard(card).data.eval_results} >= {"AP", "AP50", "AP75"}


def test_a_converted_checkpoint_claims_no_result():
    card = converted_card("resnet50", "ytvis_2019", "folder", "some.pth", "0" * 64)
    assert metadata_errors(card) == [] and ModelCard(card).data.eval_results is None
    assert "True of this checkpoint only if it is theirs." in card and "some.pth" in card
    assert "Not measured" in converted_card("resnet50", "coco", "folder", "some.pth", "0" * 64)
    assert "Not known." in converted_card("resnet101", None, "folder", "some.pth", "0" * 64)


@pytest.mark.slow
def test_usage_code_runs_with_and_without_the_package(tmp_path):
    folder = tmp_path / "models" / "ifc-tiny"
    tiny_model(id2label={0: "cat", 1: "dog", 2: "bird"}).save_pretrained(folder)
    IfcImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(folder)
    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for _, frame in zip(range(4), read_frames(sample_clip()), strict=False):
            writer.write(frame)
    with_package, without = re.findall(r"```python\n(.*?)```", example_card(), re.DOTALL)
    assert "import ifc_hf" in with_package and "trust_remote_code=True" in without
    for code in (with_package, f"MISSING = ['ifc_hf']\n{WITHOUT_PACKAGES}\n{without}assert isinstance(tracks, list)"):
        result = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        )
        assert result.returncode == 0, result.stderr

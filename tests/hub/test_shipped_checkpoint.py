"""The shipped checkpoint's folder is complete: its card's snippets work, with the package and without it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import ifc_hf.model
from hub_clients import run
from ifc_hf import default_checkpoint
from ifc_hf.model.configuration_ifc import AUTO_MAP, CUSTOM_PIPELINES
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.samples import sample_clip

FOLDER = Path(default_checkpoint())
SNIPPETS = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def code_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[a-z]*.py")}


def test_its_code_is_that_of_the_package():
    here, there = code_of(FOLDER), code_of(Path(ifc_hf.model.__file__).parent)
    assert here.keys() == there.keys(), "run scripts/link_demo_code.sh"
    assert here == there


def test_its_configuration_names_its_code():
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["auto_map"] == AUTO_MAP and config["custom_pipelines"] == CUSTOM_PIPELINES
    processor = json.loads((FOLDER / "preprocessor_config.json").read_text())
    assert processor["auto_map"] == {"AutoImageProcessor": AUTO_MAP["AutoImageProcessor"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("snippet", "missing"), [(SNIPPETS[0], ()), (SNIPPETS[1], ("ifc_hf", "wrapt"))], ids=["package", "no package"]
)
def test_the_cards_snippets_run(snippet, missing, tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for _, frame in zip(range(6), read_frames(sample_clip("generated")), strict=False):
            writer.write(np.ascontiguousarray(frame))
    assert "path/to/this/folder" in snippet and "clip.mp4" in snippet
    code = snippet.replace("path/to/this/folder", str(FOLDER)).replace("clip.mp4", str(tmp_path / "clip.mp4"))
    program = f"{code}\nprint(max(track['score'] for track in {'tracks' if missing else '[track]'}) > 0.3)"
    assert run(program, tmp_path / "cache", missing).splitlines()[-1] == "True"

"""Every command of the README and of docs/ runs, on tiny data of the names that they use."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import command_server
import docs_blocks
from annotation_files import CVAT_POLYGON, cvat_xml, write_frames
from docs_blocks import Block, blocks_of, smaller, write_blocks
from golden import reference_state_dict
from ifc_hf import IfcImageProcessor
from ifc_hf.data.synthetic import SHAPE_NAMES, write_synthetic_coco, write_synthetic_ytvis
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.samples import sample_clip
from loopback_hub import loopback_hub
from paths import ROOT
from tiny_models import tiny_model

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHORTEST_REASON = 20  # characters


def make_clip(path: Path) -> None:
    with VideoWriter(path, 10) as writer:
        for _, frame in zip(range(5), read_frames(sample_clip()), strict=False):
            writer.write(np.ascontiguousarray(frame[::2, ::2]))


def make_videos(path: Path) -> None:
    write_synthetic_ytvis(path, num_videos=25, num_frames=3, size_hw=(32, 48), num_valid_videos=2)


def make_datasets(path: Path) -> None:
    make_videos(path / "ytvis_2019")
    write_synthetic_coco(path / "coco", num_images=4, size_hw=(32, 48))


def make_checkpoint(path: Path) -> None:
    tiny_model(id2label=dict(enumerate(SHAPE_NAMES))).save_pretrained(path)
    IfcImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(path)


def make_original_checkpoint(path: Path) -> None:
    torch.save({"model": reference_state_dict("r50_ytvis")}, path)


def make_cvat_export(path: Path) -> None:
    write_frames(path / "images", ["frame_000000.png", "frame_000001.png", "frame_000002.png"])
    (path / "annotations.xml").write_text(cvat_xml(CVAT_POLYGON))


def make_cvat_project(path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_guide", ROOT / "scripts" / "make_guide.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_cvat_project(path, num_clips=12, num_frames=3, size_hw=(32, 48))


# What commands take as given, by the name that they have for it.
GIVEN: dict[str, Callable[[Path], None]] = {
    "my_clip.mp4": make_clip,
    "my_videos": make_videos,
    "datasets/": make_datasets,
    "ifc-coco": make_checkpoint,
    "my_model": make_checkpoint,
    "ytvis_r50.pth": make_original_checkpoint,
    "export/": make_cvat_export,
    "cvat_export.zip": make_cvat_project,
}
# Names that say `datasets/`, too.
ALIASES = {"datasets/": ('"datasets"', "--data datasets")}


def needed(code: str) -> list[str]:
    """Names of `GIVEN` that the commands mention."""
    return [name for name in GIVEN if any(text in code for text in (name, *ALIASES.get(name, ())))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_blocks_that_are_not_run_say_why(document):
    for block in blocks_of(document):
        assert block.reason is None or len(block.reason) >= SHORTEST_REASON, block.place


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Iterator[dict[str, str]]:
    """What the pages' programs get: a Hub on the loopback, and programs of a process that has imported everything."""
    with loopback_hub() as hub:
        settings = {**os.environ, **hub.environment(str(tmp_path_factory.mktemp("cache")))}
        settings["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        program = [sys.executable, command_server.__file__]
        with subprocess.Popen(
            program, env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            yield {**settings, "PATH": server.stdout.readline().strip()}
            server.stdin.close()


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_runs(document, tmp_path, environment):
    blocks = [block for block in blocks_of(document) if block.reason is None]
    if not blocks:
        return
    if document.name == "export.md" and importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("the extra `export` is not installed")
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("src", "scripts", "model_cards"):
        (folder / name).symlink_to(ROOT / name)
    for name in needed("\n".join(block.code for block in blocks)):
        GIVEN[name](folder / name.rstrip("/"))
    write_blocks(blocks, tmp_path / "blocks.json")
    python = Path(environment["PATH"].partition(os.pathsep)[0]) / "python"
    result = subprocess.run(
        [python, docs_blocks.__file__, tmp_path / "blocks.json"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-4000:]


# Paths in the repository, and those of Python files in a folder of the package.
FOLDERS = "|".join(path.name for path in (ROOT / "src/ifc_hf").iterdir() if path.is_dir())
NAMED = re.compile(rf"(?:\.\./)?\b(?:src|scripts|tests|docs)/[\w/.-]*[\w/]|\b(?:{FOLDERS})/[a-z_/]+\.py\b")


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_files_that_a_page_names_exist(document):
    named = set(NAMED.findall(document.read_text(encoding="utf-8")))
    places = (ROOT, ROOT / "src/ifc_hf", document.parent)
    assert not [name for name in named if not any((place / name).exists() for place in places)]


def test_blocks_are_found_with_their_reasons(tmp_path):
    (tmp_path / "page.md").write_text(
        "# A\n```bash\nls\n```\ntext\n\n<!-- not run: takes a week -->\n```python\nwork()\n```\n```\ntree\n```\n"
        "- ```\n"
    )
    assert blocks_of(tmp_path / "page.md") == [
        Block("page.md:3", "bash", "ls\n", None),
        Block("page.md:9", "python", "work()\n", "takes a week"),
    ]


def test_commands_are_made_small_but_stay_the_same_program():
    code = "ifc-hf train --recipe x \\\n    --set max_steps=9  # long\nifc-hf evaluate --model y\n"
    first, second = smaller(code).splitlines()
    assert first.startswith("ifc-hf train --recipe x --set max_steps=9 --set max_steps=1 ")
    assert second == "ifc-hf evaluate --model y"


def test_the_runner_names_the_block_that_fails(tmp_path):
    blocks = [Block("a:1", "python", "x = 1", None), Block("a:5", "python", "x += y", None)]
    write_blocks(blocks, tmp_path / "blocks.json")
    result = subprocess.run(
        [sys.executable, docs_blocks.__file__, tmp_path / "blocks.json"], capture_output=True, text=True
    )
    assert result.returncode == 1 and "== a:5" in result.stdout and "name 'y' is not defined" in result.stderr

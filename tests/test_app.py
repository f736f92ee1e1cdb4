"""The demo in the browser: its parts, the Space that is made of it, and a visitor who clicks through in Chromium."""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from ifc_hf import IfcImageProcessor
from ifc_hf.cli.main import main
from ifc_hf.model.video_files import read_frames, video_info
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.samples import sample_clip
from paths import ROOT
from tiny_models import tiny_model

gradio = pytest.importorskip("gradio", reason="the demo's extra `app` is not installed")

from ifc_hf.app import Demo, darken_around  # noqa: E402 -- after it is known that Gradio is there
from ifc_hf.outputs.writer import Shot  # noqa: E402

NUM_FRAMES = 4
SECONDS_TO_START, SECONDS_TO_ANSWER = 600, 300  # other work may run on the machine
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# As root Chromium runs only without its sandbox; the others keep it from the network.
CHROMIUM_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_model(id2label={0: "cat", 1: "dog", 2: "bird"}).save_pretrained(folder)
    IfcImageProcessor(size={"shortest_edge": 64, "longest_edge": 128}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, 10) as writer:
        for _, frame in zip(range(NUM_FRAMES), read_frames(sample_clip()), strict=False):
            writer.write(np.ascontiguousarray(frame[::4, ::4]))
    return path


def test_find_draw_isolate(model_folder, clip):
    demo = Demo(str(model_folder), "cpu", max_frames=3)
    found = demo.find_objects(str(clip), num_frames=2, threshold=0.1, classes=["dog", "bird"])
    assert video_info(demo.draw(found)).num_frames == 3
    assert found.shown and {track["label"] for track in found.shown} <= {"dog", "bird"}
    assert json.loads((found.folder / "tracks.json").read_text())["video"] == "clip"  # not where it lies
    alone = demo.isolate(found, found.shown[0])
    assert video_info(alone).num_frames == 3 and demo.isolate(found, found.shown[0]) == alone
    shutil.rmtree(found.folder)


def test_isolated_objects_keep_their_colours():
    frame = np.full((2, 2, 3), (200, 100, 60), np.uint8)
    masks = np.array([[[True, False], [False, False]]])
    shown = darken_around(Shot(0, 0.0, frame, frame, [0], ["cat"], masks))
    assert shown[0, 0].tolist() == [200, 100, 60] and shown[1, 1].tolist() == [30, 30, 30]


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("ifc_hf.app.gr", None)
    assert main(["app"]) == 1
    assert capsys.readouterr().err == 'error: the demo needs Gradio: pip install "ifc_hf[app]"\n'


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("space") / "space"
    script = ROOT / "scripts" / "make_space.py"
    subprocess.run([sys.executable, script, folder, "--model", model_folder], check=True)
    return folder


@pytest.mark.slow
def test_space_has_what_a_space_needs(space):
    header = yaml.safe_load((space / "README.md").read_text().split("---\n")[1])
    assert header["sdk"] == "gradio" and header["sdk_version"] == gradio.__version__
    assert (space / header["app_file"]).read_text() == "from ifc_hf.app import launch\n\nlaunch('model')\n"
    requirements = (space / "requirements.txt").read_text().split()
    assert {"torch", "transformers", "av", "supervision"} <= {line.split(">")[0] for line in requirements}
    assert (space / "model" / "model.safetensors").exists() and not list(space.rglob("__pycache__"))


@pytest.fixture(scope="module")
def address(space: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Space, running."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "app.log"
    environment = {
        **os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1", "GRADIO_TEMP_DIR": str(log.parent), "GRADIO_ANALYTICS_ENABLED": "False",
    }  # fmt: skip
    with open(log, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=space, env=environment, stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        end = time.monotonic() + SECONDS_TO_START
        while process.poll() is None and time.monotonic() < end:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        else:
            pytest.fail(f"the app doesn't answer: {log.read_text()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="the extra `browser` is not installed")
def test_a_visitor_clicks_through(address, clip, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page.set_default_timeout(1000 * SECONDS_TO_ANSWER)
        expect.set_options(timeout=1000 * SECONDS_TO_ANSWER)
        page.goto(address)

        # Without a video there is a message.
        page.locator("#start").click()
        expect(page.get_by_text("Upload a video first")).to_be_visible()

        page.locator("#sample").click()
        expect(page.locator("video").first).to_have_attribute("src", re.compile("bunny"))
        page.reload()
        page.locator("input[type=file]").first.set_input_files(clip)
        expect(page.locator("video").first).to_have_attribute("src", re.compile("clip"))
        page.get_by_label("number input for Frames of a window").fill("2")
        page.get_by_label("number input for Least score of a track").fill("0.1")
        page.get_by_label("Classes").click()
        page.get_by_role("option", name="dog").click()
        page.get_by_role("option", name="bird").click()
        page.keyboard.press("Escape")
        page.locator("#start").click()

        heading = page.locator("#heading")
        expect(heading).to_contain_text(f"tracks in {NUM_FRAMES} frames")
        pictures = page.locator("#tracks .thumbnail-lg")
        count = int(heading.inner_text().split()[0])
        assert count > 0 and pictures.count() == count
        everything = page.locator("#drawn video").get_attribute("src")
        page.screenshot(path=tmp_path / "all.png", full_page=True)

        pictures.first.click()
        expect(heading).to_contain_text("#")
        expect(page.locator("#drawn video")).to_have_attribute("src", re.compile("track_"))
        page.screenshot(path=tmp_path / "one.png", full_page=True)
        page.locator("#all").click()
        expect(page.locator("#drawn video")).to_have_attribute("src", everything)

        with page.expect_download() as download:
            page.locator("#download").click()
        content = json.loads(Path(download.value.path()).read_text())
        browser.close()
    assert content["num_frames"] == NUM_FRAMES and content["settings"]["num_frames"] == 2
    assert content["settings"]["classes"] == ["dog", "bird"]
    assert len({track["track_id"] for track in content["tracks"]}) == count
    assert {track["label"] for track in content["tracks"]} <= {"dog", "bird"}

"""The demo in the browser: its parts, the Space that is made of it, and a visitor who clicks through in Chromium."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

from ifc_hf.app.demo import Choice, Demo, Step, darken_around  # noqa: E402 -- after it is known that Gradio is there
from ifc_hf.app.page import forget_job  # noqa: E402
from ifc_hf.app.running import Job, StoppedError, heading, progress_html  # noqa: E402
from ifc_hf.outputs.shots import Shot  # noqa: E402

NUM_FRAMES = 4
BIRD = "<i>bird</i>"  # a class of this name shall be read, not obeyed
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
    tiny_model(id2label={0: "cat", 1: "dog", 2: BIRD}).save_pretrained(folder)
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
    steps = []
    found = demo.work(str(clip), Choice(num_frames=2, threshold=0.1, classes=["dog", BIRD]), steps.append)
    assert [(step.stage, step.done, step.total) for step in steps] == [
        (stage, done, 3) for stage in ("Finding objects", "Drawing") for done in (1, 2, 3)
    ]
    height, width, _ = next(iter(read_frames(clip))).shape
    assert steps[0].picture.shape == (height, width, 3)
    assert video_info(found.folder / "drawn.mp4").num_frames == 3
    assert found.shown and {track["label"] for track in found.shown} <= {"dog", BIRD}
    assert json.loads((found.folder / "tracks.json").read_text())["video"] == "clip"  # not where it lies
    alone = demo.isolate(found, found.shown[0])
    assert video_info(alone).num_frames == 3 and demo.isolate(found, found.shown[0]) == alone
    shutil.rmtree(found.folder)


def test_work_is_stopped_and_leaves_nothing(model_folder, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    demo = Demo(str(model_folder), "cpu")
    choice = Choice(num_frames=2, threshold=0.1, classes=[])
    for stage in ("Finding objects", "Drawing"):
        job = Job()

        def work(report, stage=stage, job=job):
            def stop_at(step):
                if step.stage == stage and step.done == 2:
                    job.stop.set()
                report(step)

            return demo.work(str(clip), choice, stop_at)

        with pytest.raises(StoppedError):
            list(job.follow(work))
        assert not job.results and not list(tmp_path.iterdir())
    job = Job()
    assert [step.done for step in job.follow(lambda report: demo.work(str(clip), choice, report))]
    assert len(job.results) == 1 and len(list(tmp_path.iterdir())) == 1
    forget_job(job)
    assert not list(tmp_path.iterdir())


def test_a_bad_video_is_named_without_its_folder(model_folder, tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    with pytest.raises(ValueError, match="notes.mp4") as raised:
        Demo(str(model_folder), "cpu").find_objects(str(path), Choice(2, 0.1, []))
    assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize(
    ("step", "texts"),
    [
        (None, ["clip.mp4", "width: 0%"]),
        (Step("Drawing", 30, 120, 4.0), ["25 %", "30 of 120 frames", "7.5 frames/s", "12 s left", "width: 25%"]),
        (Step("Drawing", 10, 2000, 1.0), ["0 %", "3 min 19 s left"]),
        (Step("Drawing", 120, 120, 4.0), ["100 %", "120 of 120 frames"]),
        (Step("Finding objects", 30, None, 4.0), ["Finding objects, 30 frames, 7.5 frames/s"]),
        (Step("Drawing", 1, 9, 0.0), ["11 %", "0.0 frames/s"]),
    ],
)
def test_progress_is_told_in_words(step, texts):
    html = progress_html("clip.mp4", "2 of 3", step)
    assert all(text in html for text in (*texts, "clip.mp4 (2 of 3)"))
    assert ("left" in html) == any("left" in text for text in texts)


def test_names_are_escaped():
    for html in (progress_html("<img src=x>.mp4", "", None), heading("#1 <img src=x> 0.5")):
        assert "&lt;img src=x&gt;" in html and "<img" not in html


def test_isolated_objects_keep_their_colours():
    frame = np.full((2, 2, 3), (200, 100, 60), np.uint8)
    masks = np.array([[[True, False], [False, False]]])
    shown = darken_around(Shot(0, 0.0, frame, frame, [0], ["cat"], masks))
    assert shown[0, 0].tolist() == [200, 100, 60] and shown[1, 1].tolist() == [30, 30, 30]


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("ifc_hf.app.page.gr", None)
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, which waits for as long as other work on the machine may take."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    playwright_api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")
    with playwright_api.sync_playwright() as playwright:
        playwright_api.expect.set_options(timeout=1000 * SECONDS_TO_ANSWER)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


def open_page(browser: Any, address: str, width: int) -> Any:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(1000 * SECONDS_TO_ANSWER)
    page.goto(address)
    return page


def is_cut(page: Any, selector: str) -> list[bool]:
    """Whether the texts of elements are wider than the elements."""
    return page.locator(selector).evaluate_all("all => all.map(one => one.scrollWidth > one.clientWidth + 1)")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_a_visitor_clicks_through(browser, address, clip, tmp_path, width):
    from playwright.sync_api import expect

    page = open_page(browser, address, width)
    # Without a video there is a message.
    page.locator("#start").click()
    expect(page.get_by_text("Upload a video first")).to_be_visible()

    page.locator("#sample").click()
    expect(page.locator("#videos")).to_contain_text("bunny")
    page.reload()
    second, broken = tmp_path / "second.mp4", tmp_path / "broken.mp4"
    shutil.copy(clip, second)
    broken.write_text("no video")
    page.locator("input[type=file]").first.set_input_files([clip, broken, second])
    expect(page.locator("#videos")).to_contain_text("second")
    page.get_by_label("number input for Frames of a window").fill("2")
    page.get_by_label("number input for Least score of a track").fill("0.1")
    page.get_by_label("Classes").click()
    page.get_by_role("option", name="dog").click()
    page.get_by_role("option", name=BIRD).click()
    page.keyboard.press("Escape")
    page.locator("#start").click()

    # One after the other; the broken one is named, without its place on the server.
    title = page.locator("#heading h3")
    expect(page.locator("#progress")).to_contain_text("broken.mp4", use_inner_text=True)
    expect(page.locator("#start")).to_be_enabled()
    assert "/" not in page.locator("#progress").inner_text()
    expect(title).to_contain_text("second: ")
    page.locator("#which input").click()
    page.get_by_role("option", name="1. clip").click()
    expect(title).to_contain_text("clip: ")
    expect(title).to_contain_text(f"tracks in {NUM_FRAMES} frames")
    pictures = page.locator("#tracks .thumbnail-lg")
    count = int(title.inner_text().split()[1])
    assert count > 0 and pictures.count() == count
    everything = page.locator("#drawn video").get_attribute("src")
    page.screenshot(path=tmp_path / "all.png", full_page=True)

    # Nothing is cut, and nothing needs scrolling sideways.
    captions = is_cut(page, "#tracks .caption-label")
    assert len(captions) == count and not any(captions)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert not any(is_cut(page, "#heading h3") + is_cut(page, "#start") + is_cut(page, "#download"))

    pictures.first.click()
    expect(title).to_contain_text("#")
    expect(page.locator("#drawn video")).to_have_attribute("src", re.compile("track_"))
    page.screenshot(path=tmp_path / "one.png", full_page=True)
    page.locator("#all").click()
    expect(page.locator("#drawn video")).to_have_attribute("src", everything)

    with page.expect_download() as download:
        page.locator("#download").click()
    content = json.loads(Path(download.value.path()).read_text())
    page.close()
    assert content["num_frames"] == NUM_FRAMES and content["settings"]["num_frames"] == 2
    assert content["video"] == "clip" and content["settings"]["classes"] == ["dog", BIRD]
    assert len({track["track_id"] for track in content["tracks"]}) == count
    assert {track["label"] for track in content["tracks"]} <= {"dog", BIRD}


@pytest.mark.slow
def test_a_visitor_watches_and_stops(browser, address):
    from playwright.sync_api import expect

    page = open_page(browser, address, 1280)
    page.locator("#sample").click()
    expect(page.locator("#videos")).to_contain_text("bunny")
    page.locator("#start").click()
    expect(page.locator("#so_far img")).to_be_visible()  # while the rest is still being worked on
    progress = page.locator("#progress")
    expect(progress).to_contain_text(re.compile(r"bunny.mp4: Finding objects, \d+ %, \d+ of \d+ frames, .* frames/s"))
    page.locator("#stop").click()
    expect(progress).to_contain_text("Stopped.")
    expect(page.locator("#start")).to_be_enabled()
    expect(page.locator("#so_far")).to_be_hidden()
    page.close()

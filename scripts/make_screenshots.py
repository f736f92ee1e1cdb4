"""Takes the screenshots of the demo that docs/app.md shows, at the widths of a desk and of a phone.

    python scripts/make_screenshots.py docs

Needs `pip install "ifc_hf[app,browser]"` and a Chromium of the system.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from ifc_hf.samples import sample_clip

DESK, PHONE = (1280, 900), (390, 844)  # width and height of the window
QUALITY = 72
SECONDS = 600
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def main() -> None:
    """Reads the arguments and writes six JPEGs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to write app_*.jpg to")
    parser.add_argument("--frames", type=int, default=24, help="frames of the clip (default: %(default)s)")
    args = parser.parse_args()
    expect.set_options(timeout=1000 * SECONDS)
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    with running_app(args.frames) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for name, size in (("desk", DESK), ("phone", PHONE)):
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            page.set_default_timeout(1000 * SECONDS)
            page.goto(address)
            visit(page, name, args.output)
            page.close()
        browser.close()


def visit(page: Any, name: str, output: Path) -> None:
    """Clicks through the demo and takes three pictures."""
    page.locator("#sample").click()
    expect(page.locator("#videos")).to_contain_text(sample_clip().stem)
    page.locator("#start").click()
    expect(page.locator("#so_far img")).to_be_visible()
    page.locator("#so_far").scroll_into_view_if_needed()
    page.wait_for_timeout(2000)
    save(page, output / f"app_{name}_running.jpg")
    expect(page.locator("#heading")).to_contain_text("tracks in")
    expect(page.locator("#so_far")).to_be_hidden()
    page.locator("#heading").scroll_into_view_if_needed()
    page.wait_for_timeout(1500)  # the video begins to play
    save(page, output / f"app_{name}_result.jpg", full_page=name == "phone")
    page.locator("#tracks .thumbnail-lg").first.click()
    expect(page.locator("#heading")).to_contain_text("#")
    page.wait_for_timeout(1500)
    save(page, output / f"app_{name}_one_track.jpg")


def save(page: Any, path: Path, full_page: bool = False) -> None:
    """Writes a small JPEG of what the page shows."""
    picture = Image.open(BytesIO(page.screenshot(full_page=full_page))).convert("RGB")
    picture.save(path, quality=QUALITY, optimize=True)


@contextmanager
def running_app(max_frames: int) -> Iterator[str]:
    """The demo with the shipped checkpoint; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ifc_hf.cli.main", "app", "--port", str(port), "--max-frames", str(max_frames)]
    with tempfile.TemporaryDirectory() as temporary:
        environment = {**os.environ, "GRADIO_TEMP_DIR": temporary, "GRADIO_ANALYTICS_ENABLED": "False"}
        process = subprocess.Popen(command, env=environment)
        try:
            end = time.monotonic() + SECONDS
            while process.poll() is None and time.monotonic() < end:
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.5)
            else:
                raise RuntimeError("the demo doesn't answer")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()

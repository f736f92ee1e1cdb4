"""A camera without a device."""

from pathlib import Path
from typing import Any

import av
import pytest


class FakeCamera:
    """Stands for a capture device that shows a file and breaks off at its end, so that it is opened again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.opened: list[tuple] = []
        self.closed = False
        self.path = path
        self.open = av.open
        monkeypatch.setattr("ifc_hf.model.video_files.av.open", self)
        monkeypatch.setattr("ifc_hf.model.live_video.WAITS_SECONDS", (0,))

    def __call__(self, name, mode, format, **options):
        self.opened.append((name, format))
        self.container = self.open(str(self.path))
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.container, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.container.close()
        self.closed = True

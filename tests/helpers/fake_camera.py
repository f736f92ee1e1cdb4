"""A capture device that is none."""

import itertools
from pathlib import Path

import av
import pytest


class FakeCamera:
    """Stands for a capture device: opens a file that it repeats for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.opened: list[tuple] = []
        self.closed = False
        self.path = path
        self.open = av.open
        monkeypatch.setattr("ifc_hf.model.video_files.av.open", self)

    def __call__(self, name, mode, format, options):
        self.opened.append((name, format))
        self.container = self.open(str(self.path))
        self.streams, self.size = self.container.streams, 0
        return self

    def decode(self, stream):
        for frame in itertools.cycle(list(self.container.decode(stream))):
            frame.pts = None
            yield frame

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

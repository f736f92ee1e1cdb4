"""The tracks of a video as a file: `tracks.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..files import write_json
from ..model.tracks import Track


@dataclass
class Prediction:
    """Content of `tracks.json`.

    Attributes:
        video: The source as it was given.
        height: Of its frames and the masks, in pixels.
        width: Likewise.
        fps: Frames per second, a mean.
        num_frames: Frames that were looked at.
        frame_times_seconds: When each frame is shown, from the start of the video.
        complete: Whether the video was read to its end.
        problem: Why the rest of a video that breaks off is missing, or None.
        settings: The settings that decide about the tracks.
        tracks: As `IfcVideoSegmenter` returns them, best first; each with `frame_scores` besides: the track's score as
            it was known when a frame was finished, None where the track isn't visible.
        written: Names of the outputs that are complete, with the style in which they were drawn.
    """

    video: str
    height: int
    width: int
    fps: float
    num_frames: int
    frame_times_seconds: list[float]
    complete: bool
    problem: str | None
    settings: dict[str, Any]
    tracks: list[Track]
    written: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the file, as a whole or not at all."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Prediction | None:
        """Read the file; None if it is missing, or not one of this version."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return None
        if not isinstance(content, dict) or set(content) != {item.name for item in fields(cls)}:
            return None
        return cls(**{**content, "tracks": [Track(**track) for track in content["tracks"]]})

    def is_of(self, video: str, settings: dict[str, Any]) -> bool:
        """Whether these are the tracks of the whole of this video with these settings."""
        return self.complete and self.video == video and self.settings == settings

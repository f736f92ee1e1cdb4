"""What the buttons of the demo do: a video in; its tracks, the drawn video and a picture of every track out.

```
video, window, threshold, classes --find_objects--> Found --draw--> the video with all tracks
                                                      |
                      a click on a track's picture    +--isolate--> the video with this one alone
```
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..loading import load_checkpoint
from ..model.pipeline_ifc import known_label_ids
from ..model.tracks import FrameResult, Track
from ..model.video_segmenter import IfcVideoSegmenter
from ..outputs.drawing import DrawingStyle, TrackDrawer
from ..outputs.drawn_video import DrawnVideo
from ..outputs.files import FILES
from ..outputs.instances import best_labels
from ..outputs.pictures import Cutouts
from ..outputs.prediction import Fingerprints, Prediction, TrackSettings
from ..outputs.segmenting import replay, segment
from ..outputs.shots import Shot
from ..outputs.source import VideoSource
from ..outputs.worker import live_shot
from ..processes import default_device

MAX_FRAMES = 300
DARKENED = 0.25  # brightness that is left around an isolated object
SECONDS_BETWEEN_PICTURES = 0.5  # of the video so far
PREVIEW_PIXELS = 640  # longest side of these pictures


@dataclass
class Found:
    """A video's results.

    Attributes:
        folder: Where they lie.
        source: The video.
        prediction: Its tracks.
        shown: The tracks of the pictures, in their order.
    """

    folder: Path
    source: VideoSource
    prediction: Prediction
    shown: list[Track]


@dataclass(frozen=True)
class Choice:
    """What a visitor chose.

    Attributes:
        num_frames: Frames T of a window.
        threshold: Least score of a track.
        classes: Names of the classes to report; none: all.
    """

    num_frames: int
    threshold: float
    classes: list[str]


@dataclass(frozen=True)
class Step:
    """How far the work on a video has come.

    Attributes:
        stage: What is done with the frames: "Finding objects" or "Drawing".
        done: Frames that are finished.
        total: Frames of the video; None: not known.
        seconds: Since the stage began.
        picture: (H, W, 3) uint8, the last drawn frame; None: no new one.
    """

    stage: str
    done: int
    total: int | None
    seconds: float
    picture: np.ndarray | None = None


Report = Callable[[Step], None]  # raises what shall end the work


def ignore(step: Step) -> None:
    """Takes a report and does nothing."""


class Demo:
    """The model, and what the buttons do with it.

    Args:
        checkpoint: Folder or Hub id of the model.
        device: Where it runs; default: the accelerator, if there is one.
        max_frames: Frames of a video that are looked at; the rest is left out.
    """

    def __init__(self, checkpoint: str, device: str | None = None, max_frames: int = MAX_FRAMES) -> None:
        self.model: Any  # the names of its classes may be None before a configuration is made
        self.model, self.processor = load_checkpoint(checkpoint, device or default_device())
        self.model_name = Path(checkpoint).name
        self.max_frames = max_frames

    @property
    def labels(self) -> list[str]:
        """Names of the classes that the model knows."""
        return list(self.model.config.id2label.values())

    def find_objects(self, video: str, choice: Choice, report: Report = ignore) -> Found:
        """Segments a video.

        Args:
            video: Path of the file.
            choice: Window, threshold and classes.
            report: Is told of every frame; an exception of it ends the work.

        Returns:
            The tracks, with their file on the disk.

        Raises:
            ValueError: If it is not a video, or has no frames; the message names the file without its folder.
        """
        source = VideoSource(video, (0, self.max_frames))
        segmenter = IfcVideoSegmenter(
            self.model,
            self.processor,
            num_frames=choice.num_frames,
            score_threshold=choice.threshold,
            multi_label=False,
        )
        known_label_ids(self.model.config.id2label, choice.classes or None)
        settings = TrackSettings(
            model=self.model_name,
            num_frames=choice.num_frames,
            clip_stride=1,
            threshold=choice.threshold,
            multi_label=False,
            classes=choice.classes or None,
            frames=[0, self.max_frames],
            fps=None,
        )
        try:
            take_frame = LiveReport(source.num_frames(), report)
            prediction = segment(segmenter, source, settings, Fingerprints(None, None), take_frame)
        except (OSError, ValueError) as error:
            raise ValueError(without_folder(str(error), video)) from error
        prediction.video = source.name  # the path on the server is not shown
        if prediction.problem:
            prediction.problem = without_folder(prediction.problem, video)
        found = Found(Path(tempfile.mkdtemp(prefix="ifc_hf_app_")), source, prediction, [])
        prediction.save(found.folder / FILES["tracks"])
        return found

    def draw(self, found: Found, report: Report = ignore) -> Path:
        """Writes the video with all tracks, and a picture of each track; returns the video."""
        start, total = time.monotonic(), found.prediction.num_frames
        with (
            open_video(found, found.folder / FILES["video"]) as video,
            Cutouts(found.folder / FILES["cutouts"]) as cutouts,
        ):
            for shot in replay(found.prediction, found.source, TrackDrawer(DrawingStyle())):
                video.add(shot)
                cutouts.add(shot)
                report(Step("Drawing", shot.index + 1, total, time.monotonic() - start))
        # A track that is too small for a mask at the size of the video has no picture.
        found.shown = [track for track in best_labels(found.prediction.tracks) if picture_of(found, track)]
        return found.folder / FILES["video"]

    def work(self, video: str, choice: Choice, report: Report = ignore) -> Found:
        """Segments and draws a video; leaves nothing behind if it is stopped."""
        found = self.find_objects(video, choice, report)
        try:
            self.draw(found, report)
        except BaseException:
            forget(found)
            raise
        return found

    def isolate(self, found: Found, track: Track) -> Path:
        """Writes the video with all but one track dark and grey; returns it."""
        path = found.folder / f"track_{track.track_id:03}.mp4"
        if not path.exists():
            alone = replace(found.prediction, tracks=[track])
            with open_video(found, path) as video:
                for shot in replay(alone, found.source, drawer=None):
                    video.add(replace(shot, drawn=darken_around(shot)))
        return path


class LiveReport:
    """Reports every finished frame of a video, and now and then its picture.

    Args:
        total: Frames of the video; None: not known.
        report: Who is told.
    """

    def __init__(self, total: int | None, report: Report) -> None:
        self.total, self.report = total, report
        self.start = self.last_picture = time.monotonic()
        self.done = 0
        self.drawer = TrackDrawer(DrawingStyle(trails=False))  # they would jump between the pictures

    def __call__(self, result: FrameResult, frame: Any, seconds: float) -> None:
        """Takes the next frame."""
        self.done += 1
        now = time.monotonic()
        picture = None
        if now - self.last_picture >= SECONDS_BETWEEN_PICTURES or self.done == 1:
            picture = smaller(live_shot(result, frame, seconds, self.drawer).drawn)
            self.last_picture = now
        self.report(Step("Finding objects", self.done, self.total, now - self.start, picture))


def smaller(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) with every n-th pixel, so that its longest side fits a preview."""
    step = -(-max(picture.shape[:2]) // PREVIEW_PIXELS)
    return picture[::step, ::step]


def without_folder(message: str, path: str) -> str:
    """A message with the file's name in the place of its path."""
    resolved = Path(path).resolve()
    for text in (str(resolved), path):
        message = message.replace(text, resolved.name)
    return message


def open_video(found: Found, path: Path) -> DrawnVideo:
    """Writer of a drawn video with the visitor's sound."""
    return DrawnVideo(path, found.prediction.fps, str(found.source.place))


def darken_around(shot: Shot) -> np.ndarray:
    """The frame (H, W, 3), dark and grey where no mask is."""
    grey = (DARKENED * shot.frame.mean(axis=2, keepdims=True)).astype(np.uint8)
    return np.where(np.logical_or.reduce(shot.masks, axis=0)[..., None], shot.frame, grey)


def picture_of(found: Found, track: Track) -> Path | None:
    """The cut-out of a track, if there is one."""
    return next((found.folder / FILES["cutouts"]).glob(f"track_{track.track_id:03}_*.png"), None)


def forget(found: Found | None) -> None:
    """Removes a video's results."""
    if found is not None:
        shutil.rmtree(found.folder, ignore_errors=True)

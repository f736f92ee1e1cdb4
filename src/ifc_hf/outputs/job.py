"""What is to be done with every video of a command: find its tracks, write the chosen outputs that aren't there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .drawing import DrawingStyle
from .files import FILES, OF_FRAMES, OutputWriters, make_drawer, mark, missing_outputs
from .prediction import Prediction
from .segmenting import replay, segment
from .source import VideoSource
from .timeline import write_timeline
from .writer import remove_leftovers

if TYPE_CHECKING:
    from ..model.video_segmenter import IfcVideoSegmenter

CAMERA_FPS = 25.0  # taken for what plays at a rate of its own; every frame has its time besides


class VideoJob:
    """Makes the outputs of one video after the other.

    Args:
        chosen: Names of outputs.
        style: How to draw.
        settings: What decides about the tracks.

    Attributes:
        segmenter: To be set before the first video.
        label_ids: Classes to report; likewise.
    """

    segmenter: IfcVideoSegmenter
    label_ids: set[int]

    def __init__(self, chosen: Sequence[str], style: DrawingStyle, settings: dict[str, Any]) -> None:
        self.chosen, self.style, self.settings = chosen, style, settings

    def is_done(self, source: VideoSource, folder: Path) -> bool:
        """Whether all outputs of a video are there, of all its frames and with these settings."""
        prediction = self.finished_tracks(source, folder)
        return prediction is not None and not missing_outputs(prediction, self.chosen, self.style, folder)

    def finished_tracks(self, source: VideoSource, folder: Path) -> Prediction | None:
        """The tracks of a run before this one, if they are what this one would find."""
        prediction = Prediction.load(folder / FILES["tracks"])
        return prediction if prediction and prediction.is_of(str(source.place), self.settings) else None

    def do(self, source: VideoSource, folder: Path, overwrite: bool = False) -> bool:
        """Make what is missing of a video's outputs, and say what was found.

        `tracks.json` comes first, so that a run that is killed later needn't find them again, and once more at the
        end, to name the outputs that are complete.

        Args:
            source: The video.
            folder: For its results.
            overwrite: Make all of them again.

        Returns:
            Whether the video was read to its end.

        Raises:
            OSError: If the video can't be opened, or a result not be written.
            ValueError: If it is not a video, or has no frames.
        """
        remove_leftovers(folder)
        # What a camera showed then can't be drawn now.
        prediction = None if overwrite or source.is_live else self.finished_tracks(source, folder)
        if source.is_live:
            prediction = self.segment_live(source, folder)
        elif prediction is None:
            prediction = segment(self.segmenter, source, self.settings, self.label_ids)
            folder.mkdir(parents=True, exist_ok=True)
            prediction.save(folder / FILES["tracks"])
        missing = missing_outputs(prediction, self.chosen, self.style, folder)
        of_frames = [name for name in OF_FRAMES if name in missing]
        if of_frames:
            times = prediction.frame_times_seconds
            with ExitStack() as stack:
                writers = OutputWriters(
                    stack, of_frames, folder, source, prediction.num_frames, prediction.fps, times[0]
                )
                for shot in replay(prediction, source, make_drawer(of_frames, self.style)):
                    writers.add(shot)
        if "timeline" in missing:
            write_timeline(prediction, folder / FILES["timeline"])
        prediction.written.update({name: mark(name, self.style) for name in missing})
        prediction.save(folder / FILES["tracks"])
        self.report(prediction, folder)
        return prediction.complete

    def segment_live(self, source: VideoSource, folder: Path) -> Prediction:
        """Find the tracks of what can't be read again, and write what is made of its frames meanwhile."""
        of_frames = [name for name in OF_FRAMES if name in self.chosen]
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            num_frames = source.num_frames() or 1
            writers = OutputWriters(stack, of_frames, folder, source, num_frames, source.fps or CAMERA_FPS)
            drawer = make_drawer(of_frames, self.style)
            prediction = segment(self.segmenter, source, self.settings, self.label_ids, writers.add, drawer)
        prediction.written.update({name: mark(name, self.style) for name in of_frames})
        return prediction

    def report(self, prediction: Prediction, folder: Path) -> None:
        """Say what was found and where it lies."""
        if prediction.problem:
            print(f"error: {prediction.problem}; the results hold what was readable", file=sys.stderr)
        for track in prediction.tracks:
            visible = sum(rle is not None for rle in track["segmentations"])
            print(
                f"track {track['track_id']}: {track['label']}, score {track['score']:.2f}, "
                f"in {visible} of {prediction.num_frames} frames"
            )
        if not prediction.tracks:
            print(f"no track of score {self.settings['threshold']} or more")
        for name in FILES:
            if name == "tracks" or name in self.chosen:
                print(folder / FILES[name])

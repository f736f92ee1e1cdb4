"""The doing of tasks: find a video's tracks, write the chosen outputs that aren't there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import remove_leftovers
from .drawing import TrackDrawer
from .files import FILES, OF_FRAMES
from .labels import printable
from .locks import locked
from .output_writers import OutputWriters, make_drawer, mark, missing_outputs
from .plan import Order, VideoTask, find_earlier
from .prediction import Prediction, ratio_from_text
from .segmenting import FrameTaker, replay, segment
from .shots import Shot
from .source import VideoSource
from .threads import write_behind
from .timeline import write_timeline

if TYPE_CHECKING:
    from ..model.tracks import FrameResult
    from ..model.video_files import Frame
    from ..model.video_segmenter import IfcVideoSegmenter

CAMERA_FPS = 25.0  # taken for what plays at a rate of its own; every frame has its time besides


class VideoWorker:
    """Does one task after the other.

    Args:
        order: What is asked for of every video.
        segmenter: Gives the segmenter; called when tracks must be found, and not before.
        say: Takes lines that tell what was found.
        take_frame: Takes every frame of a video as soon as it is finished, after the video's name.
    """

    def __init__(
        self,
        order: Order,
        segmenter: Callable[[], IfcVideoSegmenter],
        say: Callable[[str], None] = print,
        take_frame: Callable[[str, FrameResult, float], None] | None = None,
    ) -> None:
        self.order, self.segmenter, self.say, self.take_frame = order, segmenter, say, take_frame

    def do(self, task: VideoTask, wait: bool = True) -> bool | None:
        """Makes what is missing of a video's outputs, and says what was found.

        `tracks.json` comes first, so that a run that is killed later needn't find them again, and once more at the
        end, to name the outputs that are complete.

        Args:
            task: The video and its folder.
            wait: Whether to wait while another process works in the folder, which is said either way.

        Returns:
            Whether the video was read to its end; None if another process works in the folder.

        Raises:
            OSError: If the video can't be opened, or a result not be written.
            ValueError: If it is not a video, or has no frames.
        """

        def tell_holder(holder: str) -> None:
            print(f"{task.source.place}: {task.folder} is locked by {holder}", file=sys.stderr, flush=True)

        with locked(task.folder, tell_holder, wait) as is_free:
            return self.do_locked(task).complete if is_free else None

    def do_locked(self, task: VideoTask) -> Prediction:
        """Like `do`, in a folder in which no other process works."""
        source, folder, order = task.source, task.folder, self.order
        remove_leftovers(folder)
        earlier = find_earlier(source, folder, task.fingerprints, order)
        if earlier.reason:
            self.say(f"{source.place}: done anew, for {earlier.reason}")
        prediction = earlier.prediction
        if prediction is None:
            prediction = self.find_tracks(task)
        if not earlier.is_saved:
            folder.mkdir(parents=True, exist_ok=True)
            prediction.save(folder / FILES["tracks"])
        missing = missing_outputs(prediction, order.outputs, order.style, folder)
        of_frames = [name for name in OF_FRAMES if name in missing]
        if of_frames:
            self.write_frames(prediction, source, folder, of_frames)
        if "timeline" in missing:
            write_timeline(prediction, folder / FILES["timeline"])
        if missing:
            prediction.written.update({name: mark(name, order.style) for name in missing})
            prediction.save(folder / FILES["tracks"])
        self.report(prediction, folder)
        return prediction

    def find_tracks(self, task: VideoTask) -> Prediction:
        """Finds a video's tracks; of what can't be read again, writes what is made of its frames meanwhile."""
        source, folder, order = task.source, task.folder, self.order
        if not source.is_read_once:
            take_frame = self.frame_taker(source)
            return segment(self.segmenter(), source, order.settings, task.fingerprints, take_frame)
        of_frames = [name for name in OF_FRAMES if name in order.outputs]
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            num_frames = source.num_frames() or 1
            writers = OutputWriters(stack, of_frames, folder, source, num_frames, source.fps or CAMERA_FPS)
            add = stack.enter_context(write_behind(writers.add))
            drawer = make_drawer(of_frames, order.style)

            def draw(result: FrameResult, frame: Frame, time: float) -> None:
                add(live_shot(result, frame, time, drawer))

            take_frame = self.frame_taker(source, draw)
            prediction = segment(self.segmenter(), source, order.settings, task.fingerprints, take_frame)
        prediction.written.update({name: mark(name, order.style) for name in of_frames})
        return prediction

    def frame_taker(self, source: VideoSource, also: FrameTaker | None = None) -> FrameTaker | None:
        """What takes the frames of a video as they are finished; None if nobody wants them."""
        take_named = self.take_frame
        if take_named is None:
            return also

        def take(result: FrameResult, frame: Frame, time: float) -> None:
            take_named(str(source.place), result, time)
            if also:
                also(result, frame, time)

        return take

    def write_frames(self, prediction: Prediction, source: VideoSource, folder: Path, of_frames: list[str]) -> None:
        """Reads the video once more and writes the outputs that are made of its frames."""
        times = prediction.frame_times_seconds
        with ExitStack() as stack:
            aspect = ratio_from_text(prediction.sample_aspect_ratio)
            writers = OutputWriters(
                stack, of_frames, folder, source, prediction.num_frames, prediction.fps, times[0], aspect
            )
            add = stack.enter_context(write_behind(writers.add))
            shots = stack.enter_context(closing(replay(prediction, source, make_drawer(of_frames, self.order.style))))
            for shot in shots:
                add(shot)

    def report(self, prediction: Prediction, folder: Path) -> None:
        """Says what was found and where it lies."""
        if prediction.problem:
            print(f"error: {prediction.problem}; the results hold what was readable", file=sys.stderr)
        for track in prediction.tracks:
            visible = sum(rle is not None for rle in track.segmentations or [])
            better = prediction.duplicates.get(track.track_id)
            copy = "" if better is None else f", a near copy of track {better}"
            self.say(
                f"track {track.track_id}: {printable(track.label)}, score {track.score:.2f}, "
                f"in {visible} of {prediction.num_frames} frames{copy}"
            )
        if not prediction.tracks:
            self.say(f"no track of score {self.order.settings.threshold} or more (--threshold)")
        for name in FILES:
            if name == "tracks" or name in self.order.outputs:
                self.say(str(folder / FILES[name]))


def live_shot(result: FrameResult, frame: Frame, time: float, drawer: TrackDrawer | None) -> Shot:
    """A shot with what is known as soon as a frame is finished."""
    result = result.select(np.argsort(-result.scores.numpy(), kind="stable").tolist())
    masks = result.masks.numpy()
    rows = zip(result.track_ids, result.label_names, result.scores.tolist(), strict=True)
    captions = [f"#{track_id} {label} {score:.2f}" for track_id, label, score in rows]
    drawn = frame
    if drawer:
        drawn = drawer.draw(
            frame, masks, result.track_ids, captions, dict(zip(result.track_ids, captions, strict=True))
        )
    return Shot(result.frame_index, time, frame, drawn, result.track_ids, result.label_names, masks)

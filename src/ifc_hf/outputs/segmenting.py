"""From a source to its tracks, and from the tracks back to shots of every frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..model.pipeline_ifc import keep_classes
from ..model.tracks import Track
from .drawing import TrackDrawer
from .instances import best_labels, track_caption, visible_tracks
from .prediction import Prediction
from .source import Reading, VideoSource
from .writer import Shot

if TYPE_CHECKING:
    from ..model.tracks import FrameResult
    from ..model.video_files import Frame
    from ..model.video_segmenter import IfcVideoSegmenter


def segment(
    segmenter: IfcVideoSegmenter,
    source: VideoSource,
    settings: dict[str, Any],
    label_ids: set[int],
    take_shot: Callable[[Shot], None] | None = None,
    drawer: TrackDrawer | None = None,
) -> Prediction:
    """Find the tracks of a video.

    Args:
        segmenter: With the model.
        source: The video.
        settings: Go into the prediction.
        label_ids: Classes to report.
        take_shot: Gets every frame while the video is read, if it can't be read again.
        drawer: Draws these.

    Returns:
        The tracks and what is known of the video.

    Raises:
        FileNotFoundError: If there is no video.
        ValueError: If it is not a video, or has no frames.
    """
    reading = Reading(source)
    waiting: deque[Frame] = deque()  # frames that are read, but not finished: about as many as a window has
    frames = hold(reading, waiting) if take_shot else iter(reading)
    scores: dict[int, dict[int, float]] = {}  # track -> frame -> score
    video_pass = segmenter.stream(frames)
    with tqdm(desc=f"segment {source.name}", total=source.num_frames(), unit="frame") as progress:
        for result in video_pass:
            shown = keep_classes(result, label_ids)
            for track_id, score in zip(shown.track_ids, shown.scores.tolist(), strict=True):
                scores.setdefault(track_id, {})[result.frame_index] = round(score, 4)
            if take_shot:
                time = reading.times[result.frame_index] - reading.times[0]
                take_shot(live_shot(waiting.popleft(), time, shown, drawer))
            progress.update()
    tracks = [track for track in video_pass.tracks() if track.label_id in label_ids]
    for track in tracks:
        known = scores.get(track.track_id, {})
        track.frame_scores = [
            None if rle is None else known.get(frame) for frame, rle in enumerate(track.segmentations or [])
        ]
    return Prediction(
        video=str(source.place),
        height=reading.size_hw[0],
        width=reading.size_hw[1],
        fps=mean_fps(reading.times),
        num_frames=len(reading.times),
        frame_times_seconds=[round(time, 6) for time in reading.times],
        complete=reading.problem is None,
        problem=reading.problem,
        settings=settings,
        tracks=tracks,
    )


def replay(prediction: Prediction, source: VideoSource, drawer: TrackDrawer | None) -> Iterator[Shot]:
    """Read a video once more: only now are the tracks' scores known, hence which are reported.

    Args:
        prediction: Its tracks.
        source: The video.
        drawer: Draws the frames; None if that is not needed.

    Yields:
        A shot of every frame.
    """
    times = prediction.frame_times_seconds
    legend = {track.track_id: track_caption(track) for track in best_labels(prediction.tracks)}
    frames = zip(range(prediction.num_frames), Reading(source), strict=False)
    for index, frame in tqdm(frames, desc=f"write {source.name}", total=prediction.num_frames, unit="frame"):
        visible, masks = visible_tracks(prediction.tracks, index, frame.shape[:2])
        track_ids = [track.track_id for track in visible]
        captions = [track_caption(track) for track in visible]
        drawn = drawer.draw(frame, masks, track_ids, captions, legend) if drawer else frame
        yield Shot(index, times[index] - times[0], frame, drawn, track_ids, [track.label for track in visible], masks)


def live_shot(frame: Frame, time: float, result: FrameResult, drawer: TrackDrawer | None) -> Shot:
    """A shot with what is known as soon as a frame is finished."""
    best_first = result.select(result.scores.argsort(descending=True).tolist())
    rows = zip(
        best_first.track_ids,
        best_first.labels.tolist(),
        best_first.label_names,
        best_first.scores.tolist(),
        strict=True,
    )
    found = [Track(*row) for row in rows]
    masks = best_first.masks.numpy()
    track_ids = [track.track_id for track in found]
    captions = [track_caption(track) for track in found]
    drawn = frame
    if drawer:
        drawn = drawer.draw(frame, masks, track_ids, captions, dict(zip(track_ids, captions, strict=True)))
    return Shot(result.frame_index, time, frame, drawn, track_ids, [track.label for track in found], masks)


def hold(reading: Reading, waiting: deque[Frame]) -> Iterator[Frame]:
    """The frames, noted as they pass."""
    for frame in reading:
        waiting.append(frame)
        yield frame


def mean_fps(times: list[float]) -> float:
    """Frames per second of frames at these times; 25 of a single one."""
    span = times[-1] - times[0]
    return round((len(times) - 1) / span, 4) if span > 0 else 25.0

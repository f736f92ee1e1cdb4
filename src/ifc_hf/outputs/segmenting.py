"""From a source to its tracks, and from the tracks back to shots of every frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from tqdm import tqdm

from .cuts import CutDetector
from .drawing import TrackDrawer
from .duplicates import find_duplicates
from .instances import visible_tracks
from .prediction import Fingerprints, Prediction, TrackSettings, known_score, ratio_text, split_classes
from .selection import drawn_in_frame, tracks_to_draw
from .shots import Shot
from .source import Reading, VideoSource
from .threads import read_ahead

if TYPE_CHECKING:
    from ..model.tracks import FrameResult
    from ..model.video_files import Frame
    from ..model.video_segmenter import IfcVideoSegmenter

# What takes a frame as soon as it is finished: the result, the frame, and its time in seconds from the first frame.
FrameTaker = Callable[["FrameResult", "Frame", float], None]


def segment(
    segmenter: IfcVideoSegmenter,
    source: VideoSource,
    settings: TrackSettings,
    fingerprints: Fingerprints,
    take_frame: FrameTaker | None = None,
) -> Prediction:
    """Finds the tracks of a video.

    Args:
        segmenter: With the model.
        source: The video.
        settings: Go into the prediction; the classes choose what is reported.
        fingerprints: Of the video and the model.
        take_frame: Gets every frame while the video is read, with the tracks and scores that are known by then.

    Returns:
        The tracks and what is known of the video.

    Raises:
        FileNotFoundError: If there is no video.
        ValueError: If it is not a video, or has no frames.
    """
    reading = Reading(source)
    cuts = CutDetector()
    waiting: deque[Frame] | None = deque() if take_frame else None  # as many as a window has, about
    scores: dict[int, dict[int, float]] = {}  # track -> frame -> score
    with (
        tqdm(desc=f"segment {source.name}", total=reading.expected_frames, unit="frame") as progress,
        closing(read_ahead(reading)) as frames,
    ):
        video_pass = segmenter.stream(watched(frames, cuts, waiting))
        for result in video_pass:
            for track_id, score in zip(result.track_ids, result.scores.tolist(), strict=True):
                scores.setdefault(track_id, {})[result.frame_index] = score
            if take_frame and waiting is not None:
                time = reading.times[result.frame_index] - reading.times[0]
                take_frame(of_classes(result, settings.classes), waiting.popleft(), time)
            progress.update()
    tracks = video_pass.tracks()
    for track in tracks:
        known = scores.get(track.track_id, {})
        track.frame_scores = [
            None if rle is None else known_score(known.get(frame), settings.threshold)
            for frame, rle in enumerate(track.segmentations or [])
        ]
    reported, others = split_classes(tracks, settings.classes)
    return Prediction(
        video=str(source.place),
        height=reading.size_hw[0],
        width=reading.size_hw[1],
        fps=mean_fps(reading.times),
        num_frames=len(reading.times),
        frame_times_seconds=[round(time, 6) for time in reading.times],
        complete=reading.problem is None,
        problem=reading.problem,
        bad_packets=reading.bad_packets,
        sample_aspect_ratio=ratio_text(reading.info.sample_aspect_ratio),
        settings=settings,
        fingerprints=fingerprints,
        tracks=reported,
        other_tracks=others,
        cuts=cuts.cuts,
        duplicates=find_duplicates(reported),
    )


def replay(prediction: Prediction, source: VideoSource, drawer: TrackDrawer | None) -> Generator[Shot, None, None]:
    """Reads a video once more: the tracks' scores, and so which tracks are reported, are known only now.

    Args:
        prediction: Its tracks.
        source: The video.
        drawer: Draws the frames; None if that is not needed.

    Yields:
        A shot of every frame.
    """
    times = prediction.frame_times_seconds
    to_draw = tracks_to_draw(prediction, drawer.style) if drawer else []
    with closing(read_ahead(Reading(source))) as frames:
        numbered = zip(range(prediction.num_frames), frames, strict=False)
        for index, frame in tqdm(numbered, desc=f"write {source.name}", total=prediction.num_frames, unit="frame"):
            visible, masks = visible_tracks(prediction.tracks, index)
            track_ids = [track.track_id for track in visible]
            drawn = frame
            if drawer:
                shown = drawn_in_frame(to_draw, index, track_ids)
                legend = {track.drawn_id: track.caption for _, track in shown}
                chosen = [masks[position] for position, _ in shown]
                drawn = drawer.draw(frame, chosen, list(legend), list(legend.values()), legend)
            yield Shot(
                index, times[index] - times[0], frame, drawn, track_ids, [track.label for track in visible], masks
            )


def watched(frames: Iterator[Frame], cuts: CutDetector, waiting: deque[Frame] | None) -> Iterator[Frame]:
    """The frames, looked at for cuts and noted as they pass."""
    for frame in frames:
        cuts.add(frame)
        if waiting is not None:
            waiting.append(frame)
        yield frame


def of_classes(result: FrameResult, classes: Sequence[str] | None) -> FrameResult:
    """A frame with the tracks of the named classes, or of all if there are no names."""
    if classes is None:
        return result
    return result.select([place for place, name in enumerate(result.label_names) if name in classes])


def mean_fps(times: list[float]) -> float:
    """Frames per second of frames at these times; 25 of a single one."""
    span = times[-1] - times[0]
    return round((len(times) - 1) / span, 4) if span > 0 else 25.0

"""The tracks of a video as a file: `tracks.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path

from ..files import JsonObject, read_json, write_json
from ..model.rle import SegmentationError, measure_rles
from ..model.tracks import Track
from .duplicates import find_duplicates
from .typed_json import typed

SCORE_DIGITS = 4  # of `frame_scores`


@dataclass(frozen=True)
class TrackSettings:
    """What decides about the tracks of a video.

    Attributes:
        model: Folder or Hub id, as it was given.
        num_frames: Frames of a window; None: the model's.
        clip_stride: Frames between windows.
        threshold: Tracks have a score above it.
        multi_label: Whether a track is reported under every class above the threshold.
        classes: Names of the classes that are reported; None: all.
        frames: First frame and the one after the last, or None; None: all frames.
        fps: Frames per second that are looked at; None: all.
    """

    model: str
    num_frames: int | None
    clip_stride: int
    threshold: float
    multi_label: bool
    classes: list[str] | None
    frames: list[int | None] | None
    fps: float | None


@dataclass(frozen=True)
class Fingerprints:
    """What tells whether tracks belong to the present content of their inputs.

    Attributes:
        video: Of the video; None if there is no way to know, as with an address.
        model: Of the weights and the configuration; likewise.
    """

    video: str | None
    model: str | None


def ratio_text(ratio: Fraction) -> str:
    """A ratio as it is written into files, such as "64:45"."""
    return f"{ratio.numerator}:{ratio.denominator}"


def ratio_from_text(text: str) -> Fraction:
    """The ratio that `ratio_text` has written.

    Raises:
        ValueError: If it is none.
    """
    try:
        return Fraction(text.replace(":", "/"))
    except ZeroDivisionError as error:
        raise ValueError(f"expected a ratio such as 64:45, got {text!r}") from error


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
        problem: What of the video could not be read, and why; or None.
        settings: The settings that decide about the tracks.
        fingerprints: Of the video and the model.
        tracks: As `IfcVideoSegmenter` returns them, best first, with `frame_scores`: the score as it was known when a
            frame was finished, None where the track isn't visible or was not above the threshold yet.
        other_tracks: Those of classes that were not asked for, so that other classes can be chosen later.
        cuts: Frames with which a new shot begins, the first frame left out.
        duplicates: Tracks that cover the same pixels as a better one of their class: their ids and that one's.
        bad_packets: Packets of the file, or pictures of the folder, that could not be decoded.
        sample_aspect_ratio: Width to height of a pixel as shown, such as "64:45"; the masks count stored pixels.
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
    settings: TrackSettings
    fingerprints: Fingerprints
    tracks: list[Track]
    other_tracks: list[Track] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    duplicates: dict[int, int] = field(default_factory=dict)
    bad_packets: int = 0
    sample_aspect_ratio: str = "1:1"
    written: dict[str, dict[str, bool | int] | None] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes the file, as a whole or not at all."""
        content: JsonObject = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in ("settings", "fingerprints"):
            content[name] = asdict(content[name])
        for name in ("tracks", "other_tracks"):
            content[name] = [track.to_dict() for track in content[name]]
        write_json(path, content)

    @classmethod
    def load(cls, path: Path) -> Prediction | None:
        """Reads the file.

        Returns:
            None if there is no such file, or if its content is not what this version writes: then it counts as absent.

        Raises:
            OSError: If it can't be read.
        """
        try:
            prediction = typed(read_json(path), cls, "tracks.json")
            prediction.check()
        except (ValueError, NotADirectoryError):
            return None
        return prediction

    def check(self) -> None:
        """Compares the parts with each other.

        Raises:
            ValueError: If they contradict each other.
        """
        times = self.frame_times_seconds
        is_consistent = (
            min(self.height, self.width, self.num_frames) > 0
            and self.fps > 0
            and len(times) == self.num_frames
            and times == sorted(times)
            and self.cuts == sorted(set(self.cuts))
            and all(0 < cut < self.num_frames for cut in self.cuts)
            and ratio_from_text(self.sample_aspect_ratio) > 0
        )
        if not is_consistent:
            raise ValueError("the frames' number, size, times and cuts contradict each other")
        for track in (*self.tracks, *self.other_tracks):
            self.check_track(track)

    def check_track(self, track: Track) -> None:
        """Checks that a track has masks, boxes and scores of all frames, and that the masks are of their size.

        Raises:
            ValueError: If that is not so.
        """
        rles, boxes, scores = track.segmentations, track.boxes, track.frame_scores
        if rles is None or boxes is None or scores is None:
            raise ValueError(f"track {track.track_id}: has no masks, boxes or scores")
        if not len(rles) == len(boxes) == len(scores) == self.num_frames:
            raise ValueError(f"track {track.track_id}: its lists are not as long as the video")
        if track.track_id < 0 or track.label_id < 0 or not 0 <= track.score <= 1:
            raise ValueError(f"track {track.track_id}: an id or the score is out of range")
        for rle, box, score in zip(rles, boxes, scores, strict=True):
            if (rle is None) != (box is None) or (rle is None and score is not None):
                raise ValueError(f"track {track.track_id}: a frame has a box or score and no mask")
            if box is not None and len(box) != 4:
                raise ValueError(f"track {track.track_id}: a box has {len(box)} numbers")
            if rle is not None and (
                not isinstance(rle, dict)
                or rle.get("size") != [self.height, self.width]
                or not isinstance(rle.get("counts"), str)
            ):
                raise ValueError(f"track {track.track_id}: a mask is no RLE of the frames' size")
        try:
            measure_rles([rle for rle in rles if rle is not None])
        except SegmentationError as error:
            raise ValueError(f"track {track.track_id}: the runs of a mask don't fill its frame: {error}") from error

    def narrowed(self, settings: TrackSettings) -> Prediction | None:
        """The tracks that other settings would have given, if that is known without the model.

        Args:
            settings: These may differ in the classes, have a higher threshold and name the same model otherwise.

        Returns:
            This object if the settings ask for nothing else; None if only the model can tell.
        """
        own = replace(self.settings, model=settings.model)
        if own == settings:
            return self
        if replace(own, classes=settings.classes, threshold=settings.threshold) != settings:
            return None
        # `frame_scores` are rounded: finer thresholds can't be told apart by them.
        is_known = settings.threshold == own.threshold or (
            settings.threshold > own.threshold and settings.threshold == round(settings.threshold, SCORE_DIGITS)
        )
        if not is_known:
            return None
        found = sorted(
            (*self.tracks, *self.other_tracks), key=lambda track: (-track.score, track.track_id, track.label_id)
        )
        above = [raised(track, settings.threshold) for track in found if track.score > settings.threshold]
        tracks, other_tracks = split_classes(above, settings.classes)
        return replace(
            self,
            settings=settings,
            tracks=tracks,
            other_tracks=other_tracks,
            duplicates=find_duplicates(tracks),
            written={},
        )


def raised(track: Track, threshold: float) -> Track:
    """A track with the scores over time that a threshold lets through."""
    scores = [known_score(score, threshold) for score in track.frame_scores or []]
    return replace(track, frame_scores=scores)


def known_score(score: float | None, threshold: float) -> float | None:
    """A score over time as it is kept: rounded, and only above the threshold."""
    rounded = None if score is None else round(score, SCORE_DIGITS)
    return None if rounded is None or rounded <= threshold else rounded


def split_classes(tracks: list[Track], classes: list[str] | None) -> tuple[list[Track], list[Track]]:
    """The tracks of the named classes, or of all if there are no names, and the others."""
    if classes is None:
        return tracks, []
    return [track for track in tracks if track.label in classes], [
        track for track in tracks if track.label not in classes
    ]

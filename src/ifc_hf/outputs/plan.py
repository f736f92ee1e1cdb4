"""What is to be done: one task for every video, with what earlier runs have left to build on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from .drawing import DrawingStyle
from .files import FILES
from .fingerprint import source_fingerprint
from .output_writers import missing_outputs
from .prediction import Fingerprints, Prediction, TrackSettings
from .source import VideoSource


@dataclass(frozen=True)
class Order:
    """What is asked for of every video.

    Attributes:
        settings: What decides about the tracks.
        model_fingerprint: Of the model; None if it isn't known.
        outputs: Names of outputs.
        style: How to draw.
        overwrite: Do everything again, whatever is there.
    """

    settings: TrackSettings
    model_fingerprint: str | None
    outputs: tuple[str, ...]
    style: DrawingStyle
    overwrite: bool = False


@dataclass(frozen=True)
class Earlier:
    """What an earlier run has left of a video.

    Attributes:
        prediction: Its tracks, if this run would find the same; brought to the settings of this run.
        is_saved: Whether that is what lies in the file.
        reason: Why there is none, if an earlier run left tracks that can't be taken.
    """

    prediction: Prediction | None = None
    is_saved: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class VideoTask:
    """One video and the folder of its results.

    Attributes:
        source: The video.
        folder: For its results.
        fingerprints: Of the video and the model, as they are at the time of planning.
        is_done: Whether all its outputs are there.
        needs_model: Whether its tracks must be found.
        problem: What an earlier run could not read of the video; None if there is no such run, or nothing was missing.
    """

    source: VideoSource
    folder: Path
    fingerprints: Fingerprints
    is_done: bool
    needs_model: bool
    problem: str | None = None


def plan(folders: Mapping[VideoSource, Path], order: Order) -> list[VideoTask]:
    """One task for every video, in their order.

    Args:
        folders: The videos, and where the results of each go.
        order: What is asked for.
    """
    tasks = []
    for source, folder in folders.items():
        try:
            fingerprints = Fingerprints(source_fingerprint(source.place), order.model_fingerprint)
            earlier = find_earlier(source, folder, fingerprints, order)
            is_done = earlier.is_saved and not missing_of(earlier, order, folder)
        except OSError:  # it will come again, and be said, when the video's turn has come
            fingerprints, earlier, is_done = Fingerprints(None, order.model_fingerprint), Earlier(), False
        problem = earlier.prediction.problem if earlier.prediction else None
        tasks.append(VideoTask(source, folder, fingerprints, is_done, earlier.prediction is None, problem))
    return tasks


def missing_of(earlier: Earlier, order: Order, folder: Path) -> list[str]:
    """The outputs of an earlier run's tracks that are still to be made."""
    if earlier.prediction is None:
        return list(order.outputs)
    return missing_outputs(earlier.prediction, order.outputs, order.style, folder)


def find_earlier(source: VideoSource, folder: Path, fingerprints: Fingerprints, order: Order) -> Earlier:
    """What an earlier run has left that this one can build on.

    Raises:
        OSError: If its file can't be read.
    """
    if order.overwrite or source.is_read_once:  # what a camera showed then can't be drawn now
        return Earlier()
    saved = Prediction.load(folder / FILES["tracks"])
    if saved is None:
        is_there = (folder / FILES["tracks"]).exists()
        return Earlier(reason="its tracks.json is not one of this version" if is_there else None)
    if reason := difference(saved, source, fingerprints):
        return Earlier(reason=reason)
    narrowed = saved.narrowed(order.settings)
    if narrowed is None:
        changed = [name for name, value in asdict(order.settings).items() if value != asdict(saved.settings)[name]]
        return Earlier(reason=f"other settings ({', '.join(name for name in changed if name != 'model')})")
    return Earlier(narrowed, narrowed is saved)


def difference(saved: Prediction, source: VideoSource, fingerprints: Fingerprints) -> str | None:
    """Why tracks are not those of this video and this model; None if they are."""
    if not saved.complete and fingerprints.video is None:
        return "the video was not read to its end"
    if saved.fingerprints.video != fingerprints.video:
        return "the video has changed"
    if fingerprints.video is None and saved.video != str(source.place):  # an address: its text is all that is known
        return "it is another video"
    if fingerprints.model is None or saved.fingerprints.model != fingerprints.model:
        return "the model has changed"
    return None

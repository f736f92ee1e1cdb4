"""`ifc-hf predict`: videos in, tracks and drawn videos out.

For every video there is a folder OUTPUT/NAME with `drawn.mp4` and `tracks.json`: the tracks of `IfcVideoSegmenter`
(masks as COCO RLE), the time of every frame, and the settings. A video whose tracks are there already is skipped, so
that an interrupted run can simply be started again.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..checkpoints import default_checkpoint

if TYPE_CHECKING:
    from ..video_io import Frame
    from ..video_segmenter_ifc import IfcVideoSegmenter

DRAW_FROM_SCORE = 0.3
# What decides about the tracks; a finished video is skipped only if these are still the same.
SETTINGS = ("model", "num_frames", "clip_stride", "threshold", "multi_label")


@dataclass
class Prediction:
    """Content of `tracks.json`.

    Attributes:
        video: Path of the source.
        height: Of its frames and the masks, in pixels.
        width: Likewise.
        fps: Frames per second.
        num_frames: Frames that were read.
        frame_times_seconds: When each frame is shown, from the start of the video.
        problem: Why the rest of a video that breaks off is missing, or None if all of it is here.
        settings: The command's settings that decide about the tracks.
        tracks: As `IfcVideoSegmenter` returns them.
    """

    video: str
    height: int
    width: int
    fps: float
    num_frames: int
    frame_times_seconds: list[float]
    problem: str | None
    settings: dict[str, Any]
    tracks: list[dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video file, or folder of frames")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    add_model_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="do videos again whose results are there")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what decides about tracks and drawing."""
    parser.add_argument("--model", default=default_model(), help="model folder or Hub id; default: the demo's")
    parser.add_argument("--num-frames", type=positive_int, help="frames of a window; default: the model's")
    parser.add_argument("--clip-stride", type=positive_int, default=1, help="frames between windows (default: 1)")
    parser.add_argument(
        "--threshold", type=probability, default=DRAW_FROM_SCORE, help="least score of a track (default: %(default)s)"
    )
    parser.add_argument("--multi-label", action="store_true", help="report a track under every class above threshold")
    parser.add_argument("--device", default="cpu", help="where the model runs, e.g. cuda (default: cpu)")
    parser.add_argument("--boxes", action="store_true", help="draw boxes, too")
    parser.add_argument("--no-video", action="store_true", help="write tracks only (drawing needs the extra `draw`)")


def default_model() -> str:
    """The shipped checkpoint."""
    return str(default_checkpoint())


def positive_int(text: str) -> int:
    """Argument type: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def probability(text: str) -> float:
    """Argument type: a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def run(args: argparse.Namespace) -> int:
    """Segment the videos.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        0, or 1 if a video could not be read to its end; the others are done nevertheless.
    """
    folders = output_folders(args.videos, args.output)
    settings = {name: getattr(args, name) for name in SETTINGS}
    waiting = [
        video for video in folders if args.overwrite or not is_finished(folders[video] / "tracks.json", settings)
    ]
    for video in folders:
        if video not in waiting:
            print(f"{video}: done before, see {folders[video]}")
    if not waiting:
        return 0
    if not args.no_video:
        from ..visualization import require_supervision

        require_supervision()  # before the work, not after it
    segmenter = load_segmenter(args)
    failures = 0
    for video in waiting:
        try:
            prediction = predict_video(segmenter, video, folders[video], args, settings)
        except (OSError, ValueError) as error:
            prediction = None
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        if prediction and prediction.problem:
            print(f"error: {prediction.problem}; the results hold what was readable", file=sys.stderr)
        failures += prediction is None or prediction.problem is not None
        if prediction:
            print_summary(prediction, folders[video], args)
    return int(failures > 0)


def output_folders(videos: list[Path], output: Path) -> dict[Path, Path]:
    """One folder for every video.

    Raises:
        FileNotFoundError: If a video does not exist: said before the first one is worked on.
        ValueError: If two videos would go to the same folder.
    """
    folders: dict[Path, Path] = {}
    sources: dict[Path, Path] = {}
    for video in videos:
        if not video.exists():
            raise FileNotFoundError(f"{video}: no such file or folder")
        folder = output / (video.resolve().name if video.is_dir() else video.stem)
        if sources.setdefault(folder, video) != video:
            raise ValueError(f"{sources[folder]} and {video} would both be written to {folder}; give them other names")
        folders[video] = folder
    return folders


def is_finished(tracks_file: Path, settings: dict[str, Any]) -> bool:
    """Whether the video was done, to its end, with the same settings."""
    try:
        content = json.loads(tracks_file.read_text(encoding="utf-8"))
        return content["settings"] == settings and content["problem"] is None
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return False


def load_segmenter(args: argparse.Namespace) -> "IfcVideoSegmenter":
    """Model and processor as the arguments ask for.

    Raises:
        ValueError: If the folder holds another kind of model.
        OSError: If there is no model.
    """
    import torch
    from transformers import AutoConfig

    from .. import IfcForVideoInstanceSegmentation, IfcImageProcessor, IfcVideoSegmenter

    config = AutoConfig.from_pretrained(args.model)
    if config.model_type != "ifc":
        raise ValueError(f"{args.model} holds a model of type {config.model_type!r}, expected 'ifc'")
    model = IfcForVideoInstanceSegmentation.from_pretrained(args.model, dtype=torch.float32).to(args.device)
    return IfcVideoSegmenter(
        model,
        IfcImageProcessor.from_pretrained(args.model),
        num_frames=args.num_frames,
        clip_stride=args.clip_stride,
        score_threshold=args.threshold,
        multi_label=args.multi_label,
    )


def predict_video(
    segmenter: "IfcVideoSegmenter", video: Path, folder: Path, args: argparse.Namespace, settings: dict[str, Any]
) -> Prediction:
    """Segment one video and write its results; `tracks.json` comes last, as the sign that all is done.

    Raises:
        OSError: If the video can't be opened or the results not be written.
        ValueError: If it is not a video, or has no frames.
    """
    from ..data.files import write_json
    from ..video_io import video_info

    info = video_info(video)
    folder.mkdir(parents=True, exist_ok=True)
    times: list[float] = []
    problems: list[str] = []
    with tqdm(desc=f"segment {video.name}", total=info.num_frames, unit="frame") as progress:
        for _ in segmenter.stream(readable_frames(video, times, problems)):
            progress.update()
    prediction = Prediction(
        video=str(video),
        height=info.size_hw[0],
        width=info.size_hw[1],
        fps=float(info.fps),
        num_frames=len(times),
        frame_times_seconds=[round(time, 6) for time in times],
        problem=problems[0] if problems else None,
        settings=settings,
        tracks=segmenter.tracks(),
    )
    if not args.no_video:
        draw_video(prediction, folder / "drawn.mp4", args.boxes)
    write_json(folder / "tracks.json", asdict(prediction))
    return prediction


def readable_frames(video: Path, times: list[float], problems: list[str]) -> Iterator["Frame"]:
    """The frames of a video up to where it breaks off.

    Args:
        video: The source.
        times: Gets the time of every frame.
        problems: Gets the message if the video breaks off.
    """
    from ..video_io import TruncatedVideoError, read_timed_frames

    try:
        for time, frame in read_timed_frames(video):
            times.append(time)
            yield frame
    except TruncatedVideoError as error:
        problems.append(str(error))


def draw_video(prediction: Prediction, path: Path, boxes: bool) -> None:
    """Read the video once more and write it with its tracks drawn: their scores are known only at the end."""
    from ..video_io import VideoWriter
    from ..visualization import draw_tracks

    frames = readable_frames(Path(prediction.video), [], [])
    with VideoWriter(path, prediction.fps) as writer:
        for index, frame in enumerate(tqdm(frames, desc=f"draw {path}", total=prediction.num_frames, unit="frame")):
            writer.write(draw_tracks(frame, prediction.tracks, index, boxes=boxes))


def print_summary(prediction: Prediction, folder: Path, args: argparse.Namespace) -> None:
    """Say what was found and where it lies."""
    for track in prediction.tracks:
        visible = sum(rle is not None for rle in track["segmentations"])
        print(
            f"track {track['track_id']}: {track['label']}, score {track['score']:.2f}, "
            f"in {visible} of {prediction.num_frames} frames"
        )
    if not prediction.tracks:
        print(f"no track of score {args.threshold} or more")
    print(folder / "tracks.json")
    if not args.no_video:
        print(folder / "drawn.mp4")

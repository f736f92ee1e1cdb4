"""`ifc-hf predict`: videos in, tracks and drawn videos out.

A VIDEO is a video file, a folder of pictures or of videos, a picture, a pattern, an address or the number of a camera.
For every video there is a folder OUTPUT/NAME with `tracks.json` and what else `--save` names: `video` (drawn.mp4),
`gif`, `sheet` (sheet.jpg), `masks` (id maps), `cutouts`, `timeline` (timeline.png). `results` is OUTPUT/results.json,
all videos in the format of YouTube-VIS. A video that is done already is skipped, so that an interrupted run can simply
be started again. Started by `accelerate launch`, several processes share the videos.
"""

import argparse
import errno
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoints import default_checkpoint
from .arguments import frame_range, names, positive_float, positive_int, probability, some_of

if TYPE_CHECKING:
    from ..model.video_segmenter import IfcVideoSegmenter
    from ..outputs.source import VideoSource

DRAW_FROM_SCORE = 0.3
DEFAULT_OUTPUTS = ("tracks", "video")
OUTPUTS = ("tracks", "results", "masks", "video", "gif", "sheet", "cutouts", "timeline")
# What decides about the tracks; a finished video is skipped only if these are still the same.
SETTINGS = ("model", "num_frames", "clip_stride", "threshold", "multi_label", "classes", "frames", "fps")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="file, folder, pattern, address or camera number")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--frames", type=frame_range, metavar="FIRST:END", help="look at these frames only, e.g. :300")
    parser.add_argument("--fps", type=positive_float, help="frames per second to look at; default: all")
    parser.add_argument("--overwrite", action="store_true", help="do videos again whose results are there")
    add_model_arguments(parser)
    add_output_arguments(parser, DEFAULT_OUTPUTS)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what decides about tracks."""
    parser.add_argument("--model", default=default_model(), help="model folder or Hub id; default: the demo's")
    parser.add_argument("--num-frames", type=positive_int, help="frames of a window; default: the model's")
    parser.add_argument("--clip-stride", type=positive_int, default=1, help="frames between windows (default: 1)")
    parser.add_argument(
        "--threshold", type=probability, default=DRAW_FROM_SCORE, help="least score of a track (default: %(default)s)"
    )
    parser.add_argument("--classes", type=names, metavar="A,B", help="classes to report; default: all")
    parser.add_argument("--multi-label", action="store_true", help="report a track under every class above threshold")
    parser.add_argument("--device", help="where the model runs, e.g. cuda; default: the accelerator, if there is one")


def add_output_arguments(parser: argparse.ArgumentParser, default: tuple[str, ...]) -> None:
    """Declare what is written and drawn."""
    parser.add_argument(
        "--save",
        type=some_of(OUTPUTS),
        default=list(default),
        metavar="A,B",
        help=f"what to write, of {', '.join(OUTPUTS)} (default: {','.join(default)}); tracks always are",
    )
    parser.add_argument("--no-labels", action="store_true", help="draw no label at the objects")
    parser.add_argument("--no-trails", action="store_true", help="draw no trails")
    parser.add_argument("--no-legend", action="store_true", help="draw no list of the tracks")
    parser.add_argument("--boxes", action="store_true", help="draw boxes, too")


def default_model() -> str:
    """The shipped checkpoint."""
    return str(default_checkpoint())


def run(args: argparse.Namespace) -> int:
    """Segment the videos.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        0, or 1 if a video could not be read to its end; the others are done nevertheless.

    Raises:
        OSError: If a video or the model is missing, or the results can't be written.
        ValueError: If two videos would go to the same folder, or a class is unknown.
        ImportError: If a library is missing for an output.
    """
    from ..model.pipeline_ifc import known_label_ids
    from ..outputs.drawing import DrawingStyle
    from ..outputs.files import require_libraries
    from ..outputs.job import VideoJob
    from ..outputs.source import find_sources
    from ..outputs.ytvis_results import write_ytvis_results
    from ..processes import Processes

    style = DrawingStyle(not args.no_labels, not args.no_trails, not args.no_legend, args.boxes)
    sources = find_sources(args.videos, args.frames, args.fps)
    folders = output_folders(sources, args.output)
    require_libraries(args.save, style)
    check_writable(args.output)
    processes = Processes(args.device)
    job = VideoJob(
        args.save,
        style,
        {name: getattr(args, name) for name in SETTINGS} | {"frames": args.frames and list(args.frames)},
    )
    waiting = [
        (source, folder) for source, folder in folders.items() if args.overwrite or not job.is_done(source, folder)
    ]
    for source, folder in folders.items():
        if (source, folder) not in waiting and processes.is_first:
            print(f"{source.place}: done before, see {folder}")
    if waiting:
        job.segmenter = load_segmenter(args, processes.device)
        job.label_ids = known_label_ids(job.segmenter.model.config.id2label, args.classes)
    failures = 0
    for source, folder in processes.share(waiting):
        try:
            failures += not job.do(source, folder, args.overwrite)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise OSError(f"{folder}: the disk is full; make room and start again") from error
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            failures += 1
    failures = processes.total(failures)
    if "results" in args.save and processes.is_first:
        write_ytvis_results([folder / "tracks.json" for folder in folders.values()], args.output)
        print(args.output / "results.json")
    return int(failures > 0)


def output_folders(sources: list["VideoSource"], output: Path) -> dict["VideoSource", Path]:
    """One folder for every video.

    Raises:
        ValueError: If two videos would go to the same folder.
    """
    by_folder: dict[Path, VideoSource] = {}
    for source in sources:
        folder = output / source.name
        other = by_folder.setdefault(folder, source)
        if other != source:
            raise ValueError(
                f"{other.place} and {source.place} would both be written to {folder}; give them other names"
            )
    return {source: folder for folder, source in by_folder.items()}


def check_writable(output: Path) -> None:
    """Make the folder for the results and try to write there: said before the work, not after it.

    Raises:
        OSError: If that is impossible.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OSError(f"{output}: can't be written to ({error.strerror})") from error


def load_segmenter(args: argparse.Namespace, device: str) -> "IfcVideoSegmenter":
    """Model and processor as the arguments ask for.

    Raises:
        ValueError: If the folder holds another kind of model.
        OSError: If there is no model.
    """
    from ..loading import load_checkpoint
    from ..model.video_segmenter import IfcVideoSegmenter

    model, processor = load_checkpoint(args.model, device)
    return IfcVideoSegmenter(
        model,
        processor,
        num_frames=args.num_frames,
        clip_stride=args.clip_stride,
        score_threshold=args.threshold,
        multi_label=args.multi_label,
    )

"""`ifc-hf predict`: videos in, tracks and drawn videos out.

A VIDEO is a video file, a folder of pictures or of videos, a picture, a pattern, an address or the number of a camera.
For every video there is a folder OUTPUT/NAME with `tracks.json` and what else `--save` names: `video` (drawn.mp4),
`gif`, `sheet` (sheet.jpg), `masks` (id maps), `cutouts`, `timeline` (timeline.png). `results` is OUTPUT/results.json,
all videos in the format of YouTube-VIS. A video that is done already is skipped, so that an interrupted run can simply
be started again. Started by `accelerate launch`, several processes share the videos.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoints import SHIPPED_MODEL_NOTE, default_checkpoint, find_checkpoint
from ..outputs.files import FILES, OUTPUTS
from .arguments import (
    ENGINE_NAMES,
    add_timeout,
    frame_range,
    names,
    positive_float,
    positive_int,
    probability,
    some_of,
)
from .messages import machine_fault, one_line, print_error

if TYPE_CHECKING:
    from ..model.configuration_ifc import IfcConfig
    from ..model.video_segmenter import IfcVideoSegmenter
    from ..outputs.drawing import DrawingStyle
    from ..outputs.frame_lines import FrameLines
    from ..outputs.plan import VideoTask
    from ..outputs.prediction import TrackSettings
    from ..outputs.source import VideoSource
    from ..outputs.worker import VideoWorker
    from ..processes import Processes

logger = logging.getLogger(__name__)

DEFAULT_OUTPUTS = ("tracks", "video")
MIN_FRAMES = 3  # shorter tracks are mostly noise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="file, folder, pattern, address or camera number")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("outputs"), help="folder for the results (default: outputs)"
    )
    parser.add_argument("--frames", type=frame_range, metavar="FIRST:END", help="look at these frames only, e.g. :300")
    parser.add_argument("--fps", type=positive_float, help="frames per second to look at; default: all")
    parser.add_argument("--overwrite", action="store_true", help="do videos again whose results are there")
    parser.add_argument(
        "--no-wait", action="store_true", help="leave out, as failed, videos that another process is writing to OUTPUT"
    )
    parser.add_argument(
        "--jsonl",
        metavar="PATH",
        help="write one line of JSON for every frame as soon as it is finished; - for the standard output",
    )
    parser.add_argument(
        "--live", action="store_true", help="follow a camera or an address until Ctrl-C, with files of ten minutes"
    )
    add_timeout(parser)
    add_model_arguments(parser)
    add_output_arguments(parser, DEFAULT_OUTPUTS)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what decides about tracks."""
    parser.add_argument("--model", default=default_model(), help="model folder or Hub id; default: the demo's")
    parser.add_argument("--num-frames", type=positive_int, help="frames of a window; default: the model's")
    parser.add_argument("--clip-stride", type=positive_int, default=1, help="frames between windows (default: 1)")
    parser.add_argument("--threshold", type=probability, help="least score of a track; default: the model's")
    parser.add_argument("--classes", type=names, metavar="A,B", help="classes to report; default: all")
    parser.add_argument("--multi-label", action="store_true", help="report a track under every class above threshold")
    parser.add_argument(
        "--engine", choices=ENGINE_NAMES, default="torch", help="what runs the network (default: %(default)s)"
    )
    parser.add_argument("--device", help="where the model runs, e.g. cuda; default: the accelerator, if there is one")


def add_output_arguments(parser: argparse.ArgumentParser, default: tuple[str, ...]) -> None:
    """Declares what is written and drawn."""
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
    parser.add_argument(
        "--min-frames",
        type=positive_int,
        default=MIN_FRAMES,
        help="draw tracks that are visible in so many frames of a shot (default: %(default)s)",
    )
    parser.add_argument("--no-cuts", action="store_true", help="draw tracks across cuts")
    parser.add_argument("--duplicates", action="store_true", help="draw near copies of a better track, too")


def default_model() -> str:
    """The shipped checkpoint."""
    return str(default_checkpoint())


@dataclass(frozen=True)
class Request:
    """What the arguments ask for.

    Attributes:
        args: The arguments.
        folders: The videos, and where the results of each go.
        settings: What decides about tracks.
        style: How to draw.
        processes: Those that share the videos.
        segmenter: Loads the model when it is first asked for.
        say: Takes lines for the user.
    """

    args: argparse.Namespace
    folders: "dict[VideoSource, Path]"
    settings: "TrackSettings"
    style: "DrawingStyle"
    processes: "Processes"
    segmenter: "Callable[[], IfcVideoSegmenter]"
    say: Callable[[str], None]


def run(args: argparse.Namespace) -> int:
    """Segments the videos.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        0, or 1 if a video could not be read to its end; the others are done nevertheless.

    Raises:
        OSError: If a video or the model is missing, or the results can't be written.
        ValueError: If a class is unknown, or arguments contradict each other.
        ImportError: If a library is missing for an output.
    """
    from ..loading import load_config
    from ..outputs.output_writers import require_libraries
    from ..outputs.source import find_sources
    from ..processes import Processes

    processes = Processes(args.device, args.timeout)
    style = drawing_style(args)
    sources = find_sources(args.videos, args.frames, args.fps, args.live)
    folders = {source: args.output / source.name for source in sources}
    check_live(args, sources)
    require_libraries(args.save, style)
    config = load_config(args.model)
    settings = track_settings(args, config)
    segmenter = cache(lambda: load_segmenter(settings, processes.device, args.live, args.engine))
    say = partial(print, file=sys.stderr) if args.jsonl == "-" else print
    request = Request(args, folders, settings, style, processes, segmenter, say)
    if processes.is_first:
        for note in notes(settings, config):
            say(note)
    check_writable(args.output)
    with open_lines(args.jsonl, processes) as lines:
        return follow_live(request, lines) if args.live else do_videos(request, lines)


def do_videos(request: Request, lines: "FrameLines | None") -> int:
    """Plans and does what is to be done for every video; returns the exit code."""
    from ..loading import checkpoint_folder
    from ..outputs.fingerprint import model_fingerprint
    from ..outputs.plan import Order, plan
    from ..outputs.worker import VideoWorker
    from ..outputs.ytvis_results import write_ytvis_results

    args, processes, say = request.args, request.processes, request.say
    fingerprint = model_fingerprint(checkpoint_folder(args.model))
    # Lines come while the model runs: it has to run for every video.
    overwrite = args.overwrite or lines is not None
    order = Order(request.settings, fingerprint, tuple(args.save), request.style, overwrite)
    tasks = plan(request.folders, order)
    failures = 0
    for task in tasks if processes.is_first else ():
        if task.is_done:
            say(f"{task.source.place}: done before, see {task.folder}")
            if task.problem:
                print_error(f"{task.problem}; the results hold what was readable")
                failures += 1
    if any(task.needs_model for task in tasks):
        request.segmenter()  # what is wrong with it is said once, before the videos
    worker = VideoWorker(order, request.segmenter, say, lines.add if lines else None)
    failures += do_tasks(worker, processes.share([task for task in tasks if not task.is_done]), not args.no_wait)
    failures = processes.total(failures)
    if "results" in args.save and processes.is_first:
        write_ytvis_results([task.folder / FILES["tracks"] for task in tasks], args.output)
        say(str(args.output / "results.json"))
    return int(failures > 0)


def follow_live(request: Request, lines: "FrameLines | None") -> int:
    """Follows a source without end; returns 0 after Ctrl-C, 1 if the source went away and didn't come back."""
    from ..outputs.live import follow

    [(source, folder)] = request.folders.items()
    style = request.style if "video" in request.args.save else None
    take_frame = lines.add if lines else None
    followed = follow(request.segmenter(), source, folder, request.settings.classes, style, take_frame)
    request.say(f"{source.place}: {followed.num_frames} frames, see {folder}")
    if followed.problem:
        print_error(followed.problem)
    return int(followed.problem is not None)


def check_live(args: argparse.Namespace, sources: "list[VideoSource]") -> None:
    """Refuses what can't be followed, and outputs that need the end of a video.

    Raises:
        ValueError: If `--live` is given for such.
    """
    if not args.live:
        return
    if len(sources) != 1 or not sources[0].is_read_once or is_file_or_folder(sources[0].place):
        raise ValueError("--live follows one camera or address, not files")
    if others := sorted(set(args.save) - {"tracks", "video"}):
        raise ValueError(f"--live writes tracks and video alone: the rest needs the end of a video, got {others}")


def is_file_or_folder(place: str | int) -> bool:
    """Whether a source is a file or folder of this machine, which has an end."""
    return isinstance(place, str) and (os.path.isfile(place) or os.path.isdir(place))


@contextmanager
def open_lines(path: str | None, processes: "Processes") -> "Iterator[FrameLines | None]":
    """What writes a line for every frame to a file, or to the standard output for `-`; None if nobody asks for it.

    Raises:
        OSError: If the file can't be written.
        ValueError: If several processes would write to it.
    """
    from ..outputs.frame_lines import FrameLines

    if path is None:
        yield None
        return
    if processes.state is not None:
        raise ValueError("--jsonl: only one process can write the lines; start one without accelerate launch")
    if path == "-":
        yield FrameLines(sys.stdout)
        return
    with open(path, "w", encoding="utf-8") as stream:
        yield FrameLines(stream)


def do_tasks(worker: "VideoWorker", tasks: Sequence["VideoTask"], wait: bool) -> int:
    """Does the tasks, last those whose folder another process has locked.

    Args:
        worker: Does one after the other.
        tasks: What is to be done.
        wait: Whether to wait for the other process in the end, or to leave out what it works on, which then counts as
            failed.

    Returns:
        How many failed: an error of one video, whatever its class, is said in one line and keeps no other from being
        done.

    Raises:
        OSError: If the disk is full, or the like: the next video would fail as well.
    """
    failures = 0
    waiting = [(task, False) for task in tasks]
    while waiting:
        task, may_wait = waiting.pop(0)
        try:
            is_complete = worker.do(task, may_wait)
        except Exception as error:
            if fault := machine_fault(error):
                raise OSError(f"{task.folder}: {fault}") from error
            logger.debug("%s", task.source.place, exc_info=True)
            place, text = str(task.source.place), one_line(error)
            print_error(text if place in text else f"{place}: {text}")
            is_complete = False
        if is_complete is None and wait:
            waiting.append((task, True))
        else:
            failures += not is_complete
    return failures


def drawing_style(args: argparse.Namespace) -> "DrawingStyle":
    """How the arguments ask to draw."""
    from ..outputs.drawing import DrawingStyle

    return DrawingStyle(
        labels=not args.no_labels,
        trails=not args.no_trails,
        legend=not args.no_legend,
        boxes=args.boxes,
        min_frames=args.min_frames,
        hide_duplicates=not args.duplicates,
        split_at_cuts=not args.no_cuts,
    )


def track_settings(args: argparse.Namespace, config: "IfcConfig") -> "TrackSettings":
    """What the arguments and the model say about the tracks.

    Raises:
        ValueError: If the model doesn't know a class.
    """
    from ..model.pipeline_ifc import default_threshold, known_label_ids
    from ..outputs.prediction import TrackSettings

    id2label: Any = config.id2label  # annotated as what a configuration may be made from
    classes = None
    if args.classes is not None:
        classes = sorted(id2label[label_id] for label_id in known_label_ids(id2label, args.classes))
    return TrackSettings(
        model=args.model,
        num_frames=args.num_frames,
        clip_stride=args.clip_stride,
        threshold=default_threshold(config) if args.threshold is None else args.threshold,
        multi_label=args.multi_label,
        classes=classes,
        frames=None if args.frames is None else list(args.frames),
        fps=args.fps,
    )


def notes(settings: "TrackSettings", config: "IfcConfig") -> list[str]:
    """What one should know of these settings before one looks at the results."""
    found = [SHIPPED_MODEL_NOTE] if find_checkpoint(settings.model) == default_model() else []
    num_frames = settings.num_frames or config.num_frames
    if settings.clip_stride > num_frames:
        empty = settings.clip_stride - num_frames
        found.append(
            f"{empty} of every {settings.clip_stride} frames stay empty: windows of {num_frames} frames lie "
            f"{settings.clip_stride} frames apart (--num-frames, --clip-stride)"
        )
    return found


def check_writable(output: Path) -> None:
    """Makes the folder for the results and tries to write there: said before the work, not after it.

    Raises:
        OSError: If that is impossible.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OSError(f"{output}: can't be written to ({error.strerror})") from error


def load_segmenter(settings: "TrackSettings", device: str, is_live: bool, engine: str) -> "IfcVideoSegmenter":
    """Model and processor as the settings ask for.

    Args:
        settings: What decides about tracks.
        device: Where the model runs.
        is_live: Whether a frame shall wait for no other.
        engine: What runs the network, see `IfcVideoSegmenter`.

    Raises:
        ValueError: If the folder holds another kind of model, or a broken one.
        OSError: If there is no model.
    """
    from ..loading import load_checkpoint
    from ..model.video_segmenter import IfcVideoSegmenter

    model, processor = load_checkpoint(settings.model, device)
    return IfcVideoSegmenter(
        model,
        processor,
        num_frames=settings.num_frames,
        clip_stride=settings.clip_stride,
        score_threshold=settings.threshold,
        multi_label=settings.multi_label,
        frames_per_batch=1 if is_live else None,
        engine=engine,
    )

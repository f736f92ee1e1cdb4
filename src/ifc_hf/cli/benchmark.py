"""`ifc-hf benchmark`: frames per second and memory of a checkpoint on a video, stage by stage.

What is timed is what a user waits for: decoding the file, resizing, the network, matching the instances of the
windows, and bringing masks to the size of the frames as RLE. The median over the runs counts; one run comes before
them.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import frame_size, positive_int

if TYPE_CHECKING:
    from ..benchmark import VideoBenchmark

PACKAGES = ("ifc_hf", "torch", "transformers", "numpy", "scipy", "av")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("checkpoint", help="model folder or Hub id")
    parser.add_argument("--video", type=Path, help="file or folder of frames (default: the sample clip, 40 frames)")
    parser.add_argument("--max-frames", type=positive_int, metavar="L", help="take the first L frames alone")
    parser.add_argument("--num-frames", type=positive_int, help="frames of a window (default: the model's)")
    parser.add_argument("--clip-stride", type=positive_int, default=1, help="frames between windows (default: 1)")
    parser.add_argument("--size", type=frame_size, metavar="HxW", help="what the network sees (default: processor's)")
    parser.add_argument("--repeats", type=positive_int, default=5, help="runs that count (default: 5)")
    parser.add_argument("--threads", type=positive_int, help="threads of PyTorch (default: PyTorch's choice)")
    parser.add_argument("--device", default="cpu", help="where the model runs, e.g. cuda (default: cpu)")
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the figures, machine and versions")


def run(args: argparse.Namespace) -> int:
    """Measures, prints and saves.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        The exit code 0; what goes wrong is raised.
    """
    import torch

    from ..benchmark import benchmark_video, describe_machine, package_versions, write_report
    from ..loading import load_checkpoint
    from ..model.video_segmenter import IfcVideoSegmenter
    from ..samples import sample_clip

    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    if args.threads:
        torch.set_num_threads(args.threads)
    model, processor = load_checkpoint(args.checkpoint, args.device)
    if args.size:
        processor.do_resize, processor.size = True, {"height": args.size[0], "width": args.size[1]}
    segmenter = IfcVideoSegmenter(model, processor, args.num_frames, args.clip_stride)
    result = benchmark_video(segmenter, args.video or sample_clip(), args.repeats, args.max_frames)
    settings = {
        "checkpoint": args.checkpoint,
        "video": str(args.video or sample_clip().name),
        "num_frames": segmenter.num_frames,
        "clip_stride": args.clip_stride,
        "size": dict(processor.size) if processor.do_resize else None,
        "repeats": args.repeats,
        "device": args.device,
    }
    print_result(result)
    print("; ".join(f"{key}: {value}" for key, value in (settings | describe_machine()).items()))
    print(", ".join(f"{name} {version}" for name, version in package_versions(PACKAGES).items()))
    if args.output:
        write_report(args.output, {"settings": settings, **asdict(result)}, PACKAGES)
        print(f"Wrote {args.output}")
    return 0


def print_result(result: "VideoBenchmark") -> None:
    """One row for every stage, then rate and memory."""
    print(f"milliseconds per frame, {result.frames} frames, {result.tracks} tracks")
    for stage, milliseconds in result.milliseconds_per_frame.items():
        print(f"  {stage:20} {milliseconds:9.2f}")
    rates = result.frames_per_second
    print(f"frames per second: {rates.median:.2f} ({rates.min:.2f} to {rates.max:.2f})")
    print(f"peak memory of the process: {result.peak_memory_gib:.2f} GiB")
    if result.peak_device_memory_gib is not None:
        print(f"peak memory on the device: {result.peak_device_memory_gib:.2f} GiB")

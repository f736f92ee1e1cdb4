"""How far answers are behind their source: in frames, and in milliseconds that the machine works on a frame.

Frames are read and answered one by one, as `ifc-hf predict --live` does it.

    python scripts/benchmark_latency.py
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ifc_hf import IfcVideoSegmenter, default_checkpoint
from ifc_hf.benchmark import write_report
from ifc_hf.loading import load_checkpoint
from ifc_hf.model.video_files import Frame, read_frames
from ifc_hf.samples import sample_clip


def main() -> None:
    """Follows the clip with every window and stride, prints and saves."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    model, processor = load_checkpoint(str(default_checkpoint()))
    frames = list(islice(read_frames(sample_clip()), arguments.frames))
    windows = {}
    for window in arguments.windows:
        num_frames, clip_stride = map(int, window.split("x"))
        segmenter = IfcVideoSegmenter(model, processor, num_frames, clip_stride, frames_per_batch=1)
        follow(segmenter, frames[: num_frames + 2])  # fills caches
        windows[window] = follow(segmenter, frames)
    report = {
        "what": "by window and stride (TxS): frames read after a frame before its answer came, least and most;"
        " milliseconds of work for a frame",
        "arguments": {name: value for name, value in vars(arguments).items() if name != "output"},
        "windows": windows,
    }
    print(json.dumps(report, indent=2))
    write_report(arguments.output, report, packages=("ifc_hf", "torch"))


def read_arguments() -> argparse.Namespace:
    """The windows and the clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", nargs="+", default=["1x1", "2x1", "3x1", "5x1", "5x3"], metavar="TxS")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("results/benchmark_latency.json"))
    return parser.parse_args()


def follow(segmenter: IfcVideoSegmenter, frames: list[Frame]) -> dict[str, Any]:
    """Lag in frames, and milliseconds from asking for a frame to asking for the next, of frames before the end."""
    asked: list[float] = []

    def source() -> Iterator[Frame]:
        for frame in frames:
            asked.append(time.perf_counter())
            yield frame
        asked.append(time.perf_counter())

    lags = []
    for result in segmenter.stream(source(), keep_segmentations=False):
        if len(asked) <= len(frames):
            lags.append(len(asked) - 1 - result.frame_index)
    work = [1e3 * (end - begin) for begin, end in zip(asked, asked[1:], strict=False)]
    return {
        "least_lag_frames": min(lags, default=None),
        "most_lag_frames": max(lags, default=None),
        "milliseconds_per_frame": statistics.mean(work[segmenter.num_frames :] or work),
        "most_milliseconds": max(work[segmenter.num_frames :] or work),
    }


if __name__ == "__main__":
    main()

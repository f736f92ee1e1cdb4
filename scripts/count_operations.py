"""Counts the multiply-adds of every stage of whole-video inference: what the fastest program would still have to do.

The network is the authors' (ResNet-50, 100 queries, width 256), operation by operation as in the paper.

    python scripts/count_operations.py
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark_inference import make_model, make_video, plain_segmenter, set_number_of_instances
from ifc_hf import IfcImageProcessor
from ifc_hf.benchmark import write_report
from ifc_hf.model.video_pass import VideoPass

COUNTED = {"backbone": "encode_frames", "encoder and decoder": "encode_window", "mask head": "find_instances"}


def main() -> None:
    """Counts, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", nargs="+", default=["5x1x12", "36x1x36"], metavar="TxSxL")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--output", type=Path, default=Path("results/operations.json"))
    arguments = parser.parse_args()
    report = {
        "what": "billions of multiply-adds per frame of a video, by window (TxSxL: window, stride, frames) and stage",
        "size": arguments.size,
        "giga_multiply_adds_per_frame": {
            window: count(*map(int, window.split("x")), arguments.size) for window in arguments.windows
        },
    }
    print(json.dumps(report, indent=2))
    write_report(arguments.output, report, packages=("ifc_hf", "torch"))


def count(num_frames: int, clip_stride: int, length: int, size_hw: tuple[int, int]) -> dict[str, float]:
    """Of the plain engine, per frame. One step of each stage is run; all others of a video are like it."""
    model, processor = make_model().requires_grad_(False), IfcImageProcessor()
    frames = make_video(num_frames, size_hw)
    set_number_of_instances(model, processor, frames[:5], 12)
    counts: dict[str, float] = defaultdict(float)

    class CountingPass(VideoPass):
        """Counts within each stage."""

    def counted(stage: str, step: str) -> None:
        plain = getattr(VideoPass, step)

        def call(self: VideoPass, *args: object) -> object:
            with FlopCounterMode(display=False) as counter:
                result = plain(self, *args)
            counts[stage] += counter.get_total_flops() / 2e9  # two operations a multiply-add
            return result

        setattr(CountingPass, step, call)

    for stage, step in COUNTED.items():
        counted(stage, step)
    segmenter = plain_segmenter(model, processor, num_frames, clip_stride)
    for _ in CountingPass(segmenter, frames):  # one window
        pass
    num_windows = -(-max(0, length - num_frames) // clip_stride) + 1
    of_windows = num_windows / length
    shares = {"backbone": 1 / num_frames, "encoder and decoder": of_windows, "mask head": of_windows}
    return {stage: round(counts[stage] * shares[stage], 3) for stage in COUNTED}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

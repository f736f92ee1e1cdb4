"""Seconds per frame and peak memory of whole-video inference, split by stage.

The network is the authors' (ResNet-50, 100 queries, width 256) with random weights, its bias for "no object" set so
that about `--instances` queries of a window are objects. Several engines run in turn, among them "plain", the model's
own operations one after the other. Every peak is measured in a process of its own.

    python scripts/benchmark_inference.py
    python scripts/benchmark_inference.py --engines plain torch openvino --windows 5x1x20 --peak-frames 20 72 300
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation, IfcImageProcessor, IfcVideoSegmenter
from ifc_hf.benchmark import STAGES, StageClock, TimedPass, peak_memory_gib, write_report
from ifc_hf.model.engine import Engine, EngineSettings
from ifc_hf.model.engines import ENGINE_NAMES

PLAIN = "plain"


def main() -> None:
    """Times the engines in turn, measures peaks, prints and saves."""
    arguments = read_arguments()
    if arguments.measure_peak:
        print(streaming_peak_gib(arguments, *arguments.measure_peak))
        return
    torch.set_num_threads(arguments.threads)
    model, processor = make_model(), IfcImageProcessor()
    results = {}
    for window in arguments.windows:
        num_frames, clip_stride, length = map(int, window.split("x"))
        frames = make_video(length, arguments.size)
        set_number_of_instances(model, processor, frames[:num_frames], arguments.instances)
        segmenters = {
            engine: plain_segmenter(model, processor, num_frames, clip_stride)
            if engine == PLAIN
            else IfcVideoSegmenter(model, processor, num_frames, clip_stride, engine=engine)
            for engine in arguments.engines
        }
        results[window] = time_in_turn(segmenters, frames, arguments.repeats)
        print_timings(window, results[window])
    peaks = {
        f"T={num_frames}, {length} frames": measure_peak(arguments, num_frames, length)
        for num_frames in (5, 36)
        for length in arguments.peak_frames
    }
    for name, gib in peaks.items():
        print(f"peak memory, {name}: {gib:.2f} GiB")
    report = {
        "what": "seconds per frame by window (TxSxL: window, stride, frames); peak memory in GiB",
        "arguments": {key: value for key, value in vars(arguments).items() if key not in ("output", "measure_peak")},
        "matrix_product_gflops": matrix_product_gflops(),
        "seconds_per_frame": results,
        "peak_memory_gib": peaks,
    }
    write_report(arguments.output, report, packages=("ifc_hf", "torch", "transformers", "numpy", "scipy"))


def read_arguments() -> argparse.Namespace:
    """The sizes of what is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", nargs="+", default=["5x1x20", "36x1x36"], metavar="TxSxL")
    parser.add_argument("--engines", nargs="+", default=[PLAIN, "torch"], choices=(PLAIN, *ENGINE_NAMES))
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--instances", type=int, default=12, help="objects of a window")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak-frames", type=int, nargs="*", default=[36, 72, 144], metavar="L")
    parser.add_argument("--measure-peak", type=int, nargs=2, metavar=("T", "L"), help="of this process alone")
    parser.add_argument("--output", type=Path, default=Path("results/benchmark_inference.json"))
    return parser.parse_args()


def make_model() -> IfcForVideoInstanceSegmentation:
    """The authors' network for YouTube-VIS with random weights."""
    torch.manual_seed(0)
    return IfcForVideoInstanceSegmentation(IfcConfig(num_labels=40)).eval()


def make_video(length: int, size_hw: tuple[int, int]) -> np.ndarray:
    """(L, H, W, 3) uint8: one smooth random picture throughout, so that random weights find the same objects."""
    coarse = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC))
    return np.broadcast_to(picture, (length, *picture.shape))


@torch.inference_mode()
def set_number_of_instances(
    model: IfcForVideoInstanceSegmentation, processor: IfcImageProcessor, frames: np.ndarray, instances: int
) -> None:
    """Sets the bias of "no object" so that this many queries of a clip have another class as their best."""
    logits = model(**processor(frames)).class_queries_logits[0]
    margins = (logits[:, :-1].amax(-1) - logits[:, -1]).sort(descending=True).values
    model.class_head.layers[-1].bias[-1] += (margins[instances - 1] + margins[instances]) / 2


def plain_segmenter(model: Any, processor: Any, num_frames: int, clip_stride: int) -> IfcVideoSegmenter:
    """A segmenter that runs the model's own operations one after the other."""
    engine = Engine(model, EngineSettings(1, num_frames / clip_stride))
    segmenter = IfcVideoSegmenter(model, processor, num_frames, clip_stride)
    segmenter.engine = lambda: engine
    return segmenter


def time_in_turn(segmenters: dict[str, IfcVideoSegmenter], frames: np.ndarray, repeats: int) -> dict[str, Any]:
    """Median seconds per frame of every engine and stage, after one round to warm up, and the ratios to the first."""
    rounds: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in tqdm(range(repeats + 1), desc="rounds", leave=False):
        for name, segmenter in segmenters.items():
            clock = StageClock()
            start = time.perf_counter()
            video_pass = TimedPass(clock, segmenter, frames)
            for _ in video_pass:
                pass
            tracks = video_pass.tracks()
            clock.seconds["total"] = time.perf_counter() - start
            rounds[name].append({stage: value / len(frames) for stage, value in clock.seconds.items()})
    medians = {
        name: {stage: statistics.median(r[stage] for r in measured[1:]) for stage in measured[0]}
        for name, measured in rounds.items()
    }
    first = next(iter(medians))
    return {
        "engines": medians,
        "ratios": {name: stages["total"] / medians[first]["total"] for name, stages in medians.items()},
        "tracks": len({track["track_id"] for track in tracks}),
    }


def measure_peak(arguments: argparse.Namespace, num_frames: int, length: int) -> float:
    """Peak memory in GiB of a fresh process that segments a video of this length."""
    command = [sys.executable, __file__, "--measure-peak", str(num_frames), str(length)]
    command += ["--size", *map(str, arguments.size), "--instances", str(arguments.instances)]
    command += ["--threads", str(arguments.threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def streaming_peak_gib(arguments: argparse.Namespace, num_frames: int, length: int) -> float:
    """Segments a video whose frames come one by one, and reads the high-water mark of this process."""
    torch.set_num_threads(arguments.threads)
    model, processor = make_model(), IfcImageProcessor()
    # Few windows, because the peak doesn't depend on how much they overlap but on what one of them holds.
    segmenter = IfcVideoSegmenter(model, processor, num_frames, clip_stride=max(1, num_frames // 2))
    frames = make_video(num_frames, arguments.size)
    set_number_of_instances(model, processor, frames[:5], arguments.instances)
    for _ in segmenter.stream(frames[index % num_frames] for index in range(length)):
        pass
    return peak_memory_gib()


def matrix_product_gflops(size: int = 2048, repeats: int = 5) -> float:
    """Speed of a square float32 matrix product, by which machines can be compared; the best of some repeats."""
    matrix = torch.randn(size, size)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def print_timings(window: str, result: dict[str, Any]) -> None:
    """One row for every stage."""
    print(f"{window}: milliseconds per frame, {result['tracks']} tracks")
    print(f"  {'':20}", *(f"{name:>12}" for name in result["engines"]))
    for stage in (*STAGES, "total"):
        print(f"  {stage:20}", *(f"{stages[stage] * 1e3:12.1f}" for stages in result["engines"].values()))
    print(f"  {'ratio':20}", *(f"{ratio:12.2f}" for ratio in result["ratios"].values()))


if __name__ == "__main__":
    main()

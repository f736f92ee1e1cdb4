"""How well finding tracks and drawing them overlap: `ifc-hf predict` of a film against its two halves.

The halves are what a run does that asks for the tracks alone, and what a later run does that adds the drawn video. All
three run in turn in this process, the network loaded before. On few cores the whole can't take less than the sum of
the CPU seconds over the number of cores, which is given beside it.

    python scripts/benchmark_predict.py
    python scripts/benchmark_predict.py --frames 60 --repeats 1
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ifc_hf import IfcVideoSegmenter, VideoWriter, default_checkpoint
from ifc_hf.benchmark import write_report
from ifc_hf.loading import load_checkpoint
from ifc_hf.model.engines import ENGINE_NAMES
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.drawing import DrawingStyle
from ifc_hf.outputs.plan import Order, plan
from ifc_hf.outputs.prediction import TrackSettings
from ifc_hf.outputs.source import VideoSource
from ifc_hf.outputs.worker import VideoWorker
from ifc_hf.samples import sample_clip


def main() -> None:
    """Makes the film, times the halves and the whole in turn, prints and saves."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    settings = TrackSettings("demo", None, 1, arguments.threshold, False, None, None, None)
    segmenter = IfcVideoSegmenter(
        *load_checkpoint(str(default_checkpoint())), score_threshold=arguments.threshold, multi_label=False,
        engine=arguments.engine,
    )  # fmt: skip
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        film = VideoSource(str(write_film(Path(folder, "film.mp4"), arguments)))
        for repeat in range(arguments.repeats + 1):  # the first fills caches
            halves, whole = Path(folder, f"halves_{repeat}"), Path(folder, f"whole_{repeat}")
            rounds.append({
                "segment": run(segmenter, settings, film, halves, ("tracks",)),
                "write": run(segmenter, settings, film, halves, ("tracks", "video")),
                "whole": run(segmenter, settings, film, whole, ("tracks", "video")),
            })  # fmt: skip
    figures = {
        part: {name: statistics.median(one[part][name] for one in rounds[1:]) for name in rounds[0][part]}
        for part in rounds[0]
    }
    slower = max(figures[half]["seconds"] for half in ("segment", "write"))
    report: dict[str, Any] = {
        "what": "seconds of predict for a film, of its halves and of the whole; CPU seconds of all threads",
        "arguments": {name: value for name, value in vars(arguments).items() if name not in ("output", "video")},
        **figures,
        "whole_over_slower_half": figures["whole"]["seconds"] / slower,
        "whole_over_sum_of_halves": figures["whole"]["seconds"]
        / sum(figures[half]["seconds"] for half in ("segment", "write")),
        "floor_over_slower_half": figures["whole"]["cpu_seconds"] / (os.cpu_count() or 1) / slower,
    }
    print(json.dumps(report, indent=2))
    write_report(arguments.output, report, packages=("ifc_hf", "torch", "av", "numpy"))


def read_arguments() -> argparse.Namespace:
    """The film and how to segment it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, default=sample_clip(), help="repeated and scaled to make the film")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--size", type=int, nargs=2, default=(720, 1280), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--threshold", type=float, default=0.3)
    parser.add_argument("--engine", default="torch", choices=ENGINE_NAMES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("results/benchmark_predict.json"))
    return parser.parse_args()


def write_film(path: Path, arguments: argparse.Namespace) -> Path:
    """The clip again and again, in the size that was asked for."""
    height, width = arguments.size
    with VideoWriter(path, fps=25) as writer:
        for frame in itertools.islice(itertools.cycle(read_frames(arguments.video)), arguments.frames):
            writer.write(np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)))
    return path


def run(
    segmenter: IfcVideoSegmenter, settings: TrackSettings, film: VideoSource, folder: Path, outputs: tuple[str, ...]
) -> dict[str, float]:
    """Does what `ifc-hf predict` does for one video; seconds by the clock and of all threads."""
    order = Order(settings, "benchmark", outputs, DrawingStyle())
    start, cpu_start = time.perf_counter(), time.process_time()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        worker = VideoWorker(order, lambda: segmenter, say=lambda line: None)
        for task in plan({film: folder}, order):
            worker.do(task)
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}


if __name__ == "__main__":
    main()

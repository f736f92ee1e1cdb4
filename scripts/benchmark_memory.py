"""Memory of long videos: `stream` of the pipeline, and `ifc-hf predict`, each in a process of its own.

    python scripts/benchmark_memory.py                       # the shipped film clip, repeated to 2,000 frames
    python scripts/benchmark_memory.py --frames 300 --video film.mp4

The memory of a process is read after every frame (`stream`) or every half second (`predict`). What counts is how
much it grows after frame 100. `predict` keeps the RLEs of all masks, so the size of tracks.json, which holds them, is
given as well.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ifc_hf import default_checkpoint
from ifc_hf.benchmark import write_report
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.samples import sample_clip

WARM_UP_FRAMES = 100
PAGE_MIB = resource.getpagesize() / 2**20


def main() -> None:
    """Measures both, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, default=sample_clip(), help="repeated until it is long enough")
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--model", default=str(default_checkpoint()))
    parser.add_argument("--output", type=Path, default=Path("results/benchmark_memory.json"))
    parser.add_argument("--stream", type=Path, help=argparse.SUPPRESS)  # what the process that is measured gets
    args = parser.parse_args()
    if args.stream:
        print(json.dumps(stream(args.stream, args.model)))
        return
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder, "long.mp4")
        with VideoWriter(video, fps=25) as writer:
            for frame in itertools.islice(itertools.cycle(read_frames(args.video)), args.frames):
                writer.write(frame)
        own_file = [sys.executable, __file__, "--stream", str(video), "--model", args.model]
        streamed = subprocess.run(own_file, check=True, capture_output=True, text=True).stdout
        report = {
            "what": f"memory in MiB while {args.frames} frames are segmented, growth from frame {WARM_UP_FRAMES} on",
            "stream": json.loads(streamed.splitlines()[-1]),
            "predict": predict(video, args.model, Path(folder, "results")),
        }
    print(json.dumps(report, indent=2))
    write_report(args.output, report, packages=("ifc_hf", "torch", "transformers", "av"))


def stream(video: Path, model: str) -> dict[str, Any]:
    """Memory of this process while the pipeline streams a video."""
    from transformers import pipeline

    import ifc_hf  # noqa: F401  # registers the task

    torch.set_num_threads(os.cpu_count() or 1)
    memory, start = [], time.perf_counter()
    for _ in pipeline("video-instance-segmentation", model=model).stream(str(video)):
        memory.append(memory_mib("self"))
    return {
        "frames": len(memory),
        "frames_per_second": len(memory) / (time.perf_counter() - start),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **growth(memory),
    }


def predict(video: Path, model: str, output: Path) -> dict[str, Any]:
    """Memory of `ifc-hf predict`, with the drawn video."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "ifc_hf.cli.main", "predict", str(video), "-o", str(output), "--model", model]
    with tempfile.TemporaryFile("w+") as progress:
        process = subprocess.Popen(command, stdout=progress, stderr=progress)
        memory = []
        while process.poll() is None:
            memory.append(memory_mib(str(process.pid)))
            time.sleep(0.5)
        if process.returncode:
            progress.seek(0)
            raise SystemExit(f"ifc-hf predict failed: {progress.read()[-2000:]}")
    tracks_file = next(output.rglob("tracks.json"))
    num_frames = json.loads(tracks_file.read_text())["num_frames"]
    return {
        "frames": num_frames,
        "frames_per_second": num_frames / (time.perf_counter() - start),
        "peak_mib": max(memory),
        "tracks_json_mib": tracks_file.stat().st_size / 2**20,
        "memory_mib": memory[:: max(1, len(memory) // 40)],
    }


def memory_mib(process: str) -> float:
    """Resident memory of a process; 0 if it has just ended."""
    try:
        return int(Path("/proc", process, "statm").read_text().split()[1]) * PAGE_MIB
    except (OSError, IndexError):
        return 0.0


def growth(memory: list[float]) -> dict[str, float]:
    """The highest memory in the first frames and after them."""
    before, after = max(memory[:WARM_UP_FRAMES]), max(memory[WARM_UP_FRAMES:], default=0.0)
    return {"first_frames_mib": before, "later_frames_mib": after, "growth": after / before - 1}


if __name__ == "__main__":
    main()

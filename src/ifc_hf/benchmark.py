"""How fast whole videos are segmented, stage by stage, and how much memory that takes.

`benchmark_video` measures what a user waits for: a file in, tracks out, decoding and RLE included. `StageClock` and
`write_report` serve the benchmarks in scripts/, too.
"""

import importlib.metadata
import os
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .files import write_json
from .model.video_files import read_frames
from .model.video_pass import VideoPass
from .model.video_segmenter import IfcVideoSegmenter

DECODE, REST, TOTAL = "decode", "rest", "total"
# Which step of a pass belongs to which stage, in the order in which a frame passes them.
STAGES = {
    "resize": "preprocess",
    "backbone": "encode_frames",
    "encoder and decoder": "encode_window",
    "mask head": "find_instances",
    "matching": "join",
    "masks and RLE": "finish_frame",
}


@dataclass(frozen=True)
class Rates:
    """Frames per second of several runs."""

    median: float
    min: float
    max: float


@dataclass(frozen=True)
class VideoBenchmark:
    """What was measured of a video.

    Attributes:
        frames: Number of frames.
        tracks: Number of tracks that were found.
        frames_per_second: Over the runs.
        milliseconds_per_frame: The median of every stage, of the rest and of the total.
        peak_memory_gib: Of the process so far, with all that it has loaded.
        peak_device_memory_gib: On CUDA; None elsewhere.
    """

    frames: int
    tracks: int
    frames_per_second: Rates
    milliseconds_per_frame: dict[str, float]
    peak_memory_gib: float
    peak_device_memory_gib: float | None = None


def benchmark_video(
    segmenter: IfcVideoSegmenter, video: str | os.PathLike[str], repeats: int = 5, max_frames: int | None = None
) -> VideoBenchmark:
    """Segments a video again and again.

    Args:
        segmenter: With its window and stride.
        video: File, or folder of pictures.
        repeats: Runs that count; one more comes before them.
        max_frames: Frames of the video to take; None: all.

    Returns:
        The figures.

    Raises:
        OSError: If there is no such video.
        ValueError: If it is none.
    """
    runs = []
    for _ in tqdm(range(repeats + 1), desc="runs", unit="run", leave=False):
        clock = StageClock()
        start = time.perf_counter()
        video_pass = TimedPass(clock, segmenter, clock.timed_items(DECODE, islice(read_frames(video), max_frames)))
        num_frames = sum(1 for _ in video_pass)
        tracks = video_pass.tracks()
        total = time.perf_counter() - start
        seconds = {stage: clock.seconds[stage] for stage in (DECODE, *STAGES)}
        seconds |= {REST: total - sum(seconds.values()), TOTAL: total}
        runs.append({stage: value / num_frames for stage, value in seconds.items()})
    runs = runs[1:]  # the first one fills caches and makes libraries choose their kernels
    rates = [1 / run[TOTAL] for run in runs]
    device = segmenter.model.device
    return VideoBenchmark(
        frames=num_frames,
        tracks=len(tracks),
        frames_per_second=Rates(statistics.median(rates), min(rates), max(rates)),
        milliseconds_per_frame={stage: 1e3 * statistics.median(run[stage] for run in runs) for stage in runs[0]},
        peak_memory_gib=peak_memory_gib(),
        peak_device_memory_gib=torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
    )


class StageClock:
    """Adds up the seconds spent in every stage; a stage within a stage counts for the inner one.

    Attributes:
        seconds: By stage.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: list[str] = []

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time counted."""

        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            self._running.append(stage)
            try:
                result = function(*args, **kwargs)
                if torch.cuda.is_available():  # what was launched belongs to the stage that launched it
                    torch.cuda.synchronize()
                return result
            finally:
                spent = time.perf_counter() - start
                self._running.pop()
                self.seconds[stage] += spent
                if self._running:
                    self.seconds[self._running[-1]] -= spent

        return call

    def timed_items(self, stage: str, items: Iterable[Any]) -> Iterator[Any]:
        """The items, the time until each is there counted."""
        iterator = iter(items)
        next_item = self.timed(stage, lambda: next(iterator, None))
        while (item := next_item()) is not None:
            yield item


class TimedPass(VideoPass):
    """A pass whose stages are timed; otherwise like `VideoPass`.

    Args:
        clock: Gets the time of every stage of `STAGES`.
        segmenter: With its window and stride.
        frames: The video.
    """

    def __init__(self, clock: StageClock, segmenter: IfcVideoSegmenter, frames: Iterable[Any]) -> None:
        super().__init__(segmenter, frames)
        for stage, step in STAGES.items():
            setattr(self, step, clock.timed(stage, getattr(self, step)))


def peak_memory_gib() -> float:
    """High-water mark of the memory of this process."""
    marks = [line.split()[1] for line in proc_lines("self/status") if line.startswith("VmHWM:")]
    if marks:
        return int(marks[0]) / 2**20
    import resource  # not on Windows, where everything else works

    # Elsewhere than on Linux, where a process begins with the mark of the one that started it.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def write_report(path: Path, report: Mapping[str, Any], packages: Sequence[str]) -> None:
    """Writes a report, with machine and versions, as a whole or not at all.

    Args:
        path: JSON to write.
        report: Configuration and figures.
        packages: Names of the packages whose versions count.
    """
    report = {**report, "machine": describe_machine(), "versions": package_versions(packages)}
    write_json(path, report, indent=2)


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of packages."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def describe_machine() -> dict[str, str | float | None]:
    """Processor, memory, load and accelerator; a high load says that others were at work, too."""
    names = [line.partition(":")[2].strip() for line in proc_lines("cpuinfo") if line.startswith("model name")]
    memory = [line.split()[1] for line in proc_lines("meminfo") if line.startswith("MemTotal")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory[0]) / 2**20, 1) if memory else None,
        "load_average_1_minute": round(os.getloadavg()[0], 1),
        "torch_threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def proc_lines(name: str) -> list[str]:
    """Lines of a file in /proc; none where there is no such file."""
    path = Path("/proc") / name
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []

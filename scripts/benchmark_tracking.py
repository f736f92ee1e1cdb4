"""Time of a tracker's update, with many live tracks, from the beginning of a long video to its end.

python scripts/benchmark_tracking.py
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from ifc_hf import IfcClipTracker
from ifc_hf.benchmark import write_report


def main() -> None:
    """Follows instances that all live on, prints and saves."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    height, width = arguments.size
    random = torch.Generator().manual_seed(0)
    masks = 4 * torch.randn(arguments.tracks, 1, height, width, generator=random) - 2
    mask_logits = masks.expand(-1, arguments.num_frames, -1, -1).contiguous()
    probabilities = torch.full((arguments.tracks, 41), 1 / 41)
    tracker, milliseconds = IfcClipTracker(), []
    for start in range(arguments.frames):
        order = torch.randperm(arguments.tracks, generator=random)
        window = mask_logits[order]
        begin = time.perf_counter()
        tracker.update(range(start, start + arguments.num_frames), window, probabilities)
        tracker.pop_frames(before=start + 1)
        milliseconds.append(1e3 * (time.perf_counter() - begin))
    if tracker.num_tracks != arguments.tracks:
        raise SystemExit(f"expected {arguments.tracks} tracks, got {tracker.num_tracks}")
    milliseconds = milliseconds[20:]
    quarter = len(milliseconds) // 4
    first, last = statistics.median(milliseconds[:quarter]), statistics.median(milliseconds[-quarter:])
    report = {
        "what": "milliseconds of one update and of handing out one frame, median; windows move by one frame",
        "arguments": {name: value for name, value in vars(arguments).items() if name != "output"},
        "milliseconds": statistics.median(milliseconds),
        "milliseconds_first_quarter": first,
        "milliseconds_last_quarter": last,
        "growth": last / first - 1,
    }
    print(json.dumps(report, indent=2))
    write_report(arguments.output, report, packages=("ifc_hf", "torch", "scipy"))


def read_arguments() -> argparse.Namespace:
    """How many tracks of what size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=50)
    parser.add_argument("--num-frames", type=int, default=5, help="of a window")
    parser.add_argument("--size", type=int, nargs=2, default=(45, 80), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("results/benchmark_tracking.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

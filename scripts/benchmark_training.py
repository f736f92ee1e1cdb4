"""Time and memory of one training step, against the dense matching of the authors' code.

Dense means: to match Q queries with N instances, their masks are multiplied in one array of Q x N x (T*h*w) floats.
Ours multiplies matrices and holds Q masks of a few frames. Everything else is the same on both sides, and so must be
the loss. Each side runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation
from ifc_hf.benchmark import write_report
from ifc_hf.model import loss as loss_module

SIDES = ("dense", "ours")


def main() -> None:
    """Measures both sides, prints a table and writes the figures; with --side, measures one and prints it as JSON."""
    arguments = read_arguments()
    if arguments.side is not None:
        print(json.dumps(measure(arguments)))
        return
    report: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("size", "frames", "instances", "clips", "repeats", "device")
    }
    for side in SIDES:
        command = [sys.executable, __file__, "--side", side, *sys.argv[1:]]
        report[side] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{side:6}", "  ".join(f"{name} {value:.4g}" for name, value in report[side].items()))
    if abs(report["dense"]["loss"] / report["ours"]["loss"] - 1) > 1e-5:
        raise SystemExit(f"the losses differ: {report['dense']['loss']} and {report['ours']['loss']}")
    write_report(arguments.output, report, ("torch", "transformers", "scipy"))


def read_arguments() -> argparse.Namespace:
    """The size of the step and the number of repeats."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--instances", type=int, default=10, help="per clip")
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path("results/benchmark_training.json"))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a step and of its matching, and what the step adds to the peak memory, in MiB."""
    pairwise_dice = dense_pairwise_dice if arguments.side == "dense" else loss_module.pairwise_dice
    matching_seconds: list[float] = []

    def timed_pairwise_dice(mask_logits: Tensor, target_masks: Tensor) -> Tensor:
        start = now(arguments.device)
        result = pairwise_dice(mask_logits, target_masks)
        matching_seconds.append(now(arguments.device) - start)
        return result

    loss_module.pairwise_dice = timed_pairwise_dice
    torch.manual_seed(0)
    model = IfcForVideoInstanceSegmentation(IfcConfig(num_labels=40, dropout=0.0)).to(arguments.device).train()
    inputs = make_inputs(arguments)
    run_step(model, inputs)
    step_seconds = []
    matching_seconds.clear()
    for _ in range(arguments.repeats):
        start = now(arguments.device)
        loss = run_step(model, inputs)
        step_seconds.append(now(arguments.device) - start)
    step_peak = peak_mib(arguments.device)
    calls_per_step = len(matching_seconds) // arguments.repeats
    per_step = [sum(matching_seconds[i : i + calls_per_step]) for i in range(0, len(matching_seconds), calls_per_step)]
    return {
        "step_seconds": statistics.median(step_seconds),
        "matching_seconds": statistics.median(per_step),
        "peak_mib": step_peak,
        "loss": loss,
    }


def run_step(model: IfcForVideoInstanceSegmentation, inputs: dict[str, Any]) -> float:
    """Forward and backward of one batch."""
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return float(loss)


def make_inputs(arguments: argparse.Namespace) -> dict[str, Any]:
    """Random frames, and squares for masks."""
    height, width = arguments.size
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(arguments.instances, arguments.frames, height, width, dtype=torch.bool)
    for index in range(arguments.instances):
        top, left = (height * index) // (2 * arguments.instances), (width * index) // (2 * arguments.instances)
        masks[index, :, top : top + height // 4, left : left + width // 4] = True
    label = {"class_labels": torch.arange(arguments.instances) % 40, "masks": masks}
    frames = torch.randn(arguments.clips, arguments.frames, 3, height, width, generator=generator)
    labels = [{name: value.to(arguments.device) for name, value in label.items()}] * arguments.clips
    return {"pixel_values": frames.to(arguments.device), "labels": labels}


@torch.no_grad()
def dense_pairwise_dice(mask_logits: Tensor, target_masks: Tensor) -> Tensor:
    """Dice of (Q, T, h, w) logits with (N, T, h', w') targets, all pairs of pixels at once."""
    probabilities = loss_module.resize_masks(mask_logits, target_masks.shape[-2:]).sigmoid().flatten(1)[:, None]
    targets = target_masks.float().flatten(1)[None]
    intersection = (probabilities * targets).sum(-1)  # by way of (Q, N, T*h'*w')
    return (2 * intersection + 1) / (probabilities.sum(-1) + targets.sum(-1) + 1)


def now(device: str) -> float:
    """Seconds of a clock: of the processor's work on a CPU, which other processes don't change; else of the wall."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def peak_mib(device: str) -> float:
    """Largest memory so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()

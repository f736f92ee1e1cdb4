"""All figures of one GPU in under 10 minutes: inference, memory, share of the peak, VideoMT beside it, training.

    python scripts/benchmark_gpu.py
    python scripts/benchmark_gpu.py --device cpu --tiny    # rehearsal: the same steps with a tiny network

The network is the authors' (ResNet-50, 100 queries) with random weights and about 12 objects in a window, frames of
360x640. A part that fails is reported with its error and doesn't stop the others; parts that would begin after
`--minutes` are left out. Whole videos run from frames in memory to RLE, matching and masks included.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark_inference import make_model, make_video, plain_segmenter, set_number_of_instances
from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation, IfcImageProcessor, IfcVideoSegmenter
from ifc_hf.benchmark import write_report
from ifc_hf.model.engine import EngineSettings
from ifc_hf.model.engine_torch import TorchEngine

TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
WINDOWS = {"T=5 S=1": (5, 1), "T=36 S=1": (36, 1), "T=36 S=18": (36, 18)}
TINY_BACKBONE = {
    "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1],
    "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip


class CapturedEngine(TorchEngine):
    """The lean engine, its networks compiled and replayed as CUDA graphs."""

    def prepare_networks(self) -> None:
        """See `TorchEngine`."""
        super().prepare_networks()
        self.frame_network = replayed(self.frame_network)
        self.window_network = replayed(self.window_network)


def replayed(network: Any) -> Callable[..., Any]:
    """A compiled network; its outputs are copied, for the next replay overwrites them."""
    compiled = torch.compile(network, mode="reduce-overhead", dynamic=False)

    def call(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        torch.compiler.cudagraph_mark_step_begin()
        return tuple(output.clone() for output in compiled(*inputs))

    return call


def main() -> None:
    """Runs all parts, prints each and saves the report after every one."""
    arguments = read_arguments()
    started = time.perf_counter()
    report: dict[str, Any] = {
        "what": "frames per second of whole videos (frames to RLE); TFLOP/s; GiB; training steps per second",
        "arguments": {name: str(value) for name, value in vars(arguments).items()},
        "parts": {},
    }
    for name, part in parts_of(arguments).items():
        if time.perf_counter() - started > 60 * arguments.minutes:
            report["parts"][name] = {"left_out": f"{arguments.minutes} minutes were over"}
        else:
            begin = time.perf_counter()
            try:
                report["parts"][name] = part()
            except (RuntimeError, ValueError, ImportError, AttributeError, TypeError) as error:
                report["parts"][name] = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            report["parts"][name]["seconds"] = round(time.perf_counter() - begin, 1)
        print(f"{name}: {report['parts'][name]}", flush=True)
        write_report(arguments.output, report, packages=("ifc_hf", "torch", "transformers", "numpy"))


def read_arguments() -> argparse.Namespace:
    """Where and how much to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--types", nargs="+", default=list(TYPES), choices=TYPES)
    parser.add_argument("--frames", type=int, default=108, help="length of the videos")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9, help="no part begins after these")
    parser.add_argument("--tiny", action="store_true", help="a tiny network, small frames, short videos; no compiling")
    parser.add_argument("--output", type=Path, default=Path("results/benchmark_gpu.json"))
    arguments = parser.parse_args()
    if arguments.tiny:
        arguments.frames, arguments.repeats = 8, 1
    return arguments


def parts_of(arguments: argparse.Namespace) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is measured, in order of weight."""
    parts: dict[str, Callable[[], dict[str, Any]]] = {}
    for name in arguments.types:
        parts[f"matrix product, {name}"] = lambda name=name: {"tflops": matrix_product_tflops(arguments, name)}
    for window, (num_frames, clip_stride) in WINDOWS.items():
        for name in arguments.types:
            parts[f"video {window}, {name}"] = lambda w=(num_frames, clip_stride), name=name: time_video(
                arguments, *w, name, TorchEngine
            )
    for window in () if arguments.tiny else ("T=5 S=1", "T=36 S=1"):
        parts[f"video {window}, float16, CUDA graphs"] = lambda w=WINDOWS[window]: time_video(
            arguments, *w, "float16", CapturedEngine
        )
    parts["VideoMT small, network alone"] = lambda: time_videomt(arguments)
    for name in arguments.types:
        if name != "float16":  # whose gradients need scaling
            parts[f"training step, {name}"] = lambda name=name: time_training(arguments, name)
    return parts


def network(arguments: argparse.Namespace) -> IfcForVideoInstanceSegmentation:
    """The authors' network or a tiny one, random weights."""
    if not arguments.tiny:
        return make_model()
    torch.manual_seed(0)
    config = IfcConfig(
        backbone_config=TINY_BACKBONE, hidden_size=32, encoder_layers=1, decoder_layers=1, num_attention_heads=4,
        intermediate_size=64, num_queries=8, num_labels=3,
    )  # fmt: skip
    return IfcForVideoInstanceSegmentation(config).eval()


def frame_size(arguments: argparse.Namespace) -> tuple[int, int]:
    """Height and width of frames."""
    return (64, 96) if arguments.tiny else (360, 640)


def time_video(
    arguments: argparse.Namespace, num_frames: int, clip_stride: int, type_name: str, engine_class: type[TorchEngine]
) -> dict[str, Any]:
    """Frames per second, peak memory and operations of whole videos."""
    model, processor = network(arguments), IfcImageProcessor(do_resize=False)
    frames = make_video(arguments.frames, frame_size(arguments))
    set_number_of_instances(model, processor, frames[:5], instances=2 if arguments.tiny else 12)
    few = frames[: min(arguments.frames, 2 * num_frames)]
    with FlopCounterMode(display=False) as counter:
        plain_segmenter(model.requires_grad_(False), processor, num_frames, clip_stride)(few)
    model = model.to(arguments.device, TYPES[type_name])
    segmenter = IfcVideoSegmenter(model, processor, num_frames, clip_stride)
    engine = engine_class(model, EngineSettings(segmenter.frames_per_batch, num_frames / clip_stride))
    segmenter.engine = lambda: engine
    segmenter(frames)
    reset_peak(arguments.device)
    seconds = statistics.median(timed(arguments.device, lambda: segmenter(frames)) for _ in range(arguments.repeats))
    tflops_per_frame = counter.get_total_flops() / len(few) / 1e12
    return {
        "frames_per_second": len(frames) / seconds,
        "tflops": tflops_per_frame * len(frames) / seconds,
        "peak_gib": peak_gib(arguments.device),
    }


def matrix_product_tflops(arguments: argparse.Namespace, type_name: str) -> float:
    """The measured peak: the best of some square products."""
    size = 256 if arguments.tiny else 8192
    matrix = torch.randn(size, size, device=arguments.device, dtype=TYPES[type_name])
    timed(arguments.device, lambda: matrix @ matrix)
    return 2 * size**3 / min(timed(arguments.device, lambda: matrix @ matrix) for _ in range(10)) / 1e12


@torch.inference_mode()
def time_videomt(arguments: argparse.Namespace) -> dict[str, Any]:
    """Frames per second of Transformers' VideoMT with a ViT-S, without matching and masks, at 640x640."""
    from transformers import VideomtConfig, VideomtForUniversalSegmentation

    size, num_frames = (64, 2) if arguments.tiny else (640, 5)
    options = dict(hidden_size=384, num_attention_heads=6, num_hidden_layers=12, image_size=size, num_labels=40)
    if arguments.tiny:
        options |= dict(hidden_size=32, num_attention_heads=2, num_hidden_layers=4, num_blocks=2, num_frames=2)
    model = VideomtForUniversalSegmentation(VideomtConfig(**options)).eval().to(arguments.device, torch.float32)
    clip = torch.randn(1, num_frames, 3, size, size, device=arguments.device)
    model(pixel_values_videos=clip)
    reset_peak(arguments.device)
    seconds = min(timed(arguments.device, lambda: model(pixel_values_videos=clip)) for _ in range(arguments.repeats))
    return {"frames_per_second": num_frames / seconds, "peak_gib": peak_gib(arguments.device)}


def time_training(arguments: argparse.Namespace, type_name: str) -> dict[str, Any]:
    """Steps per second of one clip of 5 frames with 10 instances: forward, loss, backward, AdamW."""
    model = network(arguments).to(arguments.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    height, width = frame_size(arguments)
    labels = [{
        "class_labels": torch.arange(10, device=arguments.device) % model.config.num_labels,
        "masks": torch.rand(10, 5, height, width, device=arguments.device) > 0.5,
    }]  # fmt: skip
    clip = torch.randn(1, 5, 3, height, width, device=arguments.device)

    def step() -> None:
        optimizer.zero_grad()
        is_half = type_name != "float32"
        with torch.autocast(torch.device(arguments.device).type, TYPES[type_name], enabled=is_half):
            loss = model(pixel_values=clip, labels=labels).loss
        loss.backward()
        optimizer.step()

    step()
    reset_peak(arguments.device)
    seconds = statistics.median(timed(arguments.device, step) for _ in range(1 if arguments.tiny else 10))
    return {"steps_per_second": 1 / seconds, "peak_gib": peak_gib(arguments.device)}


def timed(device: str, function: Callable[[], Any]) -> float:
    """Seconds of a call, what it launched included."""
    is_cuda = torch.device(device).type == "cuda"
    if is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def reset_peak(device: str) -> None:
    """Forgets the largest memory so far."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: str) -> float | None:
    """Largest memory of the GPU since then; None on a CPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if torch.device(device).type == "cuda" else None


if __name__ == "__main__":
    main()

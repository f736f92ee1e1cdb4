"""What lower precision costs and saves in OpenVINO: AP, mask IoU with float32, seconds of the processor, as JSON.

    python scripts/benchmark_precision.py --data DATA --output results/benchmark_precision.json

DATA is a data set as `make_clips.py generate DATA --split val-style` writes it. bf16 is OpenVINO's hint and needs a
processor with such units. int8 is NNCF's quantisation after training, of the backbone alone (`pip install nncf`),
calibrated on frames of the first videos. A precision is fit for use if the masks' IoU with float32 is at least 0.98 on
average and AP falls by less than half a point.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ifc_hf import (
    IfcForVideoInstanceSegmentation,
    IfcImageProcessor,
    IfcVideoSegmenter,
    default_checkpoint,
    load_ytvis,
)
from ifc_hf.benchmark import write_report
from ifc_hf.data.decoding import open_frame
from ifc_hf.evaluation import YtvisAccumulator
from ifc_hf.model.engine import EngineSettings
from ifc_hf.model.engine_exported import Arrays, OpenVinoEngine, Run
from ifc_hf.scoring.video_evaluation import annotations_of, segment_row

LEAST_MASK_IOU, LARGEST_LOSS_OF_AP = 0.98, 0.005


class Bfloat16Engine(OpenVinoEngine):
    """The engine with OpenVINO's hint for bfloat16."""

    precision = "bf16"


class Int8Engine(OpenVinoEngine):
    """The engine with an int8 backbone.

    Attributes:
        calibration: Pixel values (1, 3, H, W) of frames.
    """

    calibration: list[np.ndarray] = []

    def load(self, onnx_model: bytes) -> Run:
        """See `OpenVinoEngine`; the first network that is loaded is that of the frames."""
        graph = self.core.read_model(onnx_model)
        if "frames" not in graph.inputs[0].get_names():
            return super().load(onnx_model)
        import nncf

        quantised = nncf.quantize(
            graph, nncf.Dataset(self.calibration), subset_size=len(self.calibration),
            preset=nncf.QuantizationPreset.MIXED,
        )  # fmt: skip
        compiled = self.core.compile_model(quantised, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()})

        def run(inputs: Arrays) -> Arrays:
            return [np.array(output) for output in compiled.create_infer_request().infer(inputs).values()]

        return run


ENGINES: dict[str, type[OpenVinoEngine]] = {"f32": OpenVinoEngine, "bf16": Bfloat16Engine, "int8": Int8Engine}


def main() -> None:
    """Measures every precision, prints a line for each, saves."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    rows = load_ytvis(arguments.data, split=arguments.split)
    rows = [rows[index] for index in range(min(len(rows), arguments.videos))]
    model = IfcForVideoInstanceSegmentation.from_pretrained(arguments.checkpoint).eval()
    processor = IfcImageProcessor.from_pretrained(arguments.checkpoint)
    clips = [pixel_values_of(row, processor, arguments.window[0]) for row in rows]
    Int8Engine.calibration = [frame[None].numpy() for clip in clips[:10] for frame in clip]
    results: dict[str, dict[str, float]] = {}
    for name in arguments.precisions:
        engine = ENGINES[name](model, EngineSettings(1, arguments.window[0] / arguments.window[1]))
        segmenter = IfcVideoSegmenter(model, processor, *arguments.window, engine="openvino")
        segmenter.engine = lambda engine=engine: engine
        masks = [window_masks(engine, clip) for clip in clips]
        if name == "f32":
            expected = masks
        ious = [iou for ours, theirs in zip(masks, expected, strict=True) for iou in mask_ious(ours, theirs)]
        ap, cpu_seconds = average_precision(segmenter, rows)
        results[name] = {
            "AP": ap,
            "mask_iou_mean": float(np.mean(ious)),
            "mask_iou_least": float(np.min(ious)),
            "cpu_seconds_per_frame": cpu_seconds,
        }
        is_fit = results[name]["mask_iou_mean"] >= LEAST_MASK_IOU
        is_fit &= results["f32"]["AP"] - ap < LARGEST_LOSS_OF_AP
        results[name]["is_fit"] = is_fit
        print(name, {key: round(value, 4) for key, value in results[name].items()}, flush=True)
    report = {
        "what": "precisions of the engine openvino; seconds of the processor per frame of whole videos",
        "videos": len(rows),
        "window": arguments.window,
        "threads": arguments.threads,
        "instructions": engine.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
        "results": results,
    }
    write_report(arguments.output, report, packages=("ifc_hf", "torch", "openvino"))


def read_arguments() -> argparse.Namespace:
    """What is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data set with instances.json")
    parser.add_argument("--split", default="val-style")
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--checkpoint", type=Path, default=default_checkpoint())
    parser.add_argument("--precisions", nargs="+", default=list(ENGINES), choices=ENGINES, help="f32 first")
    parser.add_argument("--window", type=int, nargs=2, default=(5, 3), metavar=("T", "S"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("results/benchmark_precision.json"))
    return parser.parse_args()


def pixel_values_of(row: Any, processor: IfcImageProcessor, num_frames: int) -> torch.Tensor:
    """The first frames of a video, (T, 3, H, W)."""
    frames = [open_frame(frame, "frame") for frame in row["frames"][:num_frames]]
    return processor([frames], return_tensors="pt")["pixel_values"][0]


@torch.inference_mode()
def window_masks(engine: OpenVinoEngine, clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks (Q, T, h, w) of all queries, and which of them hold an object (Q)."""
    frames = engine.features(list(clip))
    [window] = engine.encode_windows([frames])
    is_object = engine.model.class_head(window.queries).argmax(-1) != engine.model.config.num_labels
    maps = torch.cat([frame.map_8 for frame in frames]), torch.cat([frame.map_16 for frame in frames])
    pixel_features = engine.pixel_features(window.encoded_map, *maps)
    return engine.model.mask_head.predict(window.queries[None], pixel_features[None])[0] > 0, is_object


def mask_ious(ours: tuple[torch.Tensor, torch.Tensor], theirs: tuple[torch.Tensor, torch.Tensor]) -> list[float]:
    """IoU of the masks of the queries that hold an object in float32."""
    is_object = theirs[1]
    masks, expected = ours[0][is_object].flatten(1), theirs[0][is_object].flatten(1)
    unions = (masks | expected).sum(1)
    return ((masks & expected).sum(1)[unions > 0] / unions[unions > 0]).tolist()


def average_precision(segmenter: IfcVideoSegmenter, rows: list[Any]) -> tuple[float, float]:
    """AP over all videos, and seconds of the processor for a frame."""
    accumulator = YtvisAccumulator(dict(enumerate(segmenter.model.config.id2label.values())))
    seconds = num_frames = 0.0
    for row in tqdm(rows, desc="videos", leave=False):
        start = time.process_time()
        predictions = segment_row(segmenter, row)
        seconds += time.process_time() - start
        num_frames += len(row["frames"])
        size = {"height": row["height"], "width": row["width"], "length": len(row["frames"])}
        accumulator.update(row["video_id"], annotations_of(row), predictions, **size)
    return accumulator.compute()["AP"], seconds / num_frames


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""What smaller weights cost: size, time and masks of an exported ONNX file in float16 and int8 against float32.

    ifc-hf export CHECKPOINT -o onnx_folder
    python scripts/benchmark_quantisation.py onnx_folder src/ifc_hf/samples/bunny.mp4

float16 is that of `ifc-hf export --weights float16`. int8 is onnxruntime's dynamic quantisation: of matrix products
alone, and of convolutions, too. Clips of T frames are compared query by query: the IoU of the masks (logits above 0)
of the queries that hold an object in float32, and the class probabilities of all of them.
"""

import argparse
import shutil
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from ifc_hf.export import store_weights_in_half
from segment_with_onnxruntime import OnnxModel, read_frames


def main() -> None:
    """Makes the variants, runs them on the same clips, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `ifc-hf export` wrote")
    parser.add_argument("video", type=Path)
    parser.add_argument("--clips", type=int, default=4, help="clips that follow each other (default: 4)")
    arguments = parser.parse_args()
    model = OnnxModel(arguments.folder)
    T = model.config["num_frames"]
    frames = [model.prepare(frame) for frame in islice(read_frames(arguments.video), arguments.clips * T)]
    clips = [np.stack(frames[start : start + T])[None] for start in range(0, len(frames) - T + 1, T)]
    print("| weights | MB | CPU ms per clip | mask IoU, mean | least | largest change of a probability |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        files = make_variants(arguments.folder / "model.onnx", Path(folder))
        expected = run(files["float32"], clips)[0]
        for name, file in files.items():
            outputs, milliseconds = run(file, clips)
            ious, change = compare(outputs, expected)
            print(
                f"| {name} | {file.stat().st_size / 1e6:.1f} | {milliseconds:.0f} | {np.mean(ious):.4f} | "
                f"{np.min(ious):.4f} | {change:.4f} |",
                flush=True,
            )


def make_variants(file: Path, folder: Path) -> dict[str, Path]:
    """The file and its smaller versions, by name."""
    half, linears, everything = (folder / f"{name}.onnx" for name in ("half", "linears", "everything"))
    shutil.copy(file, half)
    store_weights_in_half(half)
    quantize_dynamic(file, linears, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8)
    # onnxruntime has integer convolutions for unsigned weights only.
    quantize_dynamic(file, everything, op_types_to_quantize=["MatMul", "Gemm", "Conv"], weight_type=QuantType.QUInt8)
    return {"float32": file, "float16": half, "int8, matrix products": linears, "int8, all": everything}


def run(file: Path, clips: list[np.ndarray]) -> tuple[list[Any], float]:
    """Outputs of all clips, and CPU milliseconds a clip after one to warm up."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = ["class_queries_logits", "masks_queries_logits"]
    session.run(names, {"pixel_values": clips[0]})
    start = time.process_time()
    outputs = [session.run(names, {"pixel_values": clip}) for clip in clips]
    return outputs, 1e3 * (time.process_time() - start) / len(clips)


def compare(outputs: list[Any], expected: list[Any]) -> tuple[list[float], float]:
    """IoU of every object's masks in a clip, and the largest change of a class probability."""
    ious, change = [], 0.0
    for (class_logits, mask_logits), (expected_class_logits, expected_mask_logits) in zip(
        outputs, expected, strict=True
    ):
        ours, theirs = softmax(class_logits[0]), softmax(expected_class_logits[0])
        change = max(change, float(np.abs(ours - theirs).max()))
        is_object = theirs.argmax(-1) != theirs.shape[-1] - 1
        masks, expected_masks = mask_logits[0, is_object] > 0, expected_mask_logits[0, is_object] > 0
        union = (masks | expected_masks).sum((1, 2, 3))
        ious += list((masks & expected_masks).sum((1, 2, 3))[union > 0] / union[union > 0])
    return ious, change


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


if __name__ == "__main__":
    main()

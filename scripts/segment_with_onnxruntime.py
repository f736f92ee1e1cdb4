#!/usr/bin/env python
"""Segments and tracks a video with onnxruntime alone: without PyTorch, Transformers or this package.

    ifc-hf export CHECKPOINT -o onnx_folder
    python scripts/segment_with_onnxruntime.py clip.mp4 onnx_folder -o tracks.json

Needs onnxruntime, numpy, scipy, pillow and av. The tracks are those of `IfcVideoSegmenter(multi_label=False)`, the
masks COCO RLE without compression. The backbone runs anew for every window, which `IfcVideoSegmenter` avoids.

Letters: L frames of the video, T of a window, N instances, K classes, (H0, W0) frame size, (h, w) = stride-8 map.
"""

import argparse
import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime
from PIL import Image
from scipy.optimize import linear_sum_assignment


def main() -> None:
    """Reads the arguments, segments, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("folder", type=Path, help="what `ifc-hf export` wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--num-frames", type=int, help="frames of a window (default: the model's)")
    parser.add_argument("--clip-stride", type=int, default=1, help="frames between windows (default: 1)")
    parser.add_argument("--threshold", type=float, default=0.3, help="least score of a track (default: 0.3)")
    arguments = parser.parse_args()
    try:
        model = OnnxModel(arguments.folder)
        T = arguments.num_frames or model.config["num_frames"]
        tracks = segment(model, read_frames(arguments.video), T, arguments.clip_stride, arguments.threshold)
    except (OSError, ValueError) as error:  # PyAV's errors are among them
        sys.exit(f"error: {error}")
    partial = arguments.output.with_name(arguments.output.name + ".part")
    partial.write_text(json.dumps({"video": str(arguments.video), "tracks": tracks}), encoding="utf-8")
    os.replace(partial, arguments.output)
    for track in tracks:
        seen = sum(rle is not None for rle in track["segmentations"])
        print(f"track {track['track_id']}: {track['label']}, score {track['score']:.2f}, in {seen} frames")
    print(arguments.output)


def segment(
    model: "OnnxModel", frames: Iterable[np.ndarray], T: int, clip_stride: int, threshold: float
) -> list[dict[str, Any]]:
    """Tracks of a whole video, best score first.

    Args:
        model: The exported network.
        frames: L arrays (H0, W0, 3), uint8 RGB.
        T: Frames of a window.
        clip_stride: Frames from one window to the next.
        threshold: Tracks of a lower score are left out.
    """
    tracker = Tracker()
    segmentations: list[dict[int, dict]] = []  # per frame: track -> RLE

    def finish(before: int) -> None:
        for frame in range(len(segmentations), before):
            masks = tracker.pop_masks(frame, size_hw)
            segmentations.append({track: encode_rle(mask) for track, mask in masks.items() if mask.any()})

    for start, window in windows(frames, T, clip_stride):
        size_hw = window[0].shape[:2]
        finish(start)  # no later window begins earlier
        tracker.update(start, *model(window))
        print(f"\r{start + len(window)} frames", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    finish(start + len(window))

    tracks = []
    for track_id, probabilities in enumerate(tracker.class_probabilities()):
        label_id = int(probabilities[:-1].argmax())
        if probabilities[label_id] > threshold:
            label = model.config["id2label"][str(label_id)]
            rles = [found.get(track_id) for found in segmentations]
            score = float(probabilities[label_id])
            tracks.append(
                {"track_id": track_id, "label_id": label_id, "label": label, "score": score, "segmentations": rles}
            )
    return sorted(tracks, key=lambda track: -track["score"])


def windows(frames: Iterable[np.ndarray], T: int, clip_stride: int) -> Iterator[tuple[int, list[np.ndarray]]]:
    """First index and frames of every window; the last one is shifted back to end with the video."""
    latest: deque[np.ndarray] = deque(maxlen=T)
    start = end = count = 0
    for count, frame in enumerate(frames, start=1):  # noqa: B007 -- the count is used after the loop
        latest.append(frame)
        if count == start + T:
            yield start, list(latest)
            start, end = start + clip_stride, count
    if start < count and end < count:
        yield max(0, count - T), list(latest)


class OnnxModel:
    """The exported network with its pre-processing."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.processor = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        self.session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

    def __call__(self, frames: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Objects in T frames: mask logits (N, T, h, w) and class probabilities (N, K+1)."""
        pixel_values = np.stack([self.prepare(frame) for frame in frames])[None]  # (1, T, 3, H, W)
        inputs = {"pixel_values": pixel_values, "pixel_mask": np.ones_like(pixel_values[:, :, 0], dtype=bool)}
        inputs = {node.name: inputs[node.name] for node in self.session.get_inputs()}
        class_logits, mask_logits = self.session.run(["class_queries_logits", "masks_queries_logits"], inputs)
        probabilities = np.exp(class_logits[0] - class_logits[0].max(-1, keepdims=True))
        probabilities /= probabilities.sum(-1, keepdims=True)
        is_object = probabilities.argmax(-1) != probabilities.shape[-1] - 1  # the last class is "no object"
        return mask_logits[0, is_object], probabilities[is_object]

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """(H0, W0, 3) uint8 -> (3, H, W) float32, resized and normalised as the processor's file says."""
        options = self.processor
        if options["do_resize"]:
            height, width = resized_size_hw(frame.shape[:2], options["size"])
            frame = np.asarray(Image.fromarray(frame).resize((width, height), options["resample"]))
        if options["do_flip_channel_order"]:
            frame = frame[..., ::-1]
        scale = options["rescale_factor"] if options["do_rescale"] else 1.0
        mean = np.array(options["image_mean"] if options["do_normalize"] else [0.0]) / scale
        std = np.array(options["image_std"] if options["do_normalize"] else [1.0]) / scale
        return ((frame - mean.astype(np.float32)) / std.astype(np.float32)).transpose(2, 0, 1)


class Tracker:
    """Joins the instances of overlapping windows; windows come in ascending order, all of T frames."""

    def __init__(self) -> None:
        self.windows: list[tuple[int, list[int], np.ndarray]] = []  # first frame, tracks, probabilities (N, T, h*w)
        self.logits: dict[int, dict[int, list[np.ndarray]]] = {}  # frame -> track -> one (h, w) for every window
        self.classes: list[list[np.ndarray]] = []  # track -> one (K+1,) for every window

    def update(self, start: int, mask_logits: np.ndarray, class_probabilities: np.ndarray) -> None:
        """Adds a window: its first frame, (N, T, h, w) and (N, K+1)."""
        N, T = mask_logits.shape[:2]
        masks = 1 / (1 + np.exp(-mask_logits.reshape(N, T, -1)))
        self.windows = [window for window in self.windows if window[0] + T > start]  # those that share frames
        track_of = self.match(start, masks)
        tracks = []
        for instance in range(N):
            track = track_of.get(instance, len(self.classes))
            if track == len(self.classes):
                self.classes.append([])
            self.classes[track].append(class_probabilities[instance])
            for frame, logits in enumerate(mask_logits[instance], start):
                self.logits.setdefault(frame, {}).setdefault(track, []).append(logits)
            tracks.append(track)
        self.windows.append((start, tracks, masks))

    def match(self, start: int, masks: np.ndarray, threshold: float = 0.05) -> dict[int, int]:
        """Instance -> known track, by the assignment of the largest mean soft IoU with the earlier windows."""
        similarity = np.zeros((len(self.classes), len(masks)))
        count = np.full((len(self.classes), 1), 1e-6)
        for first, tracks, others in self.windows:
            shared = first + others.shape[1] - start
            similarity[tracks] += soft_iou(others[:, -shared:], masks[:, :shared])
            count[tracks] += 1
        similarity /= count
        similarity[similarity <= threshold] = 0
        pairs = zip(*linear_sum_assignment(similarity, maximize=True), strict=True)
        return {int(instance): int(track) for track, instance in pairs if similarity[track, instance] > 0}

    def class_probabilities(self) -> list[np.ndarray]:
        """(K+1,) of every track: the mean over its windows."""
        return [np.mean(found, axis=0) for found in self.classes]

    def pop_masks(self, frame: int, size_hw: tuple[int, int]) -> dict[int, np.ndarray]:
        """Masks (H0, W0) bool of the tracks of a frame, from the mean of their logits; forgets them."""
        found = self.logits.pop(frame, {})
        return {track: resize_bilinear(np.mean(logits, axis=0), size_hw) > 0 for track, logits in found.items()}


def soft_iou(masks: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, T, h*w) and (N, T, h*w) probabilities -> (n, N) in [0, 1]."""
    masks, others = masks.reshape(len(masks), -1), others.reshape(len(others), -1)
    intersection = masks @ others.T
    return intersection / (masks.sum(1)[:, None] + others.sum(1) - intersection + 1e-6)


def resize_bilinear(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(h, w) -> (H0, W0), sampled between pixel centres as PyTorch's `interpolate` does it."""

    def weights(size: int, new_size: int) -> np.ndarray:
        places = np.maximum((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0)
        lower = np.minimum(places.astype(int), size - 1)
        upper = np.minimum(lower + 1, size - 1)
        matrix = np.zeros((new_size, size))
        matrix[np.arange(new_size), lower] += 1 - (places - lower)
        matrix[np.arange(new_size), upper] += places - lower
        return matrix

    return weights(values.shape[0], size_hw[0]) @ values @ weights(values.shape[1], size_hw[1]).T


def resized_size_hw(size_hw: tuple[int, int], size: dict[str, int]) -> tuple[int, int]:
    """Height and width after resizing: those given, or the shorter side given and the longer one limited."""
    if "height" in size:
        return size["height"], size["width"]
    scale = size["shortest_edge"] / min(size_hw)
    if size.get("longest_edge"):
        scale = min(scale, size["longest_edge"] / max(size_hw))
    height, width = (max(1, int(scale * edge + 0.5)) for edge in size_hw)
    return height, width


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Upright frames (H0, W0, 3), uint8 RGB.

    Raises:
        ValueError: If there is none.
    """
    with av.open(str(path)) as container:
        frame = None
        for frame in container.decode(video=0):
            yield np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
    if frame is None:
        raise ValueError(f"{path} has no frames")


def encode_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """(H0, W0) bool -> lengths of the runs of zeros and ones in turn, zeros first, down the columns."""
    pixels = np.concatenate([[False], mask.T.ravel()])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return {"size": list(mask.shape), "counts": np.diff(changes, prepend=0, append=mask.size).tolist()}


if __name__ == "__main__":
    main()

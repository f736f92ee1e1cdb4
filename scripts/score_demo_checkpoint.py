"""Scores the shipped checkpoint and its baselines on generated videos: AP and frames per second by window, as JSON.

    python scripts/score_demo_checkpoint.py --data DATA --model IFC=src/ifc_hf/checkpoints/demo \
        --baseline "No memory tokens=runs/no_memory" --per-frame-model "Per frame=runs/per_frame" --output scores.json

DATA holds one folder per evaluation seed, as `make_clips.py generate DATA/SEED --seed SEED` writes it.
"""

import argparse
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from ifc_hf import IfcClipTracker, IfcForVideoInstanceSegmentation, IfcImageProcessor, IfcVideoSegmenter, load_ytvis
from ifc_hf.benchmark import write_report
from ifc_hf.evaluation import YtvisAccumulator
from ifc_hf.model.masks import encode_rles
from ifc_hf.model.post_processing import resized_above
from ifc_hf.scoring.video_evaluation import annotations_of, segment_row

SCORES = ("AP", "AP50", "AP75", "AR10")
SCORE_THRESHOLD = 0.01


def main() -> None:
    """Scores every model with every window on every seed, prints the table and saves it."""
    args = read_arguments()
    torch.set_num_threads(args.threads)
    seeds = sorted(folder for folder in args.data.iterdir() if (folder / args.split).is_dir())
    if not seeds:
        raise SystemExit(f"error: no folder in {args.data} holds the split {args.split}")
    rows_of_seed = {folder.name: load_ytvis(folder, split=args.split) for folder in seeds}
    segmenters: dict[str, Any] = {}
    runs = [(*model, window) for model in args.model for window in args.windows]
    runs += [(*model, args.windows[0]) for model in args.baseline]
    for name, folder, window in runs:
        num_frames, clip_stride = map(int, window.split("x"))
        segmenters[f"{name}, T={num_frames} S={clip_stride}"] = load_segmenter(folder, num_frames, clip_stride)
    for name, folder in args.per_frame_model:
        segmenters[f"{name}, T=1"] = PerFrameSegmenter(load_segmenter(folder, num_frames=1, clip_stride=1))

    results: dict[str, dict[str, Any]] = {name: {"frames_per_second": [], "seeds": {}} for name in segmenters}
    # Seed by seed, so that a slow minute of the machine meets all of them.
    with tqdm(total=len(rows_of_seed) * len(segmenters), unit="run") as progress:
        for seed, rows in rows_of_seed.items():
            for name, segmenter in segmenters.items():
                scores, frames_per_second = score(segmenter, rows)
                results[name]["seeds"][seed] = {key: scores[key] for key in SCORES}
                results[name]["frames_per_second"].append(frames_per_second)
                progress.update()
    print(f"| {args.split} | AP (mean and range of {len(seeds)} seeds) | AP50 | AP75 | AR10 | frames per second |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, result in results.items():
        by_score = {key: [scores[key] for scores in result["seeds"].values()] for key in SCORES}
        means = {key: statistics.mean(values) for key, values in by_score.items()}
        result["mean"] = means
        result["frames_per_second"] = statistics.median(result["frames_per_second"])
        spread = f"{means['AP']:.3f} ({min(by_score['AP']):.3f} to {max(by_score['AP']):.3f})"
        others = " | ".join(f"{means[key]:.3f}" for key in SCORES[1:])
        print(f"| {name} | {spread} | {others} | {result['frames_per_second']:.1f} |")
    report = {
        "what": f"scores on the split {args.split} of generated videos; seconds include decoding, matching and RLE",
        "videos_per_seed": {seed: len(rows) for seed, rows in rows_of_seed.items()},
        "frames_per_video": rows_of_seed[seeds[0].name][0]["length"],
        "results": results,
    }
    write_report(args.output, report, packages=("ifc_hf", "torch", "transformers"))


def read_arguments() -> argparse.Namespace:
    """What is scored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one data set per seed")
    parser.add_argument("--split", default="val-style")
    for option, how in (
        ("--model", "scored with every window"),
        ("--baseline", "scored with the first window alone"),
        ("--per-frame-model", "applied to each frame alone"),
    ):
        parser.add_argument(option, type=name_and_folder, action="append", default=[], metavar="NAME=FOLDER", help=how)
    parser.add_argument("--windows", nargs="+", default=["5x3", "5x1", "10x5", "36x36"], help="T x S")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def name_and_folder(text: str) -> tuple[str, Path]:
    """`NAME=FOLDER`."""
    name, _, folder = text.partition("=")
    if not (Path(folder) / "config.json").is_file():
        raise argparse.ArgumentTypeError(f"expected NAME=FOLDER with a model's folder, got {text!r}")
    return name, Path(folder)


def load_segmenter(folder: Path, num_frames: int, clip_stride: int) -> IfcVideoSegmenter:
    """A model's folder as a segmenter."""
    model = IfcForVideoInstanceSegmentation.from_pretrained(folder)
    processor = IfcImageProcessor.from_pretrained(folder)
    return IfcVideoSegmenter(model, processor, num_frames, clip_stride, SCORE_THRESHOLD)


def score(segmenter: Any, rows: Any) -> tuple[dict[str, Any], float]:
    """Scores of all videos, and frames per second of segmenting them."""
    accumulator = YtvisAccumulator(dict(enumerate(segmenter.model.config.id2label.values())))
    seconds = num_frames = 0.0
    for row in rows:
        start = time.perf_counter()
        predictions = segment_row(segmenter, row)
        seconds += time.perf_counter() - start
        num_frames += len(row["frames"])
        size = {"height": row["height"], "width": row["width"], "length": len(row["frames"])}
        accumulator.update(row["video_id"], annotations_of(row), predictions, **size)
    return accumulator.compute(), num_frames / seconds


class PerFrameSegmenter:
    """The baseline: every frame on its own, joined by the tracker alone.

    The windows of one frame share none, so the tracker has nothing to compare. It is told that an instance stays
    where it is for one frame more: then it meets those of the next frame, matched by soft IoU as ever. The masks
    are those of each frame alone; the class probabilities of a track are a mean, as in IFC.
    """

    def __init__(self, segmenter: IfcVideoSegmenter) -> None:
        self.segmenter = segmenter
        self.model = segmenter.model

    @torch.inference_mode()
    def __call__(self, frames: Iterable[Image.Image], output_size: tuple[int, int]) -> list[dict[str, Any]]:
        """As `IfcVideoSegmenter`."""
        tracker = IfcClipTracker(self.segmenter.match_threshold)
        masks_of: dict[int, dict[int, Any]] = {}  # track -> frame -> RLE
        num_frames = 0
        for index, frame in enumerate(frames):
            num_frames += 1
            pixel_values = self.segmenter.processor([[frame]], return_tensors="pt")["pixel_values"]
            outputs = self.model(pixel_values)
            probabilities = outputs.class_queries_logits[0].softmax(-1)
            is_object = probabilities.argmax(-1) != probabilities.shape[-1] - 1
            mask_logits = outputs.masks_queries_logits[0, is_object]  # (N, 1, h, w)
            tracks = tracker.update([index, index + 1], mask_logits.expand(-1, 2, -1, -1), probabilities[is_object])
            if not tracks:
                continue
            masks = resized_above(mask_logits[:, 0], output_size, threshold=0.0)
            for track, rle, mask in zip(tracks, encode_rles(masks), masks, strict=True):
                if track is not None and mask.any():
                    masks_of.setdefault(track, {})[index] = rle
        return [
            {
                "label_id": label_id,
                "score": float(score),
                "segmentations": [masks_of.get(track, {}).get(index) for index in range(num_frames)],
            }
            for track, probabilities in enumerate(tracker.class_probabilities()[:, :-1])
            for label_id, score in enumerate(probabilities)
            if score > SCORE_THRESHOLD
        ]


if __name__ == "__main__":
    main()

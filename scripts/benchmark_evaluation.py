"""How much CPU time the YouTube-VIS score takes, against a plain loop over pairs of tracks and frames.

Plain is how the official evaluator measures overlap: for every pair and frame two merged masks and their areas. Both
sides share matching and accumulation, and their scores must be equal.
"""

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from ifc_hf.benchmark import write_report
from ifc_hf.data.records import TrackRecord
from ifc_hf.evaluation.average_precision import accumulate, summarize
from ifc_hf.evaluation.inputs import ScoringReport, read_ground_truth, read_predictions, read_video
from ifc_hf.evaluation.settings import EvaluationSettings, FloatArray
from ifc_hf.evaluation.track_iou import track_ious
from ifc_hf.evaluation.track_matching import best_predictions, match_tracks

PHASES = ("load", "iou", "accumulate")
Pairs = dict[
    tuple[int, int], tuple[list[TrackRecord], list[TrackRecord]]
]  # (annotated, predicted) by video and category


def main() -> None:
    """Generate the data, time both sides in turn, print a table and write the figures."""
    arguments = read_arguments()
    with tempfile.TemporaryDirectory() as folder:
        truth_path, results_path = Path(folder) / "gt.json", Path(folder) / "preds.json"
        write_data(arguments, truth_path, results_path)
        timings: dict[str, list[list[float]]] = {"plain": [], "ours": []}
        sides: dict[str, tuple[Callable[[Path, Path], Pairs], Callable[..., FloatArray]]] = {
            "plain": (load_plain, plain_ious),
            "ours": (load_ours, track_ious),
        }
        scores = {}
        for _ in tqdm(range(arguments.repeats), desc="repeats"):
            for side, (load, ious) in sides.items():
                seconds, scores[side] = time_side(truth_path, results_path, load, ious)
                timings[side].append(seconds)
    if scores["plain"] != scores["ours"]:
        raise SystemExit(f"the scores differ: {scores}")
    report = summarize_timings(arguments, timings, scores["ours"])
    for side in timings:
        figures = "  ".join(f"{phase} {report[side][phase]:7.3f}" for phase in (*PHASES, "total"))
        print(f"{side:6} {figures}  CPU seconds, median of {arguments.repeats}")
    print(f"ours / plain: total {report['ratio']['total']:.1%}, load and IoU {report['ratio']['load_and_iou']:.1%}")
    write_report(arguments.output, report, packages=("ifc_hf", "numpy", "pycocotools"))


def read_arguments() -> argparse.Namespace:
    """The size of the data and the number of repeats."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--tracks", type=int, default=5, help="annotated tracks per video")
    parser.add_argument("--predictions", type=int, default=20, help="predicted tracks per video")
    parser.add_argument("--categories", type=int, default=1, help="more of them mean fewer pairs to compare")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results/benchmark_evaluation.json"))
    return parser.parse_args()


def write_data(arguments: argparse.Namespace, truth_path: Path, results_path: Path) -> None:
    """Videos of drifting blobs with uneven borders; most predictions follow an annotated one with an error."""
    random = np.random.default_rng(0)
    height, width = arguments.size
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for video_id in tqdm(range(1, arguments.videos + 1), desc="data"):
        names = [f"{video_id}/{frame}.jpg" for frame in range(arguments.frames)]
        videos.append({"id": video_id, "height": height, "width": width, "length": len(names), "file_names": names})
        blobs = [random_blob(random, height, width) for _ in range(arguments.tracks)]
        for blob in blobs:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": video_id,
                    "category_id": int(random.integers(arguments.categories)) + 1,
                    "iscrowd": 0,
                    "segmentations": draw_track(blob, arguments.frames, height, width),
                }
            )
        for position in range(arguments.predictions):
            blob = blobs[position % len(blobs)] if position < 2 * len(blobs) else random_blob(random, height, width)
            noisy = {**blob, "center": blob["center"] + random.normal(0, 6, 2), "phase": random.uniform(0, 6)}
            results.append(
                {
                    "video_id": video_id,
                    "category_id": int(random.integers(arguments.categories)) + 1,
                    "score": float(random.uniform()),
                    "segmentations": draw_track(noisy, arguments.frames, height, width),
                }
            )
    categories = [{"id": number + 1, "name": str(number + 1)} for number in range(arguments.categories)]
    truth = {"videos": videos, "categories": categories, "annotations": annotations}
    truth_path.write_text(json.dumps(truth), encoding="utf-8")
    results_path.write_text(json.dumps(results), encoding="utf-8")


def random_blob(random: np.random.Generator, height: int, width: int) -> dict[str, Any]:
    """Center, velocity per frame and radius (y, x) in pixels, and the phase of the border."""
    return {
        "center": random.uniform(0.2, 0.8, 2) * (height, width),
        "velocity": random.normal(0, 0.01, 2) * (height, width),
        "radius": random.uniform(0.06, 0.3, 2) * (height, width),
        "phase": random.uniform(0, 6),
    }


def draw_track(blob: dict[str, Any], num_frames: int, height: int, width: int) -> list[dict[str, Any]]:
    """Compressed RLE for every frame: one outline that moves."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = 1 + 0.15 * np.sin(9 * angle + blob["phase"])
    outline = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) * blob["radius"][::-1]  # x, y
    rles = []
    for frame in range(num_frames):
        center = (blob["center"] + frame * blob["velocity"]) % (height, width)
        rle = coco_mask.frPyObjects([(outline + center[::-1]).ravel().tolist()], height, width)[0]
        rles.append({"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")})
    return rles


def time_side(
    truth_path: Path, results_path: Path, load: Callable[[Path, Path], Pairs], ious: Callable[..., FloatArray]
) -> tuple[list[float], dict[str, float]]:
    """CPU seconds of the three phases, and the score."""
    settings = EvaluationSettings.create()
    gc.collect()
    marks = [time.process_time()]
    pairs = load(truth_path, results_path)
    marks.append(time.process_time())
    matrices = {
        key: ious(best_predictions(predicted, settings), annotated) for key, (annotated, predicted) in pairs.items()
    }
    marks.append(time.process_time())
    records = defaultdict(list)
    for key, (annotated, predicted) in pairs.items():
        records[key[1]].append(match_tracks(predicted, annotated, matrices[key], settings))
    score = summarize(*accumulate([records[category] for category in sorted(records)], settings), settings)
    marks.append(time.process_time())
    return np.diff(marks).tolist(), score


def load_ours(truth_path: Path, results_path: Path) -> Pairs:
    """Reads and checks everything, as `evaluate_ytvis` does."""
    report = ScoringReport()
    truth = read_ground_truth(truth_path, report)
    results = read_predictions(results_path, truth.videos, truth.name)
    pairs: Pairs = defaultdict(lambda: ([], []))
    for video_id in sorted(truth.videos):
        entries = truth.entries.get(video_id, ()), results.entries.get(video_id, ())
        for side, tracks in enumerate(read_video(*entries, truth.categories, report)):
            for track in tracks:
                pairs[video_id, track.category_id][side].append(track)
    return pairs


def load_plain(truth_path: Path, results_path: Path) -> Pairs:
    """Reads without checks; areas mask by mask."""
    pairs: Pairs = defaultdict(lambda: ([], []))
    sides = (json.loads(truth_path.read_text("utf-8"))["annotations"], json.loads(results_path.read_text("utf-8")))
    for side, entries in enumerate(sides):
        for position, entry in enumerate(entries):
            areas = np.array([int(coco_mask.area(rle)) for rle in entry["segmentations"]])
            masks, score = entry["segmentations"], entry.get("score", 1.0)
            track = TrackRecord(position + 1, entry["category_id"], masks, areas, score=score)
            pairs[entry["video_id"], entry["category_id"]][side].append(track)
    return dict(sorted(pairs.items()))


def plain_ious(predictions: Sequence[TrackRecord], ground_truth: Sequence[TrackRecord]) -> FloatArray:
    """(D, G): two merged masks for every pair and frame."""
    ious = np.zeros((len(predictions), len(ground_truth)))
    for row, track in enumerate(predictions):
        for column, other in enumerate(ground_truth):
            shared = total = 0
            for masks in zip(track.segmentations, other.segmentations, strict=True):
                shared += int(coco_mask.area(coco_mask.merge(list(masks), intersect=True)))
                total += int(coco_mask.area(coco_mask.merge(list(masks), intersect=False)))
            ious[row, column] = shared / total if total else 0.0
    return ious


def summarize_timings(
    arguments: argparse.Namespace, timings: dict[str, list[list[float]]], score: dict[str, float]
) -> dict[str, Any]:
    """Medians and their ratios."""
    report: dict[str, Any] = {
        "arguments": {key: value for key, value in vars(arguments).items() if key != "output"},
        "unit": "CPU seconds, median over the repeats, sides in turn",
        "AP": score["AP"],
    }
    for side, runs in timings.items():
        medians = {phase: statistics.median(run[i] for run in runs) for i, phase in enumerate(PHASES)}
        report[side] = {**medians, "total": statistics.median(sum(run) for run in runs), "runs": runs}
    plain, ours = report["plain"], report["ours"]
    report["ratio"] = {key: ours[key] / plain[key] for key in (*PHASES, "total")}
    report["ratio"]["load_and_iou"] = (ours["load"] + ours["iou"]) / (plain["load"] + plain["iou"])
    return report


if __name__ == "__main__":
    main()

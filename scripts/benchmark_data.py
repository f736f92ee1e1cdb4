"""Speed of the training reader: sampled clips per second, and the time until the first batch.

The videos of the annotation file share the frames of a few generated ones, so that thousands of them fit on the disk;
every annotation and every file name is read and checked all the same.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from torch.utils.data import DataLoader

from ifc_hf import IfcImageProcessor, load_ytvis
from ifc_hf.benchmark import write_report
from ifc_hf.data.clips import VideoClipDataset
from ifc_hf.data.collator import ClipCollator
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.files import collection_paused


def main() -> None:
    """Generate the data, time the reader, print the figures and write them."""
    arguments = read_arguments()
    report: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("videos", "frames", "size", "batch_size", "batches")
    }
    with tempfile.TemporaryDirectory() as folder:
        root = write_data(arguments, Path(folder))
        report["first_load"] = compare_first_load(root, Path(folder), arguments.repeats)
        for name in ("seconds_to_first_batch", "seconds_to_first_batch_again"):
            start = time.perf_counter()
            rows = load_ytvis(root, split="train", cache_dir=f"{folder}/cache")
            next(iter(make_loader(rows, arguments.batch_size, num_workers=0)))
            report[name] = time.perf_counter() - start
        report["clips_per_second"] = {}
        for num_workers in arguments.workers:
            report["clips_per_second"][num_workers] = clips_per_second(rows, arguments, num_workers)
    print(json.dumps(report, indent=2))
    write_report(arguments.output, report, ("torch", "datasets", "pillow"))


def read_arguments() -> argparse.Namespace:
    """The size of the data and what to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=2238)
    parser.add_argument("--frames", type=int, default=20, help="of every video")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--batches", type=int, default=16, help="timed batches, after one that isn't")
    parser.add_argument("--repeats", type=int, default=3, help="of the first load, after one that isn't counted")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--output", type=Path, default=Path("results/benchmark_data.json"))
    return parser.parse_args()


def write_data(arguments: argparse.Namespace, folder: Path, rendered: int = 8) -> Path:
    """Renders a few videos and lists them again and again under new ids."""
    root = write_synthetic_ytvis(folder, rendered, arguments.frames, tuple(arguments.size), num_valid_videos=1)
    content = json.loads((root / "train.json").read_text(encoding="utf-8"))
    videos, annotations = [], []
    for index in range(arguments.videos):
        source = content["videos"][index % rendered]
        videos.append({**source, "id": index + 1})
        for annotation in content["annotations"]:
            if annotation["video_id"] == source["id"]:
                annotations.append({**annotation, "id": len(annotations) + 1, "video_id": index + 1})
    listed = {**content, "videos": videos, "annotations": annotations}
    (root / "train.json").write_text(json.dumps(listed), encoding="utf-8")
    return root


def compare_first_load(root: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """CPU seconds of `load_ytvis` without a cache, and of the least that any reader does, in turn.

    The least is to parse the JSON and to ask for every frame whether it is there; nothing is checked or kept.
    """
    images = root / "train" / "JPEGImages"
    seconds: dict[str, list[float]] = {"load_ytvis": [], "least": []}
    for repeat in range(repeats + 1):  # the first imports and fills caches
        start = time.process_time()
        load_ytvis(root, split="train", cache_dir=f"{folder}/first_{repeat}")
        loaded = time.process_time()
        with collection_paused():
            content = orjson.loads((root / "train.json").read_bytes())
        names = [name for video in content["videos"] for name in video["file_names"]]
        if not all(os.path.exists(os.path.join(images, name)) for name in names):
            raise SystemExit("a frame is missing")
        seconds["load_ytvis"].append(loaded - start)
        seconds["least"].append(time.process_time() - loaded)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    return {
        **medians,
        "ratio": medians["load_ytvis"] / medians["least"],
        "masks": sum(mask is not None for a in content["annotations"] for mask in a["segmentations"]),
        "megabytes": (root / "train.json").stat().st_size / 1e6,
    }


def make_loader(rows: Any, batch_size: int, num_workers: int) -> DataLoader:
    """Batches of clips as a training has them."""
    clips = VideoClipDataset(rows, num_frames=5)
    collator = ClipCollator(IfcImageProcessor())
    return DataLoader(clips, batch_size, shuffle=True, num_workers=num_workers, collate_fn=collator, drop_last=True)


def clips_per_second(rows: Any, arguments: argparse.Namespace, num_workers: int) -> float:
    """Clips of T = 5 frames, decoded, augmented and collated, per second."""
    batches = iter(make_loader(rows, arguments.batch_size, num_workers))
    next(batches)
    start = time.perf_counter()
    for _ in range(arguments.batches):
        next(batches)
    return arguments.batches * arguments.batch_size / (time.perf_counter() - start)


if __name__ == "__main__":
    main()

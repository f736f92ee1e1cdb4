"""Goes the way of docs/guide.md with clips of its own making: the guide's pictures, and what each step takes.

    python scripts/make_guide.py docs results/guide.json

The clips show shapes that move, annotated as CVAT's export "CVAT for video 1.1" of a project has it.
"""

import argparse
import io
import resource
import shlex
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

from ifc_hf.benchmark import write_report
from ifc_hf.data.synthetic import SHAPE_NAMES, render_video
from ifc_hf.files import read_json
from ifc_hf.outputs.video_writer import VideoWriter

EXPORT, NEW_CLIP = "cvat_export.zip", "new_clip.mp4"
STEPS = {
    "convert": f"dataset convert {EXPORT} my_set --from cvat",
    "check": "dataset check my_set",
    "stats": "dataset stats my_set --picture frames.jpg --num-frames 8",
    "hold-out": "dataset hold-out my_set",
    "train": "train --recipe cpu_small --data my_set --split train_sub --eval-split val_sub --output runs/mine",
    "evaluate": "evaluate --model runs/mine --data my_set --split val_sub --output runs/mine/score",
    "predict": f"predict {NEW_CLIP} --model runs/mine --save video,sheet",
}
SCORES = ("AP", "AP50", "AP75", "AR1", "AR10")
PICTURES = {
    "frames.jpg": "guide_frames.jpg",
    "runs/mine/training.png": "guide_training.png",
    "outputs/new_clip/sheet.jpg": "guide_sheet.jpg",
}


def main() -> None:
    """Runs the commands and writes three pictures and the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("docs", type=Path, help="folder for guide_*.jpg and guide_*.png")
    parser.add_argument("results", type=Path, help="JSON file for the times")
    parser.add_argument("--clips", type=int, default=60, help="annotated clips (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=12, help="frames of each (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="of the training (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cvat_project(folder / EXPORT, args.clips, args.frames)
        write_new_clip(folder / NEW_CLIP)
        taken = {}
        every = f"eval_steps={args.steps // 3} save_steps={args.steps // 3}"
        for step, command in STEPS.items():
            extra = f" --set max_steps={args.steps} {every}" if step == "train" else ""
            taken[step] = run_timed(shlex.split(command + extra), folder)
            print(step, taken[step], flush=True)
        metrics = read_json(folder / "runs/mine/score/metrics.json")
        for source, target in PICTURES.items():
            Image.open(folder / source).save(args.docs / target, quality=75, optimize=True)
    sizes = {"clips": args.clips, "frames": args.frames, "training_steps": args.steps}
    write_report(
        args.results,
        {**sizes, "steps": taken, "score": {name: metrics[name] for name in SCORES}},
        ("torch", "transformers"),
    )


def run_timed(arguments: Sequence[str], folder: Path) -> dict[str, float]:
    """Runs `ifc-hf` in a folder; returns seconds by the clock and seconds of the processor."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "ifc_hf.cli.main", *arguments], cwd=folder, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.perf_counter() - start, 1), "processor_seconds": round(processor, 1)}


def write_cvat_project(path: Path, num_clips: int, num_frames: int, size_hw: tuple[int, int] = (96, 128)) -> None:
    """Writes a zip as CVAT's export of a project, one task for every clip, with its pictures.

    Args:
        path: The zip.
        num_clips: Tasks.
        num_frames: Frames of each.
        size_hw: Height and width of the frames in pixels.
    """
    tasks, tracks = [], []
    with zipfile.ZipFile(path, "w") as archive:
        for clip in range(num_clips):
            frames, masks, labels = render_video(np.random.default_rng(clip), num_frames, size_hw, 2)
            name = f"clip_{clip:03d}"
            tasks.append(
                f"<task><id>{clip}</id><name>{name}</name><size>{num_frames}</size>"
                f"<original_size><width>{size_hw[1]}</width><height>{size_hw[0]}</height></original_size></task>"
            )
            for index, frame in enumerate(frames):
                picture = io.BytesIO()
                Image.fromarray(frame).save(picture, "JPEG", quality=92)
                archive.writestr(f"images/{name}/frame_{index:06d}.jpg", picture.getvalue())
            for track_masks, label in zip(masks, labels, strict=True):
                tracks.append(cvat_track(len(tracks), clip, SHAPE_NAMES[label], track_masks))
        labels_xml = "".join(f"<label><name>{name}</name></label>" for name in SHAPE_NAMES)
        head = f"<project><tasks>{''.join(tasks)}</tasks><labels>{labels_xml}</labels></project>"
        xml = f"<annotations><version>1.1</version><meta>{head}</meta>{''.join(tracks)}</annotations>"
        archive.writestr("annotations.xml", xml)


def cvat_track(track_id: int, task_id: int, label: str, masks: np.ndarray) -> str:
    """A mask track (frames, height, width) in CVAT's XML: runs along the rows of a box."""
    shapes = []
    height, width = masks.shape[1:]
    for frame, mask in enumerate(masks):
        runs = [(value, len(list(group))) for value, group in groupby(mask.flatten().tolist())]
        lengths = [str(length) for _, length in runs]
        rle = ", ".join(["0", *lengths] if runs[0][0] else lengths)
        box = f'left="0" top="0" width="{width}" height="{height}"'
        outside = int(not mask.any())
        shapes.append(f'<mask frame="{frame}" outside="{outside}" keyframe="1" rle="{rle}" {box}/>')
    head = f'id="{track_id}" task_id="{task_id}" label={quoteattr(label)} source="manual"'
    return f"<track {head}>{''.join(shapes)}</track>"


def write_new_clip(path: Path, num_frames: int = 36, size_hw: tuple[int, int] = (192, 256)) -> None:
    """Writes a video of what the clips show, which none of them is."""
    frames, _, _ = render_video(np.random.default_rng(10_000), num_frames, size_hw, 3)
    with VideoWriter(path, 12) as writer:
        for frame in frames:
            writer.write(frame)


if __name__ == "__main__":
    main()

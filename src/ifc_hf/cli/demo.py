"""`ifc-hf demo`: the shipped checkpoint on the shipped clips, without a download.

The checkpoint is a small model that was trained on generated clips of cut-outs: what it shows is that everything
works, not how well IFC works.
"""

import argparse
from pathlib import Path

from ..samples import CLIPS, sample_clip
from . import predict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    default = Path("ifc_hf_demo")
    parser.add_argument(
        "-o", "--output", type=Path, default=default, help="folder for the results (default: %(default)s)"
    )
    parser.add_argument(
        "--clip", choices=CLIPS, action="append", help="sample clip, may be given again (default: all of them)"
    )
    predict.add_model_arguments(parser)
    predict.add_output_arguments(parser, ("tracks", "video", "sheet"))


def run(args: argparse.Namespace) -> int:
    """Segments the sample clips.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        The exit code of `ifc-hf predict`.
    """
    videos = [str(sample_clip(name)) for name in args.clip or CLIPS]
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    defaults = vars(parser.parse_args(videos))  # of options that this command doesn't have
    return predict.run(argparse.Namespace(**{**defaults, **vars(args), "overwrite": True}))

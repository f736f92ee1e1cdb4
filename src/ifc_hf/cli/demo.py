"""`ifc-hf demo`: the shipped checkpoint on the shipped clip, without a download.

The checkpoint is a tiny model that was trained for some minutes on pasted cut-outs: what it shows is that everything
works, not how well IFC works.
"""

import argparse
from pathlib import Path

from ..samples import sample_clip
from . import predict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    default = Path("ifc_hf_demo")
    parser.add_argument(
        "-o", "--output", type=Path, default=default, help="folder for the results (default: %(default)s)"
    )
    predict.add_model_arguments(parser)
    predict.add_output_arguments(parser, ("tracks", "video", "sheet"))


def run(args: argparse.Namespace) -> int:
    """Segment the sample clip.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        The exit code of `ifc-hf predict`.
    """
    if args.model == predict.default_model():
        print("The model is a tiny one, trained for some minutes on pasted cut-outs; see its README.md.")
    return predict.run(
        argparse.Namespace(**vars(args), videos=[str(sample_clip())], frames=None, fps=None, overwrite=True)
    )

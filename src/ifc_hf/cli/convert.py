"""`ifc-hf convert`: checkpoints of the authors' implementation to model folders and back."""

import argparse

from ..cards.published import BACKBONE_TITLES
from ..data.class_names import CLASS_NAMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("checkpoint", help="the authors' .pth file; with --to-original a model folder or repository")
    parser.add_argument("output", help="folder to write; with --to-original the .pth file to write")
    parser.add_argument("--backbone", choices=tuple(BACKBONE_TITLES), help="default: what the tensors show")
    parser.add_argument(
        "--dataset", choices=tuple(CLASS_NAMES), help="whose class names; default: by the number of classes"
    )
    parser.add_argument("--to-original", action="store_true", help="write a file that the authors' code loads")


def run(args: argparse.Namespace) -> int:
    """Converts.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        The exit code, 0.

    Raises:
        ValueError: If the checkpoint can't be read or is another network's.
        OSError: If the output exists already or can't be written.
    """
    from ..conversion import convert_checkpoint, write_original_checkpoint
    from ..model.modeling_ifc import IfcForVideoInstanceSegmentation

    if args.to_original:
        model = IfcForVideoInstanceSegmentation.from_pretrained(args.checkpoint)
        write_original_checkpoint(model, args.output)
    else:
        convert_checkpoint(args.checkpoint, args.output, args.backbone, args.dataset)
    print(f"Wrote {args.output}")
    return 0

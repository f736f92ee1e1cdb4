"""`ifc-hf export`: the network as an ONNX, OpenVINO, torch.export or AOTInductor file, checked against PyTorch.

The file takes clips, pixel_values (B, T, 3, H, W), and gives class and mask logits. B, T, H and W are free unless
--size and --num-frames fix them. The output folder holds the file with the model's configuration, the processor's and
a report; it appears only if the file agrees with PyTorch on the sample clip.
"""

import argparse
from pathlib import Path

from ..export import FORMATS
from .arguments import frame_size, positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("checkpoint", help="model folder or Hub id")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="onnx",
        help="onnx needs the extra `export`, openvino that of its name; aoti compiles for this machine, needs a C++ "
        "compiler and, as it can't keep sizes free, --size and --num-frames (default: %(default)s)",
    )
    parser.add_argument("--size", type=frame_size, metavar="HxW", help="fix the frame size, e.g. 360x640")
    parser.add_argument("--num-frames", type=positive_int, metavar="T", help="fix the number of frames of a clip")
    parser.add_argument("--mask", action="store_true", help="take a pixel_mask, too: for batches of several sizes")
    parser.add_argument(
        "--weights",
        choices=("float32", "float16"),
        default="float32",
        help="float16 halves a file of ONNX or OpenVINO",
    )
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Exports, and says how exact the file is.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        The exit code 0; what goes wrong is raised.
    """
    from tqdm import tqdm

    from ..export import check_options, export_model

    try:
        check_options(args.format, args.size, args.num_frames, args.weights)
    except ValueError as error:
        args.refuse(str(error))
    with tqdm(bar_format="{desc} {elapsed}", leave=False) as progress:
        report = export_model(
            args.checkpoint, args.output, args.format, args.size, args.num_frames, args.mask, args.weights,
            report_step=progress.set_description_str,
        )  # fmt: skip
    shapes = ", ".join("x".join(map(str, shape)) for shape in report.checked_shapes)
    print(
        f"largest difference from PyTorch on clips of {shapes}: {report.max_difference:.1e} of the largest logit "
        f"(tolerance {report.tolerance:.0e})"
    )
    print(f"Wrote {args.output} ({report.file_bytes / 1e6:.1f} MB)")
    return 0

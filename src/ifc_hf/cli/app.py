"""`ifc-hf app`: a demo in the browser; upload a video, see its tracks drawn, click one to see it alone."""

import argparse

from .arguments import positive_int
from .predict import default_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--model", default=default_model(), help="model folder or Hub id; default: the demo's")
    parser.add_argument("--device", help="where the model runs, e.g. cuda; default: the accelerator, if there is one")
    parser.add_argument(
        "--max-frames", type=positive_int, default=300, help="frames of a video to look at (default: %(default)s)"
    )
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=positive_int, help="port to listen on (default: 7860 or the next free one)")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        The exit code, 0.

    Raises:
        ImportError: If Gradio or the drawing library is missing.
        OSError: If there is no model, or the port is taken.
    """
    from ..extras import require

    require("the demo", "app", "gradio")  # before the rest is imported, which takes seconds
    from ..app import launch

    launch(args.model, args.device, args.max_frames, args.host, args.port)
    return 0

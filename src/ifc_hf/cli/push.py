"""`ifc-hf push`: a model folder or a data set to the Hub.

A model goes with its processor, the code that loads it without this package, and its card (a new one if the folder has
none); weights as safetensors. A data set goes as Parquet files that hold its pictures.
"""

import argparse
from pathlib import Path

from ..data.layout import VERSIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("folder", type=Path, help="folder of the model or of the data set")
    parser.add_argument("repo_id", help="user/name; made if it doesn't exist")
    parser.add_argument("--type", choices=("model", "dataset"), default="model", help="default: model")
    parser.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    parser.add_argument("--revision", help="branch to push to, made if it doesn't exist (default: main)")
    parser.add_argument("--commit-message", help="default: what the Hub's client writes")
    parser.add_argument("--token-file", type=Path, help="file with a token (default: HF_TOKEN or the login)")
    parser.add_argument("--version", choices=VERSIONS, help="which data set (default: any in YouTube-VIS format)")
    parser.add_argument(
        "--split", nargs="+", default=["train"], metavar="SPLIT", help="splits of the data set (default: train)"
    )


def run(args: argparse.Namespace) -> int:
    """Pushes.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        The exit code, 0.

    Raises:
        OSError: If the folder or the token is missing, the Hub refuses, or the upload breaks off.
        ValueError: If the folder holds something else.
    """
    from ..hub import push_dataset, push_model

    options = {
        "private": args.private,
        "revision": args.revision,
        "commit_message": args.commit_message,
        "token": args.token_file and args.token_file.read_text(encoding="utf-8").strip(),
    }
    if args.type == "model":
        print(push_model(args.folder, args.repo_id, **options))
    else:
        print(push_dataset(args.folder, args.repo_id, args.version, args.split, **options))
    return 0

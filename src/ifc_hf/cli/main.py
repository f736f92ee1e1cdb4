"""The console script `ifc-hf`.

Every other module of this folder is a command: its docstring starts with "`ifc-hf NAME`: what it does", it has
`add_arguments(parser)` and `run(args) -> int`, and it imports what takes long inside `run`.
"""

import argparse
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .. import __version__

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Those after the program's name; default: the command line's.

    Returns:
        The exit code: 0 on success, 1 on failure after one line on the standard error that says why, 130 after Ctrl-C.
        Wrong usage ends the process with 2, as argparse does it.
    """
    args = make_parser().parse_args(arguments)
    try:
        return import_module(f".{args.command}", __package__).run(args)
    except (OSError, ValueError, ImportError) as error:  # what a file, an argument or a missing extra can cause
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt as interruption:
        print(str(interruption) or "interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def make_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = argparse.ArgumentParser(prog="ifc-hf", description="Video instance segmentation with IFC.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in command_names():
        module = import_module(f".{name}", __package__)
        summary = str(module.__doc__).splitlines()[0].partition(": ")[2]
        module.add_arguments(commands.add_parser(name, help=summary, description=module.__doc__))
    return parser


def command_names() -> list[str]:
    """Names of the commands, sorted."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in modules if module.name != "main")


if __name__ == "__main__":
    sys.exit(main())

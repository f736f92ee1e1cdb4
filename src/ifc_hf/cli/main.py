"""The console script `ifc-hf`.

Every other module of this folder but `arguments` and `messages` is a command: its docstring starts with "`ifc-hf
NAME`: what it does", it has `add_arguments(parser)` and `run(args) -> int`, and it imports what takes long inside
`run`.
"""

import argparse
import pkgutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType

from .. import __version__
from .messages import EXPECTED, lost_process, one_line, print_error

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143
NO_COMMANDS = ("arguments", "main", "messages")


class Terminated(KeyboardInterrupt):
    """The request of a batch system or container to end: what Ctrl-C cleans up is cleaned up."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: Those after the program's name; default: the command line's.

    Returns:
        The exit code: 0 on success, 1 on failure after one line on the standard error that says why, 130 after Ctrl-C,
        143 after SIGTERM, 2 after the help that comes without arguments. Wrong usage ends the process with 2, as
        argparse does it.
    """
    parser = make_parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help()
        return EXIT_USAGE
    args = parser.parse_args(arguments)
    return run_cleanly(lambda: import_module(f".{args.command}", __package__).run(args))


def run_cleanly(work: Callable[[], int]) -> int:
    """Runs a program, and says in one line what ended it early.

    Args:
        work: The program; returns its exit code.

    Returns:
        The exit code, as `main` does.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    former = signal.signal(signal.SIGTERM, terminate) if in_main_thread else None
    try:
        return work()
    except EXPECTED as error:  # what a file, an argument or a missing extra can cause
        print_error(one_line(error))
        return EXIT_FAILURE
    except RuntimeError as error:
        if not (text := lost_process(error)):
            raise
        print_error(text)
        return EXIT_FAILURE
    except KeyboardInterrupt as interruption:
        print(str(interruption) or "interrupted", file=sys.stderr)
        return EXIT_TERMINATED if isinstance(interruption, Terminated) else EXIT_INTERRUPTED
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, former or signal.SIG_DFL)


def terminate(signal_number: int, frame: FrameType | None) -> None:
    """Handles SIGTERM."""
    raise Terminated("terminated")


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
    return sorted(module.name for module in modules if module.name not in NO_COMMANDS)


if __name__ == "__main__":
    sys.exit(main())

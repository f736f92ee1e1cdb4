"""Arguments that several commands take, and types: text in, value out, or argparse's error with what was expected."""

import argparse
from collections.abc import Callable, Sequence

# Those of `model.engines`, which takes PyTorch to import.
ENGINE_NAMES = ("torch", "compile", "openvino", "onnxruntime", "auto")


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def positive_float(text: str) -> float:
    """A number above 0."""
    return number(text, lambda value: 0 < value < float("inf"), "a number above 0")


def probability(text: str) -> float:
    """A number from 0 to 1."""
    return number(text, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def number(text: str, is_fitting: Callable[[float], bool], expected: str) -> float:
    """A number that fits."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not is_fitting(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


def frame_range(text: str) -> tuple[int, int | None]:
    """FIRST:END, either of which may be left out."""
    first, colon, end = text.partition(":")
    is_range = colon and (not first or first.isdecimal()) and (not end or end.isdecimal())
    if not is_range or (end and int(end) <= int(first or 0)):
        raise argparse.ArgumentTypeError(f"expected FIRST:END with FIRST < END, such as 100:200 or :300, got {text!r}")
    return int(first or 0), int(end) if end else None


def frame_size(text: str) -> tuple[int, int]:
    """Height x width in pixels, such as 360x640."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"expected height x width such as 360x640, got {text!r}")
    return int(height), int(width)


def names(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def some_of(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """An argument type: names with commas between them, each of them one of the choices."""

    def chosen(text: str) -> list[str]:
        if unknown := sorted(set(names(text)) - set(choices)):
            raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; expected some of {', '.join(choices)}")
        return names(text)

    return chosen


def add_invalid_annotations(parser: argparse.ArgumentParser) -> None:
    """Declares what to do with annotations that can't be used."""
    parser.add_argument(
        "--invalid-annotations", choices=("error", "drop"), default="error",
        help="what to do with annotations that can't be used: say so and end, or leave them out (default: error)",
    )  # fmt: skip


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Declares how long the processes of a run wait for each other; those of a training have `--set ddp_timeout`."""
    parser.add_argument(
        "--timeout", type=positive_float, default=86400.0, metavar="SECONDS",
        help="of several processes, how long one that is ready waits for the others (default: a day)",
    )  # fmt: skip

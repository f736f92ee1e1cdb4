"""The greatest numbers that a file may declare, in one place for every reader.

A few bytes can declare a mask of exabytes. Every reader compares what a file declares with these limits before it
allocates memory, or calls a library that can't hold such numbers: pycocotools computes in 32 bits and crashes.
"""

import math
import os
import reprlib
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

# pycocotools and Pillow keep sizes in 32-bit integers.
GREATEST_PIXELS = 2**31 - 1


@dataclass
class Limits:
    """Limits of what files may declare. Change a field of `LIMITS` to allow more.

    Attributes:
        pixels: Height times width of a frame or mask. The environment variable `IFC_HF_MAX_PIXELS` sets it, for
            worker processes, too.
        runs: Run lengths of one mask.
        outline: Points and pixels along the outlines of the polygons of one mask.
        length: Frames of one video.
        entries: Videos, categories or annotations of one file.
        id: Of a video, category, annotation or track; tables store 64 bits.
        layers: Layers of a network.
        width: Channels, queries, tokens, heads, labels or frames in a configuration.
        parameters: Of the transformer that a configuration describes, roughly.
    """

    pixels: int = 2**28
    runs: int = 2**24
    outline: int = 2**22
    length: int = 2**20
    entries: int = 2**26
    id: int = 2**63 - 1
    layers: int = 1_000
    width: int = 2**16
    parameters: int = 2**31


LIMITS = Limits(pixels=int(os.environ.get("IFC_HF_MAX_PIXELS", Limits.pixels)))


def max_pixels() -> int:
    """Greatest height times width of a frame or mask: `LIMITS.pixels`, as far as libraries hold it."""
    return min(LIMITS.pixels, GREATEST_PIXELS)


def check_size_hw(height: Any, width: Any, what: str) -> tuple[int, int]:
    """Height and width in pixels, if they are integers of 1 or more and their product is within `LIMITS.pixels`.

    Args:
        height: As a file declares it.
        width: Likewise.
        what: Names the size in the error.

    Raises:
        ValueError: If they are anything else.
    """
    if not is_integer(height) or not is_integer(width) or height < 1 or width < 1:
        raise ValueError(f"{what}: expected [height, width] of positive integers, got {brief([height, width])}")
    if int(height) * int(width) > max_pixels():
        size = f"{brief(int(height))}x{brief(int(width))} (height x width)"
        raise ValueError(f"{what}: {size} is more than the limit of {max_pixels()} pixels")
    return int(height), int(width)


def check_count(count: int, limit: int, what: str) -> None:
    """Refuses a number of things beyond its limit.

    Raises:
        ValueError: If there are more.
    """
    if count > limit:
        raise ValueError(f"{what}: {brief(count)} of them, more than the limit of {limit}")


def check_between(number: int, least: int, greatest: int, name: str) -> None:
    """Refuses a number of a configuration beyond its range.

    Raises:
        ValueError: If it is below `least` or above `greatest`.
    """
    if number < 0 == least:
        raise ValueError(f"{name} must not be negative, got {brief(number)}.")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {brief(number)}.")
    if number > greatest:
        raise ValueError(f"{name} must be at most {greatest}, got {brief(number)}.")


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer, Python's or numpy's; True and False are none."""
    return type(value) is int or isinstance(value, np.integer)


def is_id(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer that 64 bits hold."""
    return is_integer(value) and -LIMITS.id <= value <= LIMITS.id


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is an integer or a floating-point number that is neither NaN nor infinite."""
    return (is_integer(value) and -LIMITS.id <= value <= LIMITS.id) or (
        isinstance(value, float | np.floating) and math.isfinite(value)
    )


def brief(value: Any) -> str:
    """A value for a message, short however long, deep or huge it is."""
    return _BRIEF.repr(value)


class _Brief(reprlib.Repr):
    def repr_int(self, number: int, level: int) -> str:
        # Python refuses to write out integers of thousands of digits.
        return super().repr_int(number, level) if number.bit_length() < 256 else "a huge integer"


_BRIEF = _Brief()
_BRIEF.maxstring = _BRIEF.maxother = 60

"""Label Studio's brush masks: a picture as a stream of bits, with runs of equal values."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...model.limits import LIMITS
from ...model.rle import SegmentationError


def decode_brush_rle(data: list[int], max_values: int = 4 * LIMITS.pixels) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decodes the bytes of a brush mask to the flat RGBA picture, in time linear in the bytes and values.

    A stream of bits, highest first: 32 bits number of values, 5 bits size of a value minus 1, four times 4 bits size
    of a run length minus 1. Then blocks: 1 bit "is a run", 2 bits which of the four sizes, the length minus 1 in that
    many bits, and one value for a run, else `length` values.

    Args:
        data: Bytes as numbers, `value.rle` of a region.
        max_values: A stream that declares more is refused before it is decoded.

    Returns:
        (values,) uint8.

    Raises:
        SegmentationError: If the stream is cut off, declares more values than that, or values of more than 8 bits.

    Source: the format of the JavaScript package rle-pack, which Label Studio uses.
    """
    try:
        stream = bytes(data)
    except (TypeError, ValueError) as error:
        raise SegmentationError("bad RLE", f"brush mask: expected bytes as numbers: {error}") from error
    bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8))
    position = 0

    def skip(size: int) -> int:
        nonlocal position
        if position + size > len(bits):
            raise SegmentationError("bad RLE", f"brush mask is cut off after {len(data)} bytes")
        position += size
        return position - size

    def read(size: int) -> int:
        first = skip(size)
        number = int.from_bytes(stream[first // 8 : -(-position // 8)], "big") >> (-position % 8)
        return number & ((1 << size) - 1)

    count, word_size = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    if count > max_values or word_size > 8:
        message = f"brush mask declares {count} values of {word_size} bits, expected up to {max_values} of 8"
        raise SegmentationError("wrong RLE size", message)
    values = np.zeros(count, dtype=np.uint8)
    weights = 1 << np.arange(word_size - 1, -1, -1)
    done = 0
    while done < count:
        is_run, length = read(1), read(sizes[read(2)]) + 1
        if is_run:
            values[done : done + length] = read(word_size)
        else:
            first = skip(length * word_size)
            block = bits[first:position].reshape(length, word_size) @ weights
            values[done : done + length] = block[: count - done]
        done += length
    return values

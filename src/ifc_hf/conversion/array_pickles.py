"""Pickles of plain containers, numbers and NumPy arrays, read without running anything that a file names.

NumPy's own functions for rebuilding trust their arguments: a wrong state of a dtype crashes the process. So a pickle
gets stand-ins for them, which check what they are given.
"""

import math
import pickle
import pickletools
import re
from collections import OrderedDict
from typing import Any, BinaryIO, Literal

import numpy as np

from ..model.limits import brief, is_integer

GREATEST_TUPLE = 2**16  # values within a tuple, those of tuples in it included; hashing one goes through all of them
NUMBER_CODE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")


class ForbiddenGlobalError(Exception):
    """A pickle named a function or class other than those that rebuild arrays."""


class PickledDtype:
    """Stands for `numpy.dtype`: the number format of an array.

    Args:
        code: Such as "f4"; "O8" for objects and "S3" for texts are read as well, but no array of them.
        *_: What NumPy's own constructor takes besides.
    """

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code if isinstance(code, str) else ""
        self.order: Literal["<", ">", "|", "="] = "="

    def __setstate__(self, state: Any) -> None:
        """Takes the byte order, the one thing that numbers have in it."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def numbers(self, data: Any, count: int) -> Any:
        """Numbers (count,) in the byte order of this machine.

        Raises:
            UnpicklingError: If they are no numbers, or there are more or fewer.
        """
        if not NUMBER_CODE.fullmatch(self.code):
            raise pickle.UnpicklingError(f"an array of the kind {brief(self.code)}, expected numbers")
        dtype = np.dtype(self.code).newbyteorder(self.order)
        stream = data.encode("latin1") if isinstance(data, str) else data  # a text in pickles of Python 2
        if not isinstance(stream, bytes | bytearray) or len(stream) != count * dtype.itemsize:
            size = f"{len(stream)} bytes" if isinstance(stream, bytes | bytearray) else type(data).__name__
            raise pickle.UnpicklingError(f"{brief(count)} numbers of {dtype} in {size}")
        return np.frombuffer(stream, dtype).astype(dtype.newbyteorder("="))


class PickledArray:
    """Stands for an array whose content comes afterwards.

    Args:
        *_: Class, shape and format of the empty array that NumPy would make first.
    """

    def __init__(self, *_: Any) -> None:
        self.array: Any = None

    def __setstate__(self, state: Any) -> None:
        """Takes `(version, shape, dtype, is_fortran, data)`.

        Raises:
            UnpicklingError: If that is something else, or the data don't fill the shape.
        """
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("the state of an array has another form")
        _, shape, dtype, is_fortran, data = state
        self.array = array_of(data, dtype, shape, "F" if is_fortran else "C")


def array_of(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    """An array of pickled bytes.

    Raises:
        UnpicklingError: If they don't fill the shape.
    """
    is_shape = isinstance(shape, tuple) and len(shape) <= 32 and all(is_integer(n) and n >= 0 for n in shape)
    if not is_shape or not isinstance(dtype, PickledDtype):
        raise pickle.UnpicklingError(f"an array of the shape {brief(shape)}")
    return dtype.numbers(data, math.prod(shape)).reshape(shape, order="F" if order == "F" else "C")


def array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> PickledArray:
    """Stands for the function that rebuilds arrays of protocol 5."""
    rebuilt = PickledArray()
    rebuilt.array = array_of(bytes(data) if isinstance(data, pickle.PickleBuffer) else data, dtype, shape, order)
    return rebuilt


def number_of(dtype: Any, data: Any = b"") -> Any:
    """Stands for the function that rebuilds single numbers."""
    return array_of(data, dtype, (1,), "C")[0]


def encoded(text: Any, encoding: Any) -> bytes:
    """What Python 3 writes for bytes in pickles of protocol 2; other codecs are refused."""
    if encoding != "latin1" or not isinstance(text, str):
        raise ForbiddenGlobalError(f"_codecs.encode with {brief(encoding)}")
    return text.encode("latin1")


NUMPY_CORES = ("numpy.core", "numpy._core")  # NumPy moved these functions between modules
STAND_INS: dict[str, Any] = {
    "numpy.ndarray": PickledArray,
    "numpy.dtype": PickledDtype,
    **{f"{core}.multiarray._reconstruct": PickledArray for core in NUMPY_CORES},
    **{f"{core}.multiarray.scalar": number_of for core in NUMPY_CORES},
    **{f"{core}.numeric._frombuffer": array_from_buffer for core in NUMPY_CORES},
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": encoded,
}


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows the stand-ins and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a function or class of NumPy.

        Raises:
            ForbiddenGlobalError: For any other.
        """
        if f"{module}.{name}" not in STAND_INS:
            raise ForbiddenGlobalError(f"{module}.{name}")
        return STAND_INS[f"{module}.{name}"]


def check_opcodes(stream: BinaryIO) -> None:
    """Goes through a pickle without building anything, up to its end.

    Raises:
        UnpicklingError: If it is damaged, numbers its objects beyond their count (reading it allocates memory up to
            that number), or nests tuples so that hashing one would not end.
    """
    weights: list[int] = []  # values within each object on the stack; -1 for a mark
    memo: dict[int, int] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            name, before, after = opcode.name, opcode.stack_before, opcode.stack_after
            if name.endswith("PUT") or name == "MEMOIZE":
                number = len(memo) if name == "MEMOIZE" else int(argument or 0)
                if number > count:
                    raise ValueError(f"an object has the number {brief(number)}, there are {count} so far")
                memo[number] = weights[-1]
                continue
            taken: list[int] = []
            if pickletools.markobject in before:
                while (weight := weights.pop()) >= 0:
                    taken.append(weight)
            for _ in range(sum(item not in (pickletools.markobject, pickletools.stackslice) for item in before)):
                taken.append(weights.pop())
            if name == "MARK":
                weights.append(-1)
            elif name.endswith("GET"):
                weights.append(memo[int(argument or 0)])
            elif name == "DUP":
                weights += taken * 2
            elif after:  # of lists and dicts only the object itself counts: they can't be hashed
                is_container = name in ("LIST", "DICT") or name.startswith(("APPEND", "SETITEM", "ADDITEMS"))
                weights.append(1 if is_container else 1 + sum(taken))
                if weights[-1] > GREATEST_TUPLE and not is_container:
                    raise ValueError(f"an object holds more than {GREATEST_TUPLE} others")
    except (ValueError, IndexError, KeyError, MemoryError, OverflowError) as error:
        raise pickle.UnpicklingError(str(error)) from error

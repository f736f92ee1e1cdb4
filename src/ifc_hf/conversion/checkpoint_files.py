"""Reads other people's checkpoints as data: nothing in a file is ever executed."""

import pickle
import pickletools
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..model.limits import brief

# The keys under which the formats keep their tensors: detectron2 and the authors' code, Caffe2.
CONTAINER_KEYS = ("model", "blobs")
# What `DistributedDataParallel` puts before every name.
WRAPPER_PREFIX = "module."
# What may lie beside the weights without being one: counters, scores, names.
PLAIN_VALUES = (bool, int, float, str, type(None), np.generic)
# NumPy's numbers in a file of torch.save: torch rebuilds them if it is told that these are harmless.
NUMPY_SCALARS: list[Any] = [
    *((np.float32(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *{type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"},
]
# What the old format of torch.save (before 1.6) begins with: protocol 2, then torch's magic number.
LEGACY_TORCH_HEADER = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message says which file, what was expected and what came."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a torch (``.pth``) or detectron2 / Caffe2 (``.pkl``) checkpoint.

    The content decides which of the two it is, not the file's name.

    Args:
        path: The file. Its tensors lie at the top level or under "model" or "blobs"; numbers and texts beside them are
            passed over.

    Returns:
        The tensors by name, on the CPU, in the file's order and number format, without the `module.` that
        `DistributedDataParallel` puts before every name.

    Raises:
        CheckpointError: If the file is missing, empty, truncated, no checkpoint, or a pickle that wants to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a .pth or .pkl checkpoint.")
    with path.open("rb") as file:
        header = file.read(len(LEGACY_TORCH_HEADER))
        file.seek(0)
        if not header:
            raise CheckpointError(f"{path}: the file is empty; expected a .pth or .pkl checkpoint.")
        if header.startswith(b"PK\x03\x04") or header == LEGACY_TORCH_HEADER:
            content = _load_torch(path)
        elif header[0] == pickle.PROTO[0]:
            content = _load_pickle(file, path)
        else:
            raise CheckpointError(f"{path}: not a checkpoint; expected a file of torch.save or a pickle.")
    return _tensors_of(content, path)


def _load_torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise _refusal(path, forbidden[1] if forbidden else str(error)) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: truncated or damaged torch file ({str(error).split('. ')[0]}).") from error


def _refusal(path: Path, forbidden: object) -> CheckpointError:
    return CheckpointError(
        f"{path}: asks for {forbidden}, which could run code on loading, and was not loaded; only arrays in plain "
        "containers are read."
    )


def _load_pickle(file: BinaryIO, path: Path) -> Any:
    try:
        _check_declared_numbers(file)
        # Caffe2's files were pickled by Python 2, whose strings hold the bytes of the arrays.
        return ArrayUnpickler(file, encoding="latin1").load()
    except ForbiddenGlobalError as error:
        raise _refusal(path, error) from error
    except (EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: truncated or damaged pickle ({error}).") from error
    except Exception as error:  # a damaged pickle can raise anything at all
        raise CheckpointError(f"{path}: not a checkpoint ({type(error).__name__}: {error}).") from error


def _check_declared_numbers(file: BinaryIO) -> None:
    """Refuses a pickle that numbers its objects beyond their count: reading it allocates memory up to that number."""
    try:
        for count, (opcode, number, _) in enumerate(pickletools.genops(file)):
            if opcode.name.endswith("PUT") and int(number or 0) > count:
                raise pickle.UnpicklingError(f"an object has the number {brief(number)}, there are {count} so far")
    except (ValueError, MemoryError, OverflowError) as error:
        raise pickle.UnpicklingError(str(error)) from error
    file.seek(0)


class ForbiddenGlobalError(Exception):
    """A pickle named a function or class other than those that rebuild arrays."""


def _encode_latin1(text: str, encoding: str) -> bytes:
    """What Python 3 writes for bytes in pickles of protocol 2; other codecs are refused."""
    if encoding != "latin1":
        raise ForbiddenGlobalError(f"_codecs.encode with {encoding!r}")
    return text.encode("latin1")


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that can build NumPy arrays and plain containers, and nothing else."""

    # NumPy moved these functions between modules; asking an array how it is rebuilt finds them in every version.
    _rebuild = np.empty(0).__reduce__()[0]
    _rebuild_from_buffer = np.empty(1).__reduce_ex__(5)[0]
    _rebuild_scalar = np.float32(0).__reduce__()[0]
    _allowed = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): _rebuild,
        ("numpy._core.multiarray", "_reconstruct"): _rebuild,
        ("numpy.core.multiarray", "scalar"): _rebuild_scalar,
        ("numpy._core.multiarray", "scalar"): _rebuild_scalar,
        ("numpy.core.numeric", "_frombuffer"): _rebuild_from_buffer,
        ("numpy._core.numeric", "_frombuffer"): _rebuild_from_buffer,
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): _encode_latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Returns the named function or class if it is one of the allowed ones."""
        if (module, name) not in self._allowed:
            raise ForbiddenGlobalError(f"{module}.{name}")
        return self._allowed[module, name]


def _tensors_of(content: Any, path: Path) -> dict[str, Tensor]:
    for key in CONTAINER_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path}: not a checkpoint; expected a dict of tensors, got {type(content).__name__}.")
    # An array is made by its declared shape alone, and pickles aren't compressed.
    declared = sum(
        array.nbytes for array in {id(v): v for v in content.values() if isinstance(v, np.ndarray)}.values()
    )
    if declared > path.stat().st_size:
        raise CheckpointError(f"{path}: declares arrays of {declared} bytes in a file of {path.stat().st_size}.")
    tensors = {}
    for name, value in content.items():
        if isinstance(value, PLAIN_VALUES):
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            value = torch.from_numpy(value.copy())
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: not a checkpoint; expected tensors by name, got {type(value).__name__} under {name!r}."
            )
        tensors[name] = value
    if not tensors:
        raise CheckpointError(f"{path}: not a checkpoint; expected a dict of tensors, got one without any.")
    if all(name.startswith(WRAPPER_PREFIX) for name in tensors):
        tensors = {name.removeprefix(WRAPPER_PREFIX): tensor for name, tensor in tensors.items()}
    return tensors

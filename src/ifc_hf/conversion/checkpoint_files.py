"""Reads other people's checkpoints as data: nothing in a file is ever executed."""

import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..model.limits import brief
from .array_pickles import STAND_INS, ArrayUnpickler, ForbiddenGlobalError, PickledArray, check_opcodes

# The keys under which the formats keep their tensors: detectron2 and the authors' code, Caffe2.
CONTAINER_KEYS = ("model", "blobs")
# What `DistributedDataParallel` puts before every name.
WRAPPER_PREFIX = "module."
# What may lie beside the weights without being one: counters, scores, names.
PLAIN_VALUES = (bool, int, float, str, type(None), np.generic)
# NumPy's numbers in a file of torch.save.
NUMPY_NAMES: list[Any] = [(stand_in, name) for name, stand_in in STAND_INS.items() if name.startswith("numpy")]
# What the old format of torch.save (before 1.6) begins with: protocol 2, then torch's magic number.
LEGACY_TORCH_HEADER = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_TORCH_PICKLES = 5  # magic number, version, machine, content, names of the storages


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
        _check_torch(path)
    except Exception as error:  # a damaged archive can raise anything at all
        raise _damaged(path, error) from error
    try:
        with torch.serialization.safe_globals(NUMPY_NAMES):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise _refusal(path, forbidden[1] if forbidden else str(error)) from error
    except Exception as error:  # as above
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split(". ")[0].split())[:200] or type(error).__name__
    return CheckpointError(f"{path}: truncated or damaged torch file ({reason}).")


def _check_torch(path: Path) -> None:
    """Refuses what torch would trust: declared sizes that the file doesn't have, and hostile pickles."""
    with path.open("rb") as file:
        if file.read(len(LEGACY_TORCH_HEADER)) == LEGACY_TORCH_HEADER:
            file.seek(0)
            for _ in range(LEGACY_TORCH_PICKLES):
                check_opcodes(file)
            return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its content is larger than the file; torch.save doesn't compress")
        for member in members:
            if member.filename.endswith(".pkl"):
                check_opcodes(io.BytesIO(archive.read(member)))


def _refusal(path: Path, forbidden: object) -> CheckpointError:
    return CheckpointError(
        f"{path}: asks for {forbidden}, which could run code on loading, and was not loaded; only arrays in plain "
        "containers are read."
    )


def _load_pickle(file: BinaryIO, path: Path) -> Any:
    try:
        check_opcodes(file)
        file.seek(0)
        # Caffe2's files were pickled by Python 2, whose strings hold the bytes of the arrays.
        return ArrayUnpickler(file, encoding="latin1").load()
    except ForbiddenGlobalError as error:
        raise _refusal(path, error) from error
    except (EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: truncated or damaged pickle ({error}).") from error
    except MemoryError as error:
        raise CheckpointError(f"{path}: asks for more memory than there is.") from error
    except Exception as error:  # a damaged pickle can raise anything at all
        raise CheckpointError(f"{path}: not a checkpoint ({type(error).__name__}: {error}).") from error


def _tensors_of(content: Any, path: Path) -> dict[str, Tensor]:
    for key in CONTAINER_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path}: not a checkpoint; expected a dict of tensors, got {type(content).__name__}.")
    tensors = {}
    for name, value in content.items():
        if isinstance(value, PLAIN_VALUES):
            continue
        if isinstance(value, PickledArray) and value.array is not None:
            value = torch.from_numpy(value.array)
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: not a checkpoint; expected tensors by name, got {type(value).__name__} under {brief(name)}."
            )
        _check_tensor(value, name, path)
        tensors[name] = value
    if not tensors:
        raise CheckpointError(f"{path}: not a checkpoint; expected a dict of tensors, got one without any.")
    if all(name.startswith(WRAPPER_PREFIX) for name in tensors):
        tensors = {name.removeprefix(WRAPPER_PREFIX): tensor for name, tensor in tensors.items()}
    return tensors


def _check_tensor(tensor: Tensor, name: str, path: Path) -> None:
    """Refuses tensors without numbers in the file, which would take any amount of memory once they are used."""
    is_plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not is_plain or tensor.is_complex():
        kind = f"{tensor.layout}, {tensor.dtype}, {tensor.device}"
        raise CheckpointError(f"{path}: {brief(name)}: expected a plain tensor of numbers, got {kind}.")
    num_bytes = tensor.numel() * tensor.element_size()
    if num_bytes > path.stat().st_size:
        message = f"a tensor of {num_bytes} bytes in a file of {path.stat().st_size}"
        raise CheckpointError(f"{path}: {brief(name)}: declares {message}.")

"""A folder on disk that keeps what engines take long to make, for the next process.

It lies at `ifc_hf/engines` in the home of the Hugging Face caches (`HF_HOME`) and may be deleted at any time. A
network has a folder of its own there, named by a fingerprint of all that it depends on. A disk that is full or may not
be written to costs time, never the result.
"""

import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from huggingface_hub import constants
from torch import nn

DIGEST_BYTES = hashlib.sha256().digest_size
PACKAGES = ("torch", "transformers", "onnx", "onnxscript")  # those that take part in making a graph


def cached(folder: str, name: str, make: Callable[[], bytes]) -> bytes:
    """Content of a file of the cache, which is made if it isn't there whole.

    Args:
        folder: Of `fingerprint`.
        name: Of the file.
        make: Makes the content.
    """
    file = Path(constants.HF_HOME) / "ifc_hf" / "engines" / folder / name
    with suppress(OSError):
        stored = file.read_bytes()
        if hashlib.sha256(stored[DIGEST_BYTES:]).digest() == stored[:DIGEST_BYTES]:
            return stored[DIGEST_BYTES:]
    content = make()
    with suppress(OSError):
        write_whole(file, hashlib.sha256(content).digest() + content)
    return content


def write_whole(file: Path, content: bytes) -> None:
    """Writes a file as a whole or not at all.

    Raises:
        OSError: If the disk doesn't take it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=file.parent, suffix=".partial")
    try:
        with open(handle, "wb") as stream:
            stream.write(content)
        os.replace(partial, file)
    except OSError:
        Path(partial).unlink(missing_ok=True)
        raise


def fingerprint(network: nn.Module) -> str:
    """Differs whenever the graph of a network may: by weights, settings, code, or versions of the packages."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        digest.update(f"{package} {installed_version(package)}\n".encode())
    digest.update(f"{platform.machine()}\n{network!r}\n".encode())
    for file in sorted({source_of(module) for module in network.modules()} | {__file__}):
        with suppress(OSError):
            digest.update(Path(file).read_bytes())
    configs = {repr(module.config) for module in network.modules() if hasattr(module, "config")}
    digest.update("\n".join(sorted(configs)).encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def source_of(module: nn.Module) -> str:
    """The file that a module's class is written in; a session that defines classes has none."""
    return getattr(sys.modules.get(type(module).__module__), "__file__", None) or ""


def installed_version(package: str) -> str | None:
    """Version of a package, if it is installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None

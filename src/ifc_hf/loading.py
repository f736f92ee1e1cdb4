"""A checkpoint from a folder or the Hub: the model and its processor."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .checkpoints import find_checkpoint

if TYPE_CHECKING:
    from .model.configuration_ifc import IfcConfig
    from .model.image_processing_ifc import IfcImageProcessor
    from .model.modeling_ifc import IfcForVideoInstanceSegmentation

CONFIG_FILE = "config.json"
WEIGHT_SUFFIXES = (".pth", ".pkl", ".pt", ".safetensors", ".onnx")
MOST_NAMES = 3  # of tensors that a message lists
MOST_LETTERS = 300  # of the error of a library

Result = TypeVar("Result")


def load_config(checkpoint: str | os.PathLike[str]) -> "IfcConfig":
    """The configuration alone.

    Args:
        checkpoint: Folder, Hub id, or "demo" for the shipped one.

    Raises:
        ValueError: If it is another kind of model, or the configuration can't work.
        OSError: If there is no model.
    """
    from transformers import AutoConfig

    checkpoint = find_checkpoint(checkpoint)
    is_folder = Path(checkpoint).is_dir()
    if is_folder and not (Path(checkpoint) / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"{checkpoint}: no model folder, it holds no {CONFIG_FILE}")
    if Path(checkpoint).suffix in WEIGHT_SUFFIXES or Path(checkpoint).is_file():
        raise FileNotFoundError(
            f"{checkpoint}: expected a model folder or a Hub id, got the name of a file; `ifc-hf convert` makes a "
            "folder of an authors' checkpoint"
        )
    try:
        # Otherwise Transformers would ask at the terminal whether to run the code of a folder of an unknown type.
        config = named(
            checkpoint,
            "its configuration can't be used",
            lambda: AutoConfig.from_pretrained(checkpoint, trust_remote_code=False),
        )
    except OSError as error:
        if is_folder:
            raise
        raise OSError(f"{checkpoint}: no such folder, and not to be had from the Hub ({short_text(error)})") from error
    if config.model_type != "ifc":
        raise ValueError(f"{checkpoint} holds a model of type {config.model_type!r}, expected 'ifc'")
    return config


def load_checkpoint(
    checkpoint: str | os.PathLike[str], device: str = "cpu"
) -> tuple["IfcForVideoInstanceSegmentation", "IfcImageProcessor"]:
    """Loads a model, in float32 and evaluation mode, and its processor.

    Args:
        checkpoint: Folder, Hub id, or "demo" for the shipped one.
        device: Where the model goes.

    Returns:
        The model and the processor.

    Raises:
        ValueError: If it is another kind of model, its configuration or weights can't be used, the weights don't fit
            the configuration, or there is no such device.
        OSError: If there is no model.
    """
    import torch

    from .model.image_processing_ifc import IfcImageProcessor
    from .model.modeling_ifc import IfcForVideoInstanceSegmentation

    checkpoint = find_checkpoint(checkpoint)
    config = load_config(checkpoint)
    check_device(device)
    with quiet_transformers():  # what it would warn of is an error here
        model, info = named(
            checkpoint,
            "its weights can't be used",
            lambda: IfcForVideoInstanceSegmentation.from_pretrained(
                checkpoint,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are said below, in one line
                output_loading_info=True,
            ),
        )
    check_tensors(checkpoint, info)
    processor = named(checkpoint, "its processor can't be used", lambda: IfcImageProcessor.from_pretrained(checkpoint))
    return model.to(device).eval(), processor


def checkpoint_folder(checkpoint: str | os.PathLike[str]) -> Path | None:
    """The folder itself, or that in which the cache keeps a Hub repository; None if there is none."""
    checkpoint = find_checkpoint(checkpoint)
    if Path(checkpoint).is_dir():
        return Path(checkpoint)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(str(checkpoint), CONFIG_FILE)
    except HFValidationError:  # no name of a repository
        return None
    return Path(config).parent if isinstance(config, str) else None


def check_device(device: str) -> None:
    """Refuses a device that isn't there.

    Raises:
        ValueError: If tensors can't be put there.
    """
    import torch

    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {device!r} can't be used on this machine ({short_text(error)})") from error


def check_tensors(checkpoint: str | os.PathLike[str], info: Mapping[str, Any]) -> None:
    """Refuses weights that are not those of the model.

    Args:
        checkpoint: Named in the error.
        info: What `from_pretrained` reports.

    Raises:
        ValueError: If a tensor is missing, has another shape, or belongs to no part of the model.
    """
    mismatched = [f"{name} {tuple(found)} instead of {tuple(expected)}" for name, found, expected in sorted(
        info["mismatched_keys"])]  # fmt: skip
    problems = {
        "tensors of another shape": mismatched,
        "missing tensors": sorted(info["missing_keys"]),
        "tensors that the model doesn't have": sorted(info["unexpected_keys"]),
    }
    parts = [f"{len(names)} {problem} ({listed(names)})" for problem, names in problems.items() if names]
    if parts:
        raise ValueError(f"{checkpoint}: the weights don't fit the configuration: {'; '.join(parts)}")


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def named(checkpoint: str | os.PathLike[str], problem: str, load: Callable[[], Result]) -> Result:
    """Loads something; whatever class an error has (safetensors, torch, JSON, checks of a configuration), it names it.

    Raises:
        OSError: As it comes: it names the file or the repository.
        ValueError: For all else.
    """
    try:
        return load()
    except (OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{checkpoint}: {problem} ({short_text(error)})") from error


def short_text(error: BaseException) -> str:
    """The class of an error and what it says, in one line of bounded length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:MOST_LETTERS]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps Transformers from warning in between."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)

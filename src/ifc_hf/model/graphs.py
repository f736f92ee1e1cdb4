"""Networks as graphs that other runtimes read: traced with free sizes, written as ONNX."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

Axes = Mapping[str, Mapping[int, str]]  # of every input the axes whose size is free, and a letter for each


def trace(network: nn.Module, example: dict[str, Tensor], axes: Axes | None = None) -> "torch.export.ExportedProgram":
    """The graph of a forward pass.

    Args:
        network: Takes its inputs by name and gives a tensor or a tuple.
        example: Inputs to record it with. No free size may be 0 or 1, which would be taken for constant.
        axes: What stays free; None: nothing.
    """
    free = {name: dict.fromkeys(axes[name], torch.export.Dim.DYNAMIC) for name in example} if axes else None
    # Not in inference mode: a tracer may not look into tensors that are made there.
    with quiet(), torch.inference_mode(False), torch.no_grad():
        return torch.export.export(network.eval(), (), example, dynamic_shapes=free)


def write_onnx(
    program: "torch.export.ExportedProgram", file: Path, output_names: Sequence[str], axes: Axes | None = None
) -> None:
    """Writes a traced graph as one ONNX file.

    Args:
        program: Of `trace`.
        file: To write.
        output_names: Names of the outputs.
        axes: As for `trace`; for a program that is traced already they only name the axes.
    """
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    free = {name: dict(axes[name]) for name in names} if axes else None
    with quiet():
        torch.onnx.export(
            program, (), str(file), dynamo=True, dynamic_shapes=free, verbose=False, external_data=False,
            input_names=names, output_names=list(output_names),
        )  # fmt: skip


@contextmanager
def quiet() -> Iterator[None]:
    """Hides what the exporters say about themselves (missing torchvision, their own deprecations)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

"""A tiny checkpoint, and its ONNX export, made once for all tests of a process."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import torch

from ifc_hf import IfcImageProcessor
from tiny_models import tiny_model

FRAME_SIZE = {"shortest_edge": 72, "longest_edge": 128}


def save_tiny_checkpoint(folder: Path, **changes: Any) -> Path:
    """One layer each, as tracing takes its time; masks of both signs, so that tracks have pixels."""
    model = tiny_model(encoder_layers=1, decoder_layers=1, num_frames=3, **changes).eval()
    torch.nn.init.normal_(model.mask_head.query_mlp.layers[-1].weight)
    model.save_pretrained(folder)
    IfcImageProcessor(size=FRAME_SIZE).save_pretrained(folder)
    return folder


@functools.cache
def tiny_checkpoint() -> Path:
    return save_tiny_checkpoint(Path(_temporary().name) / "checkpoint")


@functools.cache
def tiny_onnx_folder() -> Path:
    from ifc_hf.export import export_model

    folder = Path(_temporary().name) / "onnx"
    export_model(tiny_checkpoint(), folder)
    return folder


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory()  # removed when the process ends

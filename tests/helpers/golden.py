"""Numbers recorded from the authors' implementation, and the weights they were recorded with.

The full set lies beside the repository (``<repository>/../shared/goldens``); a compact part of it, made by
``make_compact_goldens.py``, lies in ``tests/goldens`` and is used where the full set is absent. The environment
variable ``IFC_HF_GOLDENS`` names another folder (``IFC_HF_GOLDENS=tests/goldens`` runs the compact part alone).
"""

import functools
import gzip
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from paths import ROOT, TESTS

CLASS_LOGITS = 2e-4
COMPACT_FOLDER = TESTS / "goldens"
FULL_FOLDER = ROOT.parent / "shared" / "goldens"

# Backbone and data set of each network that was recorded.
VARIANTS = {
    "r50_ytvis": ("resnet50", "ytvis_2019"),
    "r101_ytvis": ("resnet101", "ytvis_2019"),
    "r50_coco": ("resnet50", "coco"),
}

# What the recipe below adds to two biases so that 8 to 16 of 100 queries are objects, of several classes.
NO_OBJECT_BIAS = {"r50_ytvis": 6.98, "r101_ytvis": 6.11, "r50_coco": 6.48}
CLASS_BIAS = {"r50_ytvis": {13: -1.25}, "r101_ytvis": {}, "r50_coco": {61: -2.5, 75: -1.0}}
MASK_SHIFT = {"r50_ytvis": 0.0136, "r101_ytvis": 0.0114, "r50_coco": 0.0141}


def golden(case: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """One recorded case.

    Args:
        case: A name of `all_cases`.

    Returns:
        The tensors by name (booleans are uint8) and the content of the case's JSON ({} if it has none). From the
        compact set, tensors that were too big are absent (see ``tests/goldens/README.md``).

    Raises:
        KeyError: If no such case is stored.
    """
    if case not in _index():
        raise KeyError(f"no golden named {case!r} in {golden_folder()}; there are {sorted(_index())}")
    folder = golden_folder()
    tensors = {}
    if (folder / f"{case}.safetensors").is_file():
        tensors = load_file(folder / f"{case}.safetensors")
    elif (folder / f"{case}.npz").is_file():
        with np.load(folder / f"{case}.npz") as arrays:
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    info = golden_json(case) if any(file.endswith(".json") for file in _index()[case]["files"]) else {}
    return tensors, info


def golden_json(name: str) -> Any:
    """The parsed JSON ``name.json`` of the set, packed or not; for cases, manifests and weight checks."""
    plain = golden_folder() / f"{name}.json"
    text = plain.read_bytes() if plain.is_file() else gzip.decompress(plain.with_suffix(".json.gz").read_bytes())
    return json.loads(text)


def all_cases(prefix: str = "") -> list[str]:
    """Names of the stored cases that begin with `prefix`, sorted."""
    return sorted(case for case in _index() if case.startswith(prefix))


def case_description(case: str) -> dict[str, Any]:
    """The line of ``index.jsonl`` of a case: `description`, `variant`, `config`, `margins`, `shapes`, ..."""
    return _index()[case]


def has_full_goldens() -> bool:
    """Whether the full set is what `golden` reads."""
    return golden_folder() != COMPACT_FOLDER


def golden_folder() -> Path:
    """The folder that is read: that of the environment, the full set, or the compact one."""
    if "IFC_HF_GOLDENS" in os.environ:
        return Path(os.environ["IFC_HF_GOLDENS"]).resolve()
    return FULL_FOLDER if (FULL_FOLDER / "index.jsonl").is_file() else COMPACT_FOLDER


@functools.lru_cache
def _index() -> dict[str, dict[str, Any]]:
    lines = (golden_folder() / "index.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["case"]: row for row in map(json.loads, lines)}


def manifest(variant: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the authors' state dict, in its order; `variant` is r50_ytvis, r101_ytvis or r50_coco."""
    return {name: tuple(shape) for name, shape, _ in golden_json(f"manifest_{variant}")}


def reference_state_dict(variant: str) -> dict[str, Tensor]:
    """The state dict, in the authors' names, with which the goldens of `variant` were recorded.

    The tensors are shared between calls: clone before writing into them.
    """
    return dict(_reference_state_dict(variant))


@functools.lru_cache
def _reference_state_dict(variant: str) -> dict[str, Tensor]:
    return {name: torch.from_numpy(make_weight(name, shape, variant)) for name, shape in manifest(variant).items()}


def make_weight(name: str, shape: tuple[int, ...], variant: str) -> np.ndarray:
    """One float32 entry of the generated state dict, a function of its name and shape alone.

    Source: the recipe that the goldens were recorded with, salt ''.
    """
    if name == "criterion.empty_weight":
        return np.array([1.0] * (shape[0] - 1) + [0.1], dtype=np.float32)
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    owner, leaf = name.split(".")[-2:]
    if owner == "norm" and ".backbone." in name:  # frozen batch norm
        values = random.uniform(0.5, 1.5, shape) if leaf in ("weight", "running_var") else 0.1 * random.randn(*shape)
    elif owner in ("norm", "norm1", "norm2", "norm3", "gn1", "gn2", "gn3"):
        values = (1.0 if leaf == "weight" else 0.0) + 0.1 * random.randn(*shape)
    elif owner == "query_embed" or leaf in ("memory_bus", "memory_pos"):
        values = random.randn(*shape)
    elif len(shape) > 1:
        values = _gain(name, variant) * random.randn(*shape) / np.sqrt(np.prod(shape[1:]))
    else:
        values = 0.02 * random.randn(*shape)
        if name == "detr.class_embed.layers.1.bias":
            values[-1] += NO_OBJECT_BIAS[variant]
            for label, shift in CLASS_BIAS[variant].items():
                values[label] += shift
        elif name == "detr.mask_head.convert_to_weight.layers.2.bias":
            values += 5.0 * MASK_SHIFT[variant]
    return values.astype(np.float32)


def _gain(name: str, variant: str) -> float:
    if ".stem." in name and variant == "r101_ytvis":
        return 1.0 / 57.0  # this variant's pixels are not divided by a standard deviation
    if name.split(".")[-2] == "conv3":
        return 0.5  # keeps the residual stream from growing
    if name == "detr.class_embed.layers.1.weight":
        return 4.0
    if name == "detr.mask_head.convert_to_weight.layers.2.weight":
        return 5.0
    return 2.0 if ".multihead_attn." in name else 1.0


def normalised(frames_rgb: Tensor, variant: str) -> Tensor:
    """(T, H, W, 3) uint8 RGB frames as the variant's network takes them, (T, 3, H, W)."""
    frames = frames_rgb.permute(0, 3, 1, 2).float()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    if variant == "r101_ytvis":
        frames, mean, std = frames.flip(1), mean.flip(0), torch.ones(3)
    return (frames - mean[:, None, None]) / std[:, None, None]


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    assert actual.shape == expected.shape, what
    difference = (actual - expected).abs().max().item() if actual.numel() else 0.0
    assert difference <= tolerance, f"{what}: off by {difference:.2e}, allowed {tolerance:.0e}"

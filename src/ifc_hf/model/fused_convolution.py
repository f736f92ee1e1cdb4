"""A backbone for inference: batch norms folded into convolutions; on a CPU, oneDNN does ReLU and sum in the same pass.

Works on modules that hold a `convolution`, its `normalization` and an `activation`, as Transformers' ResNet and
EfficientNet-Lite here do, and on ResNet's residual blocks; other modules stay as they are.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

RESIDUAL_BLOCKS = ("ResNetBasicLayer", "ResNetBottleNeckLayer")


def fold_batch_norms(backbone: nn.Module) -> nn.Module:
    """A copy of a backbone, its frozen batch norms folded into the convolutions before them, channels last.

    It gives the same up to rounding: in float32 up to some millionths of the largest value.
    """
    backbone = copy.deepcopy(backbone).eval().requires_grad_(False)
    for module in backbone.modules():
        convolution: Any = getattr(module, "convolution", None)
        norm: Any = getattr(module, "normalization", None)
        # By name, because code from a Hub folder has a class of its own.
        if type(norm).__name__ != "IfcFrozenBatchNorm2d" or not isinstance(convolution, nn.Conv2d):
            continue
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        module.normalization = nn.Identity()
        activation: Any = getattr(module, "activation", None)
        if isinstance(activation, nn.ReLU | nn.ReLU6):
            activation.inplace = True  # nobody else sees what the convolution gives
    return nn.utils.convert_conv2d_weight_memory_format(backbone, torch.channels_last)


def fuse_activations(backbone: nn.Module) -> None:
    """Puts fused convolutions and residual blocks in the place of those of a folded backbone.

    Args:
        backbone: Of `fold_batch_norms`, on a CPU in float32.
    """
    if not torch.backends.mkldnn.is_available():
        return
    for module in backbone.modules():
        convolution: Any = getattr(module, "convolution", None)
        activation: Any = getattr(module, "activation", None)
        is_folded = isinstance(getattr(module, "normalization", None), nn.Identity)
        if is_folded and isinstance(convolution, nn.Conv2d) and FusedConvolution.takes(convolution, activation):
            module.convolution, module.activation = FusedConvolution(convolution, activation), nn.Identity()
    for parent in list(backbone.modules()):
        for name, block in list(parent.named_children()):
            # Not the first block of a stage without a shortcut of its own: its input may be a map that is handed out.
            has_own_input = name != "0" or not isinstance(getattr(block, "shortcut", None), nn.Identity)
            if type(block).__name__ in RESIDUAL_BLOCKS and has_own_input and FusedResidual.takes(block):
                setattr(parent, name, FusedResidual(block))


class FusedConvolution(nn.Module):
    """A convolution and the activation behind it.

    Args:
        convolution: Float32, on the CPU.
        activation: ReLU, ReLU6 or none.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.stride, self.padding, self.dilation = convolution.stride, convolution.padding, convolution.dilation
        self.groups, self.kernel_size = convolution.groups, convolution.kernel_size
        self.activation = activation_of(activation)

    @staticmethod
    def takes(convolution: nn.Conv2d, activation: nn.Module) -> bool:
        """Whether oneDNN has both in one."""
        is_plain = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
        return is_plain and isinstance(activation, nn.ReLU | nn.ReLU6 | nn.Identity)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C_out, H_out, W_out)."""
        return torch.ops.mkldnn._convolution_pointwise(
            inputs, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups, *self.activation, ""
        )

    def add_to(self, residual: Tensor, inputs: Tensor, activation: nn.Module) -> Tensor:
        """Activation of convolution plus residual, written into the residual."""
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            residual, inputs, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups,
            "add", 1.0, *activation_of(activation), "",
        )  # fmt: skip


class FusedResidual(nn.Module):
    """A residual block of ResNet whose last convolution adds to the shortcut; it may overwrite its input."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        *layers, last = block.layer
        self.layers, self.shortcut, self.last = nn.Sequential(*layers), block.shortcut, last.convolution
        self.activation = block.activation

    @staticmethod
    def takes(block: Any) -> bool:
        """Whether the block ends with a fused convolution and an activation that oneDNN has."""
        return isinstance(block.layer[-1].convolution, FusedConvolution) and isinstance(block.activation, nn.ReLU)

    def forward(self, hidden_state: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C_out, H_out, W_out)."""
        inputs = self.layers(hidden_state)
        return self.last.add_to(self.shortcut(hidden_state), inputs, self.activation)


def activation_of(module: nn.Module) -> tuple[str, list[float]]:
    """Name and numbers of an activation in oneDNN's operators."""
    if isinstance(module, nn.ReLU6):
        return "hardtanh", [0.0, 6.0]
    return ("relu", []) if isinstance(module, nn.ReLU) else ("none", [])

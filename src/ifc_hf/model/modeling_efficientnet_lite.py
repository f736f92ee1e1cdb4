# Copyright 2026 The ifc_hf maintainers
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The trunk of EfficientNet-Lite: EfficientNet (arXiv 1905.11946) without what is slow on small processors.

No squeeze-and-excitation, ReLU6 for swish. Letters: N frames of (H, W) pixels, C channels.
"""

import math

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import BackboneMixin, filter_output_hidden_states
from transformers.modeling_outputs import BackboneOutput
from transformers.utils import auto_docstring
from transformers.utils.generic import can_return_tuple

from .configuration_efficientnet_lite import EfficientNetLiteConfig


@auto_docstring
class EfficientNetLitePreTrainedModel(PreTrainedModel):
    config: EfficientNetLiteConfig
    base_model_prefix = "efficientnet_lite"
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    _no_split_modules = ["EfficientNetLiteBlock"]

    @torch.no_grad()
    # Every kind of parameter has its rule here, so nothing is left for the base class.
    # trf-ignore: TRF018
    def _init_weights(self, module):
        if isinstance(module, nn.Conv2d):
            # Kaiming for ReLU by the outputs that see one input, as TensorFlow's EfficientNet counts them.
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        # By name, because IFC puts batch norms of its own in the place of these.
        elif "BatchNorm" in type(module).__name__:
            init.ones_(module.weight)
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            if getattr(module, "num_batches_tracked", None) is not None:
                init.zeros_(module.num_batches_tracked)


@auto_docstring(
    custom_intro="""
    The trunk as a backbone. The ImageNet weights expect frames in [0, 255] as `(frame - 127) / 128`.
    """
)
class EfficientNetLiteBackbone(BackboneMixin, EfficientNetLitePreTrainedModel):
    has_attentions = False

    def __init__(self, config: EfficientNetLiteConfig):
        super().__init__(config)
        parts = config.groups_of_parts()
        channels = config.stem_channels
        self.num_features = []
        for groups in parts:
            channels = config.out_channels[groups[-1]] if groups else channels
            self.num_features.append(channels)
        self.embedder = EfficientNetLiteStem(config, parts[0])
        self.encoder = EfficientNetLiteEncoder(config, parts[1:])
        self.post_init()

    @can_return_tuple
    @filter_output_hidden_states
    @auto_docstring
    def forward(self, pixel_values: Tensor, **kwargs) -> BackboneOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(N, 3, H, W)`):
            Normalised frames of any size. The map of stride s has the size (ceil(H/s), ceil(W/s)).
        """
        hidden_state = self.embedder(pixel_values)
        hidden_states = [hidden_state]
        for stage in self.encoder.stages:
            for block in stage.children():
                hidden_state = block(hidden_state)
            hidden_states.append(hidden_state)
        feature_maps = tuple(hidden_states[self.stage_names.index(name)] for name in self.out_features)
        return BackboneOutput(feature_maps=feature_maps, hidden_states=tuple(hidden_states))


class EfficientNetLiteStem(nn.Module):
    """The first convolution and the groups before the first one of stride 2: (N, 3, H, W) -> (N, C, H/2, W/2)."""

    def __init__(self, config: EfficientNetLiteConfig, groups: list[int]):
        super().__init__()
        self.convolution = EfficientNetLiteConvLayer(config, config.num_channels, config.stem_channels, 3, stride=2)
        self.blocks = make_blocks(config, groups)

    def forward(self, pixel_values: Tensor) -> Tensor:
        hidden_state = self.convolution(pixel_values)
        for block in self.blocks:
            hidden_state = block(hidden_state)
        return hidden_state


class EfficientNetLiteEncoder(nn.Module):
    """The stages, lists of blocks; the backbone runs them, as it gives out the maps in between."""

    def __init__(self, config: EfficientNetLiteConfig, parts: list[list[int]]):
        super().__init__()
        self.stages = nn.ModuleList(make_blocks(config, groups) for groups in parts)


def make_blocks(config: EfficientNetLiteConfig, groups: list[int]) -> nn.ModuleList:
    """All blocks of some successive groups."""
    blocks = []
    for group in groups:
        in_channels = config.out_channels[group - 1] if group else config.stem_channels
        stride = config.strides[group]
        for _ in range(config.num_block_repeats[group]):
            blocks.append(EfficientNetLiteBlock(config, group, in_channels, stride))
            in_channels, stride = config.out_channels[group], 1
    return nn.ModuleList(blocks)


class EfficientNetLiteBlock(nn.Module):
    """Inverted bottleneck: widen, filter every channel alone, narrow; added to its input where the shapes agree."""

    def __init__(self, config: EfficientNetLiteConfig, group: int, in_channels: int, stride: int):
        super().__init__()
        out_channels, kernel_size = config.out_channels[group], config.kernel_sizes[group]
        wide = in_channels * config.expand_ratios[group]
        self.is_residual = stride == 1 and in_channels == out_channels
        self.expand = EfficientNetLiteConvLayer(config, in_channels, wide, 1) if wide != in_channels else nn.Identity()
        self.depthwise = EfficientNetLiteConvLayer(config, wide, wide, kernel_size, stride, groups=wide)
        self.project = EfficientNetLiteConvLayer(config, wide, out_channels, 1, has_activation=False)

    def forward(self, hidden_state: Tensor) -> Tensor:
        output = self.project(self.depthwise(self.expand(hidden_state)))
        return output + hidden_state if self.is_residual else output


class EfficientNetLiteConvLayer(nn.Module):
    """Convolution with TensorFlow's "SAME" padding, batch norm, ReLU6."""

    def __init__(
        self,
        config: EfficientNetLiteConfig,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        has_activation: bool = True,
    ):
        super().__init__()
        # At stride 1 "SAME" is symmetric, so the convolution pads by itself.
        padding = kernel_size // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=padding, groups=groups, bias=False
        )
        self.normalization = nn.BatchNorm2d(out_channels, eps=config.batch_norm_eps)
        self.activation = nn.ReLU6() if has_activation else nn.Identity()

    def forward(self, hidden_state: Tensor) -> Tensor:
        if self.convolution.stride != (1, 1):
            hidden_state = pad_same(hidden_state, self.convolution.kernel_size[0], self.convolution.stride[0])
        return self.activation(self.normalization(self.convolution(hidden_state)))


def pad_same(pixels: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Zeros around (N, C, H, W) so that a convolution gives (ceil(H/stride), ceil(W/stride)).

    TensorFlow's rule: no more than needed, and an odd one goes to the bottom or right. So the grid of the outputs
    lies elsewhere for even and odd sizes.
    """
    padding = []
    for size in (pixels.shape[-1], pixels.shape[-2]):
        num_outputs = (size + stride - 1) // stride
        missing = (num_outputs - 1) * stride + kernel_size - size
        padding += [missing // 2, missing - missing // 2]
    return nn.functional.pad(pixels, padding)


__all__ = ["EfficientNetLiteBackbone", "EfficientNetLitePreTrainedModel"]

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
"""Configuration of the EfficientNet-Lite trunk, a light backbone for IFC."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin
from transformers.utils import auto_docstring

# Fields with one entry for every group of blocks.
GROUP_FIELDS = ("num_block_repeats", "out_channels", "kernel_sizes", "strides", "expand_ratios")


@auto_docstring(
    custom_intro="""
    Configuration of an [`EfficientNetLiteBackbone`]. The defaults are those of Lite0.

    The network is a convolution and groups of equal blocks. A group of stride 2 opens a new stage; what lies before
    the first one is the stem. So Lite0 has the maps `stem`, `stage1`, ... `stage4` with 16, 24, 40, 112, 320 channels
    at strides 2, 4, 8, 16, 32.
    """,
    checkpoint="efficientnet-lite0",
)
@strict
class EfficientNetLiteConfig(BackboneConfigMixin, PreTrainedConfig):
    r"""
    stem_channels (`int`, *optional*, defaults to 32):
        Channels of the first convolution.
    num_block_repeats (`list[int]`, *optional*, defaults to `(1, 2, 2, 3, 3, 4, 1)`):
        Blocks of every group.
    out_channels (`list[int]`, *optional*, defaults to `(16, 24, 40, 80, 112, 192, 320)`):
        Channels that every group gives.
    kernel_sizes (`list[int]`, *optional*, defaults to `(3, 3, 5, 3, 5, 5, 3)`):
        Kernel of the depthwise convolutions of every group, odd.
    strides (`list[int]`, *optional*, defaults to `(1, 2, 2, 2, 1, 2, 1)`):
        Stride of the first block of every group, 1 or 2.
    expand_ratios (`list[int]`, *optional*, defaults to `(1, 6, 6, 6, 6, 6, 6)`):
        How many times wider than its input a block is inside.
    batch_norm_eps (`float`, *optional*, defaults to 0.001):
        Epsilon of the batch norms, TensorFlow's default.

    Example:

    ```python
    >>> from ifc_hf import IfcConfig
    >>> from ifc_hf.model.configuration_efficientnet_lite import EfficientNetLiteConfig

    >>> backbone_config = EfficientNetLiteConfig(out_features=["stage2", "stage3", "stage4"])
    >>> config = IfcConfig(backbone_config=backbone_config, hidden_size=128, num_labels=40)

    ```"""

    model_type = "efficientnet_lite"

    num_channels: int = 3
    stem_channels: int = 32
    num_block_repeats: list[int] | tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    out_channels: list[int] | tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    kernel_sizes: list[int] | tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    strides: list[int] | tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    expand_ratios: list[int] | tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    batch_norm_eps: float = 1e-3

    def __post_init__(self, **kwargs):
        self.stage_names = ["stem"] + [f"stage{index}" for index in range(1, len(self.groups_of_parts()))]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
        super().__post_init__(**kwargs)

    def groups_of_parts(self) -> list[list[int]]:
        """The indices of the groups of blocks in the stem, in stage 1, and so on."""
        parts: list[list[int]] = [[]]
        for group, stride in enumerate(self.strides):
            if stride != 1:
                parts.append([])
            parts[-1].append(group)
        return parts

    def validate_groups(self):
        """Refuses lists of different lengths and values that no block can have.

        Raises:
            ValueError: Names the field, what it has to obey and what it is.
        """
        lengths = {name: len(getattr(self, name)) for name in GROUP_FIELDS}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{', '.join(GROUP_FIELDS)} must have one entry for every group, got {lengths} entries.")
        for name in GROUP_FIELDS:
            if any(value < 1 for value in getattr(self, name)):
                raise ValueError(f"{name} must be at least 1 everywhere, got {list(getattr(self, name))}.")
        if any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError(f"kernel_sizes must be odd, got {list(self.kernel_sizes)}.")
        if any(stride > 2 for stride in self.strides):
            raise ValueError(f"strides must be 1 or 2, got {list(self.strides)}.")


__all__ = ["EfficientNetLiteConfig"]

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
"""Configuration of IFC: the sizes of the network, the weights of its loss and the rules they have to obey."""

import copy
import os
from typing import TYPE_CHECKING

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import auto_docstring

from .configuration_efficientnet_lite import EfficientNetLiteConfig
from .limits import LIMITS, brief, check_between, is_integer, is_number

if TYPE_CHECKING:
    # Saving a configuration copies this file and what it imports, so this line brings all code into a model's folder.
    from .pipeline_ifc import VideoInstanceSegmentationPipeline as VideoInstanceSegmentationPipeline

# Here, because the configuration of a backbone is made with that of IFC, in a folder loaded without this package too.
AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)

# What `config.json` says about the code in its folder, for those who load it without this package.
AUTO_MAP = {
    "AutoConfig": "configuration_ifc.IfcConfig",
    "AutoImageProcessor": "image_processing_ifc.IfcImageProcessor",
    "AutoModel": "modeling_ifc.IfcModel",
    "AutoModelForInstanceSegmentation": "modeling_ifc.IfcForVideoInstanceSegmentation",
    "AutoModelForUniversalSegmentation": "modeling_ifc.IfcForVideoInstanceSegmentation",
}
CUSTOM_PIPELINES = {
    "video-instance-segmentation": {
        "impl": "pipeline_ifc.VideoInstanceSegmentationPipeline",
        "pt": ["AutoModelForInstanceSegmentation"],
        "type": "video",
    }
}


class RegisteredTask(dict):
    """Tells `pipeline` the task of a model, and that the package's pipeline serves it, so that no code needs trust."""

    def __contains__(self, task: object) -> bool:
        """Whether the folder's own code is to be used for a task: it isn't."""
        return False


@auto_docstring(
    custom_intro="""
    Configuration of an [`IfcModel`]. The defaults are those of the authors' ResNet-50 model for YouTube-VIS, apart
    from the labels, which belong to the data set.
    """,
    checkpoint="ifc-resnet-50-ytvis-2019",
)
@strict
class IfcConfig(PreTrainedConfig):
    r"""
    encoder_layers (`int`, *optional*, defaults to 3):
        Encoder layers. Each one gathers a frame into its memory tokens, then lets the frames exchange them.
    intermediate_size (`int`, *optional*, defaults to 2048):
        Width of the feed-forward networks.
    pre_norm (`bool`, *optional*, defaults to `False`):
        LayerNorm before instead of after attention and feed-forward. Off in every published model.
    num_queries (`int`, *optional*, defaults to 100):
        Object queries of a clip, which is the largest number of objects that one clip can show.
    num_memory_tokens (`int`, *optional*, defaults to 8):
        Memory tokens of every frame, the only way by which the encoder passes information between frames. 0 switches
        the communication off (the baseline of the paper's Table 1).
    num_frames (`int`, *optional*, defaults to 5):
        Frames of a training clip, and the default window of a whole video. The network takes any number.
    auxiliary_loss (`bool`, *optional*, defaults to `True`):
        Whether the earlier decoder layers are trained, too.
    class_cost (`float`, *optional*, defaults to 1.0):
        Weight of the class probability when queries are matched to instances.
    dice_cost (`float`, *optional*, defaults to 3.0):
        Weight of the mask overlap (dice) in the same matching.
    class_loss_coefficient (`float`, *optional*, defaults to 1.0):
        Weight of the cross entropy in the loss.
    mask_loss_coefficient (`float`, *optional*, defaults to 3.0):
        Weight of the sigmoid focal loss in the loss.
    dice_loss_coefficient (`float`, *optional*, defaults to 3.0):
        Weight of the dice loss in the loss.
    no_object_coefficient (`float`, *optional*, defaults to 0.1):
        Weight of the class "no object" in the cross entropy.
    mask_target_stride (`int`, *optional*, defaults to 4):
        Target masks are resized to 1/stride of the frame for matching and loss.
    frozen_backbone_stages (`int`, *optional*, defaults to 2):
        How many parts of the backbone never train, counted from its stem: 0 none, 1 the stem, 2 the stem and the first
        stage, and so on. Batch norm of the backbone is frozen always.
    default_threshold (`float`, *optional*):
        Least score of the tracks that pipeline, command line and app report unless told otherwise; 0.3 where it is
        `None`. `IfcVideoSegmenter` keeps the reference's 0.01.

    Example:

    ```python
    >>> from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation

    >>> config = IfcConfig(num_labels=40)
    >>> model = IfcForVideoInstanceSegmentation(config)
    >>> config.backbone_config.out_features
    ['stage2', 'stage3', 'stage4']

    ```"""

    model_type = "ifc"
    _auto_class = "AutoConfig"  # `register_for_auto_class` would import every Auto class
    is_encoder_decoder: bool = True
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="resnet",
            init_kwargs={"out_features": ["stage2", "stage3", "stage4"]},
        ),
    }
    attribute_map = {"num_hidden_layers": "encoder_layers"}
    keys_to_ignore_at_inference = ["loss_dict", "auxiliary_outputs"]
    custom_pipelines = RegisteredTask(CUSTOM_PIPELINES)  # of a folder with code, what its config.json says instead

    backbone_config: dict | PreTrainedConfig | None = None
    hidden_size: int = 256
    encoder_layers: int = 3
    decoder_layers: int = 3
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    dropout: float | int = 0.1
    activation_function: str = "relu"
    pre_norm: bool = False
    num_queries: int = 100
    num_memory_tokens: int = 8
    num_frames: int = 5
    auxiliary_loss: bool = True
    class_cost: float | int = 1.0
    dice_cost: float | int = 3.0
    class_loss_coefficient: float | int = 1.0
    mask_loss_coefficient: float | int = 3.0
    dice_loss_coefficient: float | int = 3.0
    no_object_coefficient: float | int = 0.1
    mask_target_stride: int = 4
    frozen_backbone_stages: int = 2
    default_threshold: float | int | None = None

    def __post_init__(self, **kwargs):
        # The code of a folder is for those without the package; `pipeline` would insist on trusting it.
        if not type(self).__module__.startswith("transformers_modules."):
            kwargs.pop("auto_map", None)
            kwargs.pop("custom_pipelines", None)
        # Transformers writes a name for every label.
        backbone = self.backbone_config if isinstance(self.backbone_config, dict) else {}
        for num_labels in (kwargs.get("num_labels"), backbone.get("num_labels")):
            if num_labels is not None and (not is_integer(num_labels) or not 0 <= num_labels <= LIMITS.width):
                raise ValueError(f"num_labels must be an integer up to {LIMITS.width}, got {brief(num_labels)}.")
        super().__post_init__(**kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs):
        """As [`~PreTrainedConfig.save_pretrained`]; the code of model, processor and pipeline goes along."""
        described = copy.deepcopy(self)
        described.update({"auto_map": dict(AUTO_MAP), "custom_pipelines": copy.deepcopy(CUSTOM_PIPELINES)})
        PreTrainedConfig.save_pretrained(described, save_directory, push_to_hub, **kwargs)

    def validate_architecture(self):
        """Refuses sizes with which the network can't be built.

        Raises:
            ValueError: Names the field, what it has to obey and what it is.
        """
        super().validate_architecture()
        for name, (least, greatest) in {
            "encoder_layers": (1, LIMITS.layers), "decoder_layers": (1, LIMITS.layers),
            "hidden_size": (1, LIMITS.width), "num_attention_heads": (1, LIMITS.width),
            "intermediate_size": (1, LIMITS.width), "num_queries": (1, LIMITS.width), "num_frames": (1, LIMITS.width),
            "mask_target_stride": (1, LIMITS.width), "num_memory_tokens": (0, LIMITS.width),
            "frozen_backbone_stages": (0, LIMITS.layers),
        }.items():  # fmt: skip
            check_between(getattr(self, name), least, greatest, name)
        for name in ("class_cost", "dice_cost", "class_loss_coefficient", "mask_loss_coefficient",
                     "dice_loss_coefficient", "no_object_coefficient"):  # fmt: skip
            if not is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise ValueError(f"{name} must be a finite number of 0 or more, got {brief(getattr(self, name))}.")
        layer_size = 8 * self.hidden_size**2 + 2 * self.hidden_size * self.intermediate_size
        parameters = (self.encoder_layers + self.decoder_layers) * layer_size
        if parameters > LIMITS.parameters:
            raise ValueError(
                f"encoder_layers, decoder_layers, hidden_size and intermediate_size make {parameters} parameters, "
                f"more than the limit of {LIMITS.parameters}."
            )
        self._check_backbone()
        if self.hidden_size % 32:
            raise ValueError(
                "hidden_size must be a multiple of 32 (the mask head normalises 32 groups of channels), "
                f"got {self.hidden_size}."
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_attention_heads, got {self.hidden_size} and "
                f"{self.num_attention_heads}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}.")
        if self.activation_function not in ACT2FN:
            raise ValueError(f"activation_function must be one of {sorted(ACT2FN)}, got {self.activation_function!r}.")
        out_features = getattr(self.backbone_config, "out_features", None)
        if out_features is not None and len(out_features) != 3:
            raise ValueError(
                "backbone_config.out_features must name three maps, of stride 8, 16 and 32 (for a ResNet: 'stage2', "
                f"'stage3', 'stage4'), got {list(out_features)}."
            )

    def _check_backbone(self):
        sizes = {} if self.backbone_config is None else vars(self.backbone_config)
        for name, value in sizes.items():
            values = value if isinstance(value, list | tuple) else [value]
            numbers = [number for number in values if is_integer(number)]
            limit = LIMITS.layers if name in ("depths", "num_hidden_layers") else LIMITS.width
            if numbers and (max(numbers) > limit or (name == "depths" and sum(numbers) > limit)):
                raise ValueError(f"backbone_config.{name} must be at most {limit}, got {brief(value)}.")


__all__ = ["IfcConfig"]

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
"""IFC, Inter-Frame Communication Transformers (NeurIPS 2021, arXiv 2106.03299): the whole forward pass.

```
pixel_values (B, T, 3, H, W)
      |  backbone, every frame alone
      +--- map of stride 8  (B, T, C8,  h,  w ) -------------------------------+
      +--- map of stride 16 (B, T, C16, h4, w4) ------------------------+      |
      |    map of stride 32 (B, T, C32, h5, w5)                         |      |
      |  1x1 convolution                                                |      |
      v                                                                 |      |
pixels + M memory tokens of every frame (B, T, h5*w5 + M, C)            |      |
      |  encoder layer: each frame gathers into its memory tokens,      |      |
      |                 then token m of all frames is exchanged         |      |
      +---------------------> encoded map (B, T, C, h5, w5) --------> mask head
      v                                                                 |
decoder: Q queries of the clip look at all tokens of all frames         |
      v                                                                 v
hidden states (B, Q, C) --- MLP ---> kernels (B, Q, C)  .  pixel features (B, T, C, h, w)
      |                                                 |
      v  MLP                                            v
class_queries_logits (B, Q, K+1)          masks_queries_logits (B, Q, T, h, w)
```

Letters: B clips, T frames of a clip, Q queries, K classes, M memory tokens, C width (`hidden_size`), (H, W) padded
frame size, (h, w), (h4, w4), (h5, w5) the sizes of the maps of stride 8, 16, 32, rounded up; P = h5*w5 pixels of a
frame.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.backbone_utils import load_backbone
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithCrossAttentions
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, auto_docstring, logging
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_ifc import IfcConfig
from .loss import ifc_loss, validate_labels
from .modeling_efficientnet_lite import EfficientNetLiteBackbone

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

logger = logging.get_logger(__name__)

BACKBONE_STRIDES = (8, 16, 32)

# A prepared attention mask in the form of the attention implementation: dense, or flex attention's block mask.
Mask: TypeAlias = "Tensor | BlockMask | None"

# Keywords that Transformers' own tools pass to any vision model or any encoder with a decoder. They change nothing
# here: positions fit every size, nothing is cached, and the decoder's input are learned queries.
KEYWORDS_WITHOUT_EFFECT = ("interpolate_pos_encoding", "use_cache", "decoder_input_ids", "decoder_attention_mask")
KNOWN_KEYWORDS = frozenset((*TransformersKwargs.__annotations__, *KEYWORDS_WITHOUT_EFFECT))


class IfcLossKwargs(TransformersKwargs, total=False):
    """
    Keywords of Transformers' models and another spelling of `labels`.

    Attributes:
        mask_labels (`list[torch.Tensor]`, *optional*):
            With `class_labels` another spelling of `labels`, that of Mask2Former: the `masks` of every clip.
        class_labels (`list[torch.Tensor]`, *optional*):
            The `class_labels` of every clip.
    """

    mask_labels: list[Tensor] | None
    class_labels: list[Tensor] | None


@auto_docstring(custom_intro="Everything that [`IfcModel`] finds out about a clip.")
@dataclass
class IfcModelOutput(ModelOutput):
    r"""
    last_hidden_state (`torch.FloatTensor` of shape `(B, Q, C)`):
        Hidden states of the queries after the last decoder layer and its LayerNorm.
    intermediate_hidden_states (`tuple[torch.FloatTensor]`, one of shape `(B, Q, C)` for every decoder layer):
        The same after every decoder layer, the last one included.
    encoder_last_hidden_state (`torch.FloatTensor` of shape `(B, T, C, h5, w5)`):
        Encoded map of stride 32.
    memory_tokens (`torch.FloatTensor` of shape `(B, T, M, C)`):
        Memory tokens of every frame after the last exchange.
    feature_maps (`tuple[torch.FloatTensor]`, of shape `(B, T, C8, h, w)` and `(B, T, C16, h4, w4)`):
        Maps of the backbone of stride 8 and 16. `None` when `frame_embeddings` were passed.
    decoder_hidden_states (`tuple[torch.FloatTensor]`, *optional*, returned with `output_hidden_states=True`):
        Input of the first and output of every decoder layer before the final LayerNorm, each `(B, Q, C)`.
    decoder_attentions (`tuple[torch.FloatTensor]`, *optional*, returned with `output_attentions=True`):
        Attention among the queries, one `(B, heads, Q, Q)` a layer.
    cross_attentions (`tuple[torch.FloatTensor]`, *optional*, returned with `output_attentions=True`):
        Attention of the queries to all tokens of the clip, one `(B, heads, Q, T * (P + M))` a layer; the P pixels of a
        frame come before its M memory tokens.
    encoder_hidden_states (`tuple[torch.FloatTensor]`, *optional*, returned with `output_hidden_states=True`):
        Input of the first and output of every encoder layer, each `(B, T, P + M, C)`.
    encoder_attentions (`tuple[torch.FloatTensor]`, *optional*, returned with `output_attentions=True`):
        Attention within the frames, one `(B * T, heads, P + M, P + M)` a layer.
    """

    last_hidden_state: Tensor | None = None
    intermediate_hidden_states: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    memory_tokens: Tensor | None = None
    feature_maps: tuple[Tensor, ...] | None = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


@auto_docstring(custom_intro="Objects of a clip: one class distribution and one mask per frame for every query.")
@dataclass
class IfcForVideoInstanceSegmentationOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `()`, *optional*, returned with `labels`):
        Weighted sum of the loss terms of all trained decoder layers.
    loss_dict (`dict[str, torch.FloatTensor]`, *optional*, returned with `labels`):
        Every term unweighted: `loss_ce`, `loss_mask`, `loss_dice` of the last layer, `loss_ce_0`, ... of the earlier
        ones; and, not trained, `class_error` (percent) and `cardinality_error`.
    class_queries_logits (`torch.FloatTensor` of shape `(B, Q, K+1)`):
        Class logits; the last one is "no object".
    masks_queries_logits (`torch.FloatTensor` of shape `(B, Q, T, h, w)`):
        Mask logits at stride 8.
    auxiliary_outputs (`list[dict[str, torch.FloatTensor]]`, *optional*, returned with `labels`):
        `class_queries_logits` and `masks_queries_logits` of the earlier decoder layers, first layer first; empty
        without `config.auxiliary_loss`.
    last_hidden_state (`torch.FloatTensor` of shape `(B, Q, C)`):
        Hidden states of the queries after the last decoder layer and its LayerNorm.
    encoder_last_hidden_state (`torch.FloatTensor` of shape `(B, T, C, h5, w5)`):
        Encoded map of stride 32.
    memory_tokens (`torch.FloatTensor` of shape `(B, T, M, C)`):
        Memory tokens of every frame after the last exchange.
    decoder_hidden_states (`tuple[torch.FloatTensor]`, *optional*, returned with `output_hidden_states=True`):
        See [`IfcModelOutput`], as for the four below.
    decoder_attentions (`tuple[torch.FloatTensor]`, *optional*, returned with `output_attentions=True`):
        Attention among the queries.
    cross_attentions (`tuple[torch.FloatTensor]`, *optional*, returned with `output_attentions=True`):
        Attention of the queries to all tokens of the clip.
    encoder_hidden_states (`tuple[torch.FloatTensor]`, *optional*, returned with `output_hidden_states=True`):
        Tokens of the frames around every encoder layer.
    encoder_attentions (`tuple[torch.FloatTensor]`, *optional*, returned with `output_attentions=True`):
        Attention within the frames.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    class_queries_logits: Tensor | None = None
    masks_queries_logits: Tensor | None = None
    auxiliary_outputs: list[dict[str, Tensor]] | None = None
    last_hidden_state: Tensor | None = None
    encoder_last_hidden_state: Tensor | None = None
    memory_tokens: Tensor | None = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


@auto_docstring
class IfcPreTrainedModel(PreTrainedModel):
    config: IfcConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ["video"]
    _no_split_modules = ["IfcEncoderLayer", "IfcDecoderLayer", "IfcMaskHead", "IfcMLP"]
    # What makes the transformer's input of the frames: accelerate asks for it when it shards a model.
    _input_embed_layer = "input_projection"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """One small clip, all zeros: `pixel_values` (1, 2, 3, 64, 64)."""
        return {"pixel_values": torch.zeros(1, 2, self._num_channels, 64, 64, dtype=self.dtype, device=self.device)}

    @property
    def _num_channels(self) -> int:
        return getattr(self.config.backbone_config, "num_channels", 3)

    def set_attn_implementation(self, attn_implementation: str | dict[str, Any], *args, **kwargs) -> None:
        """As [`~PreTrainedModel.set_attn_implementation`]; one name for all spares a backbone that can't take it."""
        if isinstance(attn_implementation, dict):
            super().set_attn_implementation(attn_implementation, *args, **kwargs)
            return
        super().set_attn_implementation({"": attn_implementation}, *args, **kwargs)
        for module in self.modules():
            if isinstance(module, IfcModel):
                offer_attn_implementation(module.backbone, attn_implementation)

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As [`~PreTrainedModel.from_pretrained`]; the frozen stages of the backbone stay frozen."""
        loaded = super().from_pretrained(*args, **kwargs)
        # Loading puts new parameters, which all require gradients, in the place of those of the constructor.
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for module in model.modules():
            if isinstance(module, IfcModel):
                module.freeze_backbone()
        return loaded

    @torch.no_grad()
    # Every kind of parameter has its rule here, so nothing is left for the base class.
    # trf-ignore: TRF018
    def _init_weights(self, module):
        """Initialises as the reference does.

        Modules without weights of their own never arrive here (Transformers passes them over in code that isn't its
        own), so the layers that start unlike PyTorch's have classes of their own.
        """
        if isinstance(module, IfcModel):
            # Kaiming normal, fan-out, for ReLU: the fan-out of an (M, C) table is M.
            for table in (module.memory_tokens, module.memory_position):
                init.normal_(table, std=math.sqrt(2 / max(1, self.config.num_memory_tokens)))
        elif isinstance(module, IfcXavierLinear):
            init.xavier_uniform_(module.weight, gain=module.gain)
            if module.has_zero_bias:
                init.zeros_(module.bias)
            else:
                _init_bias_as_torch(module)
        elif isinstance(module, IfcMaskConv2d):
            init.kaiming_uniform_(module.weight, a=1)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            _init_bias_as_torch(module)


def _init_bias_as_torch(module: nn.Linear | nn.Conv2d) -> None:
    if module.bias is not None:
        bound = 1 / math.sqrt(module.weight[0].numel())
        init.uniform_(module.bias, -bound, bound)


@auto_docstring(custom_intro="The bare network: backbone, encoder with memory tokens, decoder, without heads.")
class IfcModel(IfcPreTrainedModel):
    # A checkpoint of the model with its heads is a checkpoint of the bare network, too.
    _keys_to_ignore_on_load_unexpected = [r"^class_head\.", r"^mask_head\."]

    def __init__(self, config: IfcConfig):
        super().__init__(config)
        self.backbone = make_backbone(config)
        freeze_batch_norms(self.backbone)
        self.input_projection = nn.Conv2d(self.backbone.channels[-1], config.hidden_size, kernel_size=1)
        self.position_embedding = IfcSinePositionEmbedding(config.hidden_size)
        self.memory_tokens = nn.Parameter(torch.empty(config.num_memory_tokens, config.hidden_size))
        self.memory_position = nn.Parameter(torch.empty(config.num_memory_tokens, config.hidden_size))
        self.encoder = IfcEncoder(config)
        self.query_embedding = nn.Embedding(config.num_queries, config.hidden_size)
        self.decoder = IfcDecoder(config)
        self.post_init()
        self.freeze_backbone()

    def freeze_backbone(self) -> None:
        """Takes the first `config.frozen_backbone_stages` parts (stem, stage 1, ...) out of training."""
        # CODEPATH: the authors' checkpoints freeze two parts; 0 is for backbones trained whole.
        if not self.config.frozen_backbone_stages:
            return
        # Some backbones are the model itself (ResNet), others hold it (Swin).
        backbone = getattr(self.backbone, self.backbone.base_model_prefix, self.backbone)
        stem = getattr(backbone, "embedder", None) or getattr(backbone, "embeddings", None)
        encoder = getattr(backbone, "encoder", None)
        stages = getattr(encoder, "stages", None) or getattr(encoder, "layers", None)
        if stem is None or stages is None:
            logger.warning_once(
                f"No stem and stages were found in {type(self.backbone).__name__}, so none of its weights are frozen. "
                "Set `frozen_backbone_stages=0` to say that this is meant."
            )
            return
        for part in [stem, *stages][: self.config.frozen_backbone_stages]:
            part.requires_grad_(False)

    def extract_feature_maps(self, pixel_values: Tensor, pixel_mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Runs the backbone over all frames.

        Args:
            pixel_values: (B, T, 3, H, W).
            pixel_mask: (B, T, H, W), True = real pixel. What lies in padded pixels doesn't matter: it is set to zero.

        Returns:
            Maps of stride 8, 16 and 32: (B, T, channels, ceil(H/stride), ceil(W/stride)).

        Raises:
            ValueError: If the maps of the backbone have other strides.
        """
        batch_size, num_frames = pixel_values.shape[:2]
        frames = pixel_values.flatten(0, 1).to(self.dtype)
        if pixel_mask is not None:
            frames = frames.masked_fill(~pixel_mask.flatten(0, 1)[:, None].bool(), 0.0)
        feature_maps = self.backbone(frames).feature_maps
        if not torch.compiler.is_compiling():
            _check_strides(feature_maps, frames.shape[-2:])
        return tuple(feature_map.unflatten(0, (batch_size, num_frames)) for feature_map in feature_maps)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: Tensor | None = None,
        pixel_mask: Tensor | None = None,
        frame_embeddings: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> IfcModelOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(B, T, 3, H, W)`, *optional*):
            Normalised frames of B clips.
        pixel_mask (`torch.BoolTensor` of shape `(B, T, H, W)`, *optional*):
            True for real pixels, False for padding: at the bottom and right, or a whole frame that only fills up the
            batch. By default all pixels are real.
        frame_embeddings (`torch.FloatTensor` of shape `(B, T, C, h5, w5)`, *optional*):
            Projected maps of stride 32 instead of `pixel_values`, for callers that keep them between clips.
        """
        options = known_keywords(kwargs, type(self).__name__)
        feature_maps: list[Tensor] | None = None
        if pixel_values is not None and frame_embeddings is None:
            check_clip_inputs(pixel_values, pixel_mask, num_channels=self._num_channels)
            *feature_maps, last_map = self.extract_feature_maps(pixel_values, pixel_mask)
            frame_embeddings = self.input_projection(last_map.flatten(0, 1)).unflatten(0, last_map.shape[:2])
        elif pixel_values is not None or frame_embeddings is None:
            raise ValueError("Exactly one of pixel_values and frame_embeddings is needed.")
        map_size = frame_embeddings.shape[-2:]
        # Every 32nd pixel: the pixel of a map is real if its row and column lie within ceil(frame size / 32).
        map_mask = None if pixel_mask is None else pixel_mask[..., ::32, ::32].bool()

        tokens = self.tokens(frame_embeddings)
        position = self.positions(frame_embeddings, map_mask)
        encoder_outputs = self.encoder(tokens, token_mask=map_mask, position=position, **options)

        decoder_outputs = self.decoder(
            self.queries(tokens),
            encoder_hidden_states=encoder_outputs.last_hidden_state,
            token_mask=map_mask,
            encoder_position=position,
            **options,
        )
        pixels, memory = split_memory(encoder_outputs.last_hidden_state, self.config.num_memory_tokens)
        return IfcModelOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            intermediate_hidden_states=decoder_outputs.intermediate_hidden_states,
            encoder_last_hidden_state=pixels.transpose(2, 3).unflatten(3, map_size),
            memory_tokens=memory,
            feature_maps=None if feature_maps is None else tuple(feature_maps),
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=decoder_outputs.cross_attentions,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )

    def tokens(self, frame_embeddings: Tensor) -> Tensor:
        """Pixels of every frame, then its memory tokens: (B, T, C, h5, w5) -> (B, T, P + M, C)."""
        return self._with_memory(frame_embeddings.flatten(3).transpose(2, 3), self.memory_tokens)

    def positions(self, frame_embeddings: Tensor, map_mask: Tensor | None = None) -> Tensor:
        """Positions (B, T, P + M, C) of these tokens; the (B, T, h5, w5) mask is True for real pixels."""
        return self._with_memory(self.position_embedding(frame_embeddings, map_mask), self.memory_position)

    def queries(self, tokens: Tensor) -> Tensor:
        """The learned queries (B, Q, C) for a batch of tokens (B, ...)."""
        # Looked up, not read: weights that accelerate has offloaded come when their module is called.
        indices = torch.arange(self.config.num_queries, device=tokens.device)
        return self.query_embedding(indices).expand(tokens.shape[0], -1, -1)

    def _with_memory(self, pixels: Tensor, memory: Tensor) -> Tensor:
        """Appends the (M, C) table to the (B, T, P, C) pixels of every frame: (B, T, P + M, C)."""
        return torch.cat([pixels, memory.to(pixels.dtype).expand(*pixels.shape[:2], -1, -1)], dim=2)


@auto_docstring(custom_intro="IFC with its two heads: the class of every query, and its mask in every frame.")
class IfcForVideoInstanceSegmentation(IfcPreTrainedModel):
    def __init__(self, config: IfcConfig):
        super().__init__(config)
        self.model = IfcModel(config)
        self.class_head = IfcMLP(config.hidden_size, config.num_labels + 1, num_layers=2)
        self.mask_head = IfcMaskHead(config, self.model.backbone.channels)
        # A plain function: a module here would silently give way to Transformers' language model loss.
        self.loss_function = ifc_loss
        self.post_init()
        self.model.freeze_backbone()

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        labels: list[dict[str, Tensor]] | None = None,
        **kwargs: Unpack[IfcLossKwargs],
    ) -> IfcForVideoInstanceSegmentationOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(B, T, 3, H, W)`):
            Normalised frames of B clips.
        pixel_mask (`torch.BoolTensor` of shape `(B, T, H, W)`, *optional*):
            True for real pixels, False for padding: at the bottom and right, or a whole frame that only fills up the
            batch. By default all pixels are real.
        labels (`list[dict[str, torch.Tensor]]`, *optional*):
            For every clip `class_labels`, integers of shape `(N,)` in [0, K), and `masks` of shape `(N, T, H, W)` of 0
            and 1. An instance that isn't visible in a frame has an empty mask there. `mask_labels` and `class_labels`,
            a list of each, say the same in Mask2Former's way.

        Examples:

        ```python
        >>> import torch
        >>> from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation

        >>> model = IfcForVideoInstanceSegmentation(IfcConfig(num_labels=40)).eval()
        >>> with torch.inference_mode():
        ...     outputs = model(torch.randn(1, 5, 3, 96, 160))
        >>> outputs.class_queries_logits.shape, outputs.masks_queries_logits.shape
        (torch.Size([1, 100, 41]), torch.Size([1, 100, 5, 12, 20]))

        ```"""
        # Not parameters: `Trainer` takes every parameter with "label" in its name for one that each batch has.
        mask_labels, class_labels = kwargs.pop("mask_labels", None), kwargs.pop("class_labels", None)
        labels = merge_labels(labels, mask_labels, class_labels)
        options = known_keywords(kwargs, type(self).__name__, ("labels", "mask_labels", "class_labels"))
        if labels is not None:
            check_clip_inputs(pixel_values, pixel_mask)
            validate_labels(
                labels,
                batch_size=pixel_values.shape[0],
                num_frames=pixel_values.shape[1],
                frame_size_hw=tuple(pixel_values.shape[-2:]),
                num_classes=self.config.num_labels,
            )
        outputs = self.model(pixel_values, pixel_mask, **options)
        pixel_features = self.mask_head(outputs.encoder_last_hidden_state, *outputs.feature_maps)
        class_logits = self.class_head(outputs.last_hidden_state)  # (B, Q, K+1)
        mask_logits = self.mask_head.predict(outputs.last_hidden_state, pixel_features)  # (B, Q, T, h, w)

        loss = loss_dict = auxiliary_outputs = None
        if labels is not None:
            # CODEPATH: on for the authors' checkpoints; off to train the last layer alone.
            earlier_layers = outputs.intermediate_hidden_states[:-1] if self.config.auxiliary_loss else ()
            auxiliary_outputs = [
                {
                    "class_queries_logits": self.class_head(hidden_states),
                    "masks_queries_logits": self.mask_head.predict(hidden_states, pixel_features),
                }
                for hidden_states in earlier_layers
            ]
            loss, loss_dict = self.loss_function(
                [*(layer["class_queries_logits"] for layer in auxiliary_outputs), class_logits],
                [*(layer["masks_queries_logits"] for layer in auxiliary_outputs), mask_logits],
                labels,
                frame_size_hw=tuple(pixel_values.shape[-2:]),
                mask_target_stride=self.config.mask_target_stride,
                class_cost=self.config.class_cost,
                dice_cost=self.config.dice_cost,
                class_loss_coefficient=self.config.class_loss_coefficient,
                mask_loss_coefficient=self.config.mask_loss_coefficient,
                dice_loss_coefficient=self.config.dice_loss_coefficient,
                no_object_coefficient=self.config.no_object_coefficient,
            )

        return IfcForVideoInstanceSegmentationOutput(
            loss=loss,
            loss_dict=loss_dict,
            class_queries_logits=class_logits,
            masks_queries_logits=mask_logits,
            auxiliary_outputs=auxiliary_outputs,
            last_hidden_state=outputs.last_hidden_state,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            memory_tokens=outputs.memory_tokens,
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions,
            cross_attentions=outputs.cross_attentions,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
        )


class IfcMaskHead(nn.Module):
    """Turns the encoded map and the finer backbone maps into C features a pixel, and the queries into masks.

    Args:
        config: Its `hidden_size` is the width C throughout.
        backbone_channels: Channels of the backbone maps of stride 8, 16 and 32.
    """

    def __init__(self, config: IfcConfig, backbone_channels: list[int]):
        super().__init__()
        width = config.hidden_size
        channels_8, channels_16, _ = backbone_channels
        self.conv_32 = IfcMaskConv2d(width, width, kernel_size=3, padding=1)
        self.norm_32 = IfcGroupNorm(32, width)
        self.lateral_16 = IfcMaskConv2d(channels_16, width, kernel_size=1)
        self.conv_16 = IfcMaskConv2d(width, width, kernel_size=3, padding=1)
        self.norm_16 = IfcGroupNorm(32, width)
        self.lateral_8 = IfcMaskConv2d(channels_8, width, kernel_size=1)
        self.conv_8 = IfcMaskConv2d(width, width, kernel_size=3, padding=1)
        self.norm_8 = IfcGroupNorm(32, width)
        self.depthwise = IfcMaskConv2d(width, width, kernel_size=5, padding=2, groups=width)
        self.pointwise = IfcMaskConv2d(width, width, kernel_size=1)
        self.query_mlp = IfcMLP(width, width, num_layers=3)

    def forward(self, encoded_map: Tensor, feature_map_8: Tensor, feature_map_16: Tensor) -> Tensor:
        """Features of every pixel.

        Args:
            encoded_map: (B, T, C, h5, w5), from the encoder.
            feature_map_8: (B, T, C8, h, w), from the backbone.
            feature_map_16: (B, T, C16, h4, w4), from the backbone.

        Returns:
            (B, T, C, h, w).
        """
        laterals = self.project(feature_map_8.flatten(0, 1), feature_map_16.flatten(0, 1))
        return self.refine(encoded_map.flatten(0, 1), *laterals).unflatten(0, encoded_map.shape[:2])

    def project(self, feature_map_8: Tensor, feature_map_16: Tensor) -> tuple[Tensor, Tensor]:
        """Brings the (frames, C8, h, w) and (frames, C16, h4, w4) maps to width C, every frame alone."""
        return self.lateral_8(feature_map_8), self.lateral_16(feature_map_16)

    def refine(self, encoded_map: Tensor, lateral_8: Tensor, lateral_16: Tensor) -> Tensor:
        """From the encoded (frames, C, h5, w5) map up to (frames, C, h, w), every frame alone."""
        hidden = self.norm_32(self.conv_32(encoded_map))
        hidden = nn.functional.interpolate(hidden, size=lateral_16.shape[-2:], mode="nearest") + lateral_16
        hidden = self.norm_16(self.conv_16(hidden))
        hidden = nn.functional.interpolate(hidden, size=lateral_8.shape[-2:], mode="nearest") + lateral_8
        hidden = self.norm_8(self.conv_8(hidden)).relu()
        return self.pointwise(self.depthwise(hidden).relu()).relu()

    def predict(self, hidden_states: Tensor, pixel_features: Tensor) -> Tensor:
        """Mask logits (B, Q, T, h, w) of the (B, Q, C) queries on the (B, T, C, h, w) pixel features."""
        return torch.einsum("bqc,btchw->bqthw", self.query_mlp(hidden_states), pixel_features)


class IfcMaskConv2d(nn.Conv2d):
    """Convolution of the mask head; starts with Kaiming uniform weights (a=1) and no bias."""


class IfcGroupNorm(nn.GroupNorm):
    """Group norm of groups of any size: PyTorch's own refuses a group of one value, as in a map of one pixel."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return torch.group_norm(hidden_states, self.num_groups, self.weight, self.bias, self.eps)


class IfcMLP(nn.Module):
    """Linear layers with ReLU between them, all but the last of the input's width."""

    def __init__(self, width: int, output_size: int, num_layers: int):
        super().__init__()
        sizes = [width] * num_layers + [output_size]
        self.layers = nn.ModuleList(nn.Linear(sizes[i], sizes[i + 1]) for i in range(num_layers))

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., width) -> (..., output_size)."""
        *hidden_layers, last_layer = self.layers
        for layer in hidden_layers:
            hidden_states = layer(hidden_states).relu()
        return last_layer(hidden_states)


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[Tensor, Tensor]:
    """Attention over (batch, heads, length, head size) with an additive mask: (batch, length, heads, head size)."""
    scores = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.dropout(scores.softmax(-1), p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class IfcAttention(nn.Module):
    """Multi-head attention; positions are added to queries and keys, never to values."""

    def __init__(self, config: IfcConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        width = config.hidden_size
        # The reference packs query, key and value into one (3C, C) matrix, which halves the variance of Xavier's rule.
        self.q_proj = IfcXavierLinear(width, width, gain=math.sqrt(0.5), has_zero_bias=True)
        self.k_proj = IfcXavierLinear(width, width, gain=math.sqrt(0.5), has_zero_bias=True)
        self.v_proj = IfcXavierLinear(width, width, gain=math.sqrt(0.5), has_zero_bias=True)
        self.o_proj = IfcXavierLinear(width, width, has_zero_bias=True)

    def forward(
        self,
        query_states: Tensor,
        key_states: Tensor,
        value_states: Tensor,
        attention_mask: Mask = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[Tensor, Tensor | None]:
        """From (batch, queries, C) to (batch, keys, C): what was found, (batch, queries, C), and the weights."""
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        output, weights = attend(
            self,
            self._split_heads(self.q_proj(query_states)),
            self._split_heads(self.k_proj(key_states)),
            self._split_heads(self.v_proj(value_states)),
            attention_mask,
            scaling=self.scaling,
            dropout=self.config.dropout if self.training else 0.0,
            **kwargs,
        )
        return self.o_proj(output.flatten(2)), weights

    def _split_heads(self, states: Tensor) -> Tensor:
        """(batch, length, C) -> (batch, heads, length, head size)."""
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class IfcSelfAttention(IfcAttention):
    """Attention within a frame (encoder) or among the queries (decoder)."""


class IfcCrossAttention(IfcAttention):
    """Attention of the queries to the tokens of all frames."""


class IfcMemoryAttention(IfcAttention):
    """Attention of a memory token to its counterparts in all frames of the clip."""


class IfcXavierLinear(nn.Linear):
    """Linear layer of the transformer; starts with Xavier uniform weights."""

    def __init__(self, in_features: int, out_features: int, gain: float = 1.0, has_zero_bias: bool = False):
        super().__init__(in_features, out_features)
        self.gain = gain
        self.has_zero_bias = has_zero_bias


class IfcFeedForward(nn.Module):
    def __init__(self, config: IfcConfig):
        super().__init__()
        self.up_proj = IfcXavierLinear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.activation_function]
        self.dropout = nn.Dropout(config.dropout)
        self.down_proj = IfcXavierLinear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.down_proj(self.dropout(self.activation(self.up_proj(hidden_states))))


class IfcResidual(nn.Module):
    """Adds to its input what a sublayer makes of it; LayerNorm after the sum or, with pre-norm, before."""

    def __init__(self, config: IfcConfig):
        super().__init__()
        self.pre_norm = config.pre_norm
        self.norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden_states: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """(..., C) -> (..., C)."""
        if self.pre_norm:
            return hidden_states + self.dropout(sublayer(self.norm(hidden_states)))
        return self.norm(hidden_states + self.dropout(sublayer(hidden_states)))


class IfcTransformerBlock(nn.Module):
    """Self attention and feed-forward, each with its residual."""

    def __init__(self, config: IfcConfig, attention_class: type[IfcAttention]):
        super().__init__()
        self.attention = attention_class(config)
        self.attention_residual = IfcResidual(config)
        self.feed_forward = IfcFeedForward(config)
        self.feed_forward_residual = IfcResidual(config)

    def forward(
        self, hidden_states: Tensor, attention_mask: Mask = None, position: Tensor | None = None, **kwargs
    ) -> Tensor:
        """(batch, length, C) -> (batch, length, C)."""

        def attend(states: Tensor) -> Tensor:
            placed = states if position is None else states + position
            return self.attention(placed, placed, states, attention_mask, **kwargs)[0]

        return self.feed_forward_residual(self.attention_residual(hidden_states, attend), self.feed_forward)


class IfcEncoderLayer(GradientCheckpointingLayer):
    """Gathers every frame into its memory tokens, then exchanges them between the frames.

    Token m of a frame sees token m of every frame of the clip, and no other: the exchange attends over time alone.
    """

    def __init__(self, config: IfcConfig):
        super().__init__()
        self.num_memory_tokens = config.num_memory_tokens
        self.gather = IfcTransformerBlock(config, IfcSelfAttention)
        # CODEPATH: all checkpoints have memory tokens; only the baseline without communication has none. It gets no
        # exchange either: weights that never get a gradient would stop a training in several processes.
        self.communicate = IfcTransformerBlock(config, IfcMemoryAttention) if config.num_memory_tokens else None

    def forward(
        self,
        hidden_states: Tensor,
        frame_mask: Mask = None,
        time_mask: Mask = None,
        position: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> Tensor:
        """(B, T, P + M, C) -> (B, T, P + M, C)."""
        tokens = self.gather(hidden_states.flatten(0, 1), frame_mask, position, **kwargs)
        return self.exchange(tokens.unflatten(0, hidden_states.shape[:2]), time_mask, **kwargs)

    def exchange(self, tokens: Tensor, time_mask: Mask = None, **kwargs: Unpack[TransformersKwargs]) -> Tensor:
        """Lets every memory token see its counterparts: (B, T, P + M, C) -> (B, T, P + M, C)."""
        if self.communicate is None:
            return tokens
        batch_size = tokens.shape[0]
        pixels, memory = split_memory(tokens, self.num_memory_tokens)
        memory = memory.transpose(1, 2).flatten(0, 1)  # (B, T, M, C) -> (B * M, T, C)
        memory = self.communicate(memory, time_mask, **kwargs)
        memory = memory.unflatten(0, (batch_size, -1)).transpose(1, 2)  # (B * M, T, C) -> (B, T, M, C)
        return torch.cat([pixels, memory], dim=2)


class IfcEncoder(IfcPreTrainedModel):
    _can_record_outputs = {"hidden_states": IfcEncoderLayer, "attentions": IfcSelfAttention}

    def __init__(self, config: IfcConfig):
        super().__init__(config)
        self.layers = nn.ModuleList(IfcEncoderLayer(config) for _ in range(config.encoder_layers))
        # CODEPATH: post-norm in the authors' checkpoints; their code can train pre-norm ones.
        self.pixel_norm = nn.LayerNorm(config.hidden_size) if config.pre_norm else nn.Identity()
        # CODEPATH: as above.
        self.memory_norm = nn.LayerNorm(config.hidden_size) if config.pre_norm else nn.Identity()
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    # Called by IfcModel alone: its own docstring, with shapes, says more than a generated one.
    # trf-ignore: TRF057
    def forward(
        self,
        inputs_embeds: Tensor,
        token_mask: Tensor | None,
        position: Tensor,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """Encodes the frames of a clip together.

        Args:
            inputs_embeds: (B, T, P + M, C), the pixels of each frame, then its memory tokens.
            token_mask: (B, T, h5, w5), True = real pixel.
            position: (B, T, P + M, C).
        """
        frame_mask, time_mask = self._attention_masks(inputs_embeds, token_mask)
        hidden_states = inputs_embeds
        position = position.flatten(0, 1)
        for layer in self.layers:
            hidden_states = layer(hidden_states, frame_mask, time_mask, position, **kwargs)

        return BaseModelOutput(last_hidden_state=self.normalize(hidden_states))

    def normalize(self, tokens: Tensor) -> Tensor:
        """The last norms, of pre-norm encoders alone: (B, T, P + M, C) -> (B, T, P + M, C)."""
        pixels, memory = split_memory(tokens, self.config.num_memory_tokens)
        return torch.cat([self.pixel_norm(pixels), self.memory_norm(memory)], dim=2)

    def _attention_masks(self, tokens: Tensor, token_mask: Tensor | None) -> tuple[Mask, Mask]:
        """Masks of the attention within the frames and over time, in the form of the attention implementation."""
        num_memory_tokens = self.config.num_memory_tokens
        frame_keys = time_keys = None
        if token_mask is not None:
            frame_keys = nn.functional.pad(token_mask.flatten(2), (0, num_memory_tokens), value=True).flatten(0, 1)
            # A frame that is nothing but padding has nothing to tell the others.
            is_real_frame = token_mask.flatten(2).any(-1)  # (B, T)
            time_keys = is_real_frame.repeat_interleave(num_memory_tokens, dim=0)  # (B * M, T)
        memory = tokens[:, :, :num_memory_tokens].transpose(1, 2).flatten(0, 1)  # (B * M, T, C), for its shape alone
        return (
            create_bidirectional_mask(self.config, tokens.flatten(0, 1), frame_keys),
            create_bidirectional_mask(self.config, memory, time_keys) if num_memory_tokens else None,
        )


class IfcDecoderLayer(GradientCheckpointingLayer):
    """Attention among the queries, attention to the tokens of all frames, feed-forward."""

    def __init__(self, config: IfcConfig):
        super().__init__()
        self.self_attention = IfcSelfAttention(config)
        self.self_attention_residual = IfcResidual(config)
        self.cross_attention = IfcCrossAttention(config)
        self.cross_attention_residual = IfcResidual(config)
        self.feed_forward = IfcFeedForward(config)
        self.feed_forward_residual = IfcResidual(config)

    def forward(
        self,
        hidden_states: Tensor,
        query_position: Tensor,
        encoder_hidden_states: Tensor,
        encoder_position: Tensor,
        query_mask: Mask = None,
        encoder_mask: Mask = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> Tensor:
        """(B, Q, C) queries and (B, T * (P + M), C) tokens -> (B, Q, C)."""

        def attend_to_queries(states: Tensor) -> Tensor:
            placed = states + query_position
            return self.self_attention(placed, placed, states, query_mask, **kwargs)[0]

        def attend_to_frames(states: Tensor) -> Tensor:
            placed, keys = states + query_position, encoder_hidden_states + encoder_position
            return self.cross_attention(placed, keys, encoder_hidden_states, encoder_mask, **kwargs)[0]

        hidden_states = self.self_attention_residual(hidden_states, attend_to_queries)
        hidden_states = self.cross_attention_residual(hidden_states, attend_to_frames)
        return self.feed_forward_residual(hidden_states, self.feed_forward)


@dataclass
# Internal: its docstring says all there is.
# trf-ignore: TRF057
class IfcDecoderOutput(BaseModelOutputWithCrossAttentions):
    """Adds the normalised hidden states of every layer, each (B, Q, C), to the usual outputs of a decoder."""

    intermediate_hidden_states: tuple[Tensor, ...] | None = None


class IfcDecoder(IfcPreTrainedModel):
    _can_record_outputs = {
        "hidden_states": IfcDecoderLayer,
        "attentions": IfcSelfAttention,
        "cross_attentions": IfcCrossAttention,
    }

    def __init__(self, config: IfcConfig):
        super().__init__(config)
        self.layers = nn.ModuleList(IfcDecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    # Called by IfcModel alone: its own docstring, with shapes, says more than a generated one.
    # trf-ignore: TRF057
    def forward(
        self,
        query_position: Tensor,
        encoder_hidden_states: Tensor,
        token_mask: Tensor | None,
        encoder_position: Tensor,
        **kwargs: Unpack[TransformersKwargs],
    ) -> IfcDecoderOutput:
        """Lets the queries of a clip find their objects in all of its frames.

        Args:
            query_position: (B, Q, C), the learned queries; what they find starts from zero.
            encoder_hidden_states: (B, T, P + M, C).
            token_mask: (B, T, h5, w5), True = real pixel.
            encoder_position: (B, T, P + M, C).
        """
        tokens = encoder_hidden_states.flatten(1, 2)  # (B, T * (P + M), C)
        position = encoder_position.flatten(1, 2)
        hidden_states = torch.zeros_like(query_position)
        encoder_keys = None
        if token_mask is not None:
            pixel_keys = token_mask.flatten(2)
            memory_keys = pixel_keys.any(-1, keepdim=True).expand(-1, -1, self.config.num_memory_tokens)
            encoder_keys = torch.cat([pixel_keys, memory_keys], dim=2).flatten(1)
        encoder_mask = create_bidirectional_mask(
            self.config, hidden_states, encoder_keys, encoder_hidden_states=tokens
        )
        query_mask = create_bidirectional_mask(self.config, hidden_states, None)

        intermediate_hidden_states = []
        for layer in self.layers:
            hidden_states = layer(hidden_states, query_position, tokens, position, query_mask, encoder_mask, **kwargs)
            intermediate_hidden_states.append(self.norm(hidden_states))
        return IfcDecoderOutput(
            last_hidden_state=intermediate_hidden_states[-1],
            intermediate_hidden_states=tuple(intermediate_hidden_states),
        )


class IfcSinePositionEmbedding(nn.Module):
    """DETR's sine encoding of a pixel's place in its frame: C/2 features for the row, then C/2 for the column.

    Rows and columns are counted over real pixels and scaled so that the last one lies at 2 pi.
    """

    def __init__(self, hidden_size: int, temperature: float = 10000.0, eps: float = 1e-6):
        super().__init__()
        self.num_features = hidden_size // 2
        self.temperature = temperature
        self.eps = eps

    def forward(self, frame_embeddings: Tensor, map_mask: Tensor | None = None) -> Tensor:
        """Positions (B, T, P, C) for (B, T, C, h5, w5) maps; the (B, T, h5, w5) mask is True for real pixels."""
        if map_mask is None:
            batch_size, num_frames, _, height, width = frame_embeddings.shape
            is_real = frame_embeddings.new_ones((1, 1, height, width), dtype=torch.float32)
            position = self._encode(is_real).expand(batch_size, num_frames, -1, -1)
        else:
            position = self._encode(map_mask.float())
        return position.to(frame_embeddings.dtype)

    def _encode(self, is_real: Tensor) -> Tensor:
        # In float32 whatever the model's type: a half precision count goes wrong beyond 256 (bfloat16) rows.
        exponents = torch.arange(0, self.num_features, 2, device=is_real.device, dtype=torch.float32)
        wavelengths = self.temperature ** (exponents / self.num_features)
        features = []
        for axis in (-2, -1):
            count = is_real.cumsum(axis)
            last = count.narrow(axis, count.shape[axis] - 1, 1)
            angles = (count / (last + self.eps) * (2 * math.pi))[..., None] / wavelengths
            features.append(torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2))
        return torch.cat(features, dim=-1).flatten(2, 3)  # (B, T, h5, w5, C) -> (B, T, P, C)


class IfcFrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine part are constants, in training too.

    "BatchNorm" in the name is what the initialisation of Transformers' ResNet looks for.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Buffer(torch.ones(num_features))
        self.bias = nn.Buffer(torch.zeros(num_features))
        self.running_mean = nn.Buffer(torch.zeros(num_features))
        self.running_var = nn.Buffer(torch.ones(num_features))

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return nn.functional.batch_norm(
            hidden_states, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


def make_backbone(config: IfcConfig) -> Any:
    """Makes the backbone of `config.backbone_config`, a model and a `BackboneMixin`, with random weights."""
    backbone_config: Any = config.backbone_config  # a dict only while the configuration is made
    requested = backbone_config._attn_implementation
    # Asks whether the backbone was told by name; nothing is dispatched by it.
    # trf-ignore: TRF051
    is_for_all = requested is not None and requested == config._attn_implementation
    if is_for_all:
        backbone_config._attn_implementation = None  # what it takes by itself
    backbone = _make_backbone(config, backbone_config)
    if is_for_all:
        offer_attn_implementation(backbone, requested)
    return backbone


def _make_backbone(config: IfcConfig, backbone_config: Any) -> Any:
    # CODEPATH: small checkpoints of ours have this trunk, those of the authors a ResNet. `AutoBackbone` goes by the
    # class of the configuration, and code from one folder of the Hub can yield two classes of a name.
    if backbone_config.model_type == EfficientNetLiteBackbone.config_class.model_type:
        return EfficientNetLiteBackbone._from_config(backbone_config)
    return load_backbone(config)


def offer_attn_implementation(backbone: PreTrainedModel, attn_implementation: str) -> None:
    """Sets a backbone's implementation of attention; one without attention, or not of this kind, stays as it is."""
    try:
        backbone.set_attn_implementation(attn_implementation)
    except (ImportError, ValueError) as error:
        logger.debug(f"{type(backbone).__name__} keeps {backbone.config._attn_implementation!r}: {error}")


def freeze_batch_norms(module: nn.Module) -> None:
    """Replaces every `nn.BatchNorm2d` below a module by an [`IfcFrozenBatchNorm2d`], which starts as it was."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = IfcFrozenBatchNorm2d(child.num_features, child.eps)
            if child.weight.device.type != "meta":
                frozen.load_state_dict(child.state_dict(), strict=False)
            setattr(module, name, frozen)
        else:
            freeze_batch_norms(child)


def split_memory(tokens: Tensor, num_memory_tokens: int) -> tuple[Tensor, Tensor]:
    """(B, T, P + M, C) -> pixels (B, T, P, C) and memory tokens (B, T, M, C)."""
    num_pixels = tokens.shape[2] - num_memory_tokens
    return tokens[:, :, :num_pixels], tokens[:, :, num_pixels:]


def known_keywords(kwargs: Mapping[str, Any], owner: str, parameters: tuple[str, ...] = ()) -> dict[str, Any]:
    """Keywords of a forward pass without those that have no effect.

    Args:
        kwargs: What came.
        owner: Whose forward pass it is, for the error.
        parameters: Further names that it takes, for the error.

    Raises:
        TypeError: If a keyword means nothing to the model: a misspelt `labels` would train nothing, without a word.
    """
    if unknown := sorted(set(kwargs) - KNOWN_KEYWORDS):
        names = sorted(
            {"pixel_values", "pixel_mask", *parameters, *KNOWN_KEYWORDS}.difference(KEYWORDS_WITHOUT_EFFECT)
        )
        near = [match for name in unknown for match in get_close_matches(name, names, n=1)]
        hint = f"did you mean {', '.join(near)}?" if near else f"known are {', '.join(names)}"
        raise TypeError(f"{owner}: unknown keyword {', '.join(unknown)}; {hint}")
    return {name: value for name, value in kwargs.items() if name not in KEYWORDS_WITHOUT_EFFECT}


def merge_labels(
    labels: list[dict[str, Tensor]] | None, mask_labels: list[Tensor] | None, class_labels: list[Tensor] | None
) -> list[dict[str, Tensor]] | None:
    """Labels of a batch in one form, whichever of the two came.

    Args:
        labels: For every clip `class_labels` (N,) and `masks` (N, T, H, W).
        mask_labels: The masks of every clip.
        class_labels: The class labels of every clip.

    Raises:
        ValueError: If both forms came, or half of the second, or its halves are of unequal length.
    """
    if mask_labels is None and class_labels is None:
        return labels
    if labels is not None:
        raise ValueError("expected either labels, or mask_labels and class_labels, got both")
    if mask_labels is None or class_labels is None:
        missing = "mask_labels" if mask_labels is None else "class_labels"
        raise ValueError(f"mask_labels and class_labels belong together, but {missing} is missing")
    if len(mask_labels) != len(class_labels):
        raise ValueError(
            "mask_labels and class_labels need an entry for every clip, "
            f"got {len(mask_labels)} and {len(class_labels)}"
        )
    return [
        {"class_labels": classes, "masks": masks} for classes, masks in zip(class_labels, mask_labels, strict=True)
    ]


def check_clip_inputs(pixel_values: Tensor, pixel_mask: Tensor | None = None, num_channels: int = 3) -> None:
    """Refuses what can't be a batch of clips.

    Raises:
        ValueError: Says what was expected and what came.
    """
    if pixel_values.ndim != 5 or pixel_values.shape[2] != num_channels:
        raise ValueError(
            f"pixel_values must have the shape (clips, frames, {num_channels}, height, width), got "
            f"{tuple(pixel_values.shape)}. A single clip needs a leading axis: pixel_values[None]."
        )
    if 0 in pixel_values.shape:
        raise ValueError(
            f"pixel_values must hold at least one clip, frame and pixel, got {tuple(pixel_values.shape)}."
        )
    expected_mask_shape = (*pixel_values.shape[:2], *pixel_values.shape[-2:])
    if pixel_mask is not None and tuple(pixel_mask.shape) != expected_mask_shape:
        raise ValueError(
            f"pixel_mask must have the shape (clips, frames, height, width) = {expected_mask_shape}, got "
            f"{tuple(pixel_mask.shape)}."
        )
    # A traced graph can't look at values.
    if not torch.compiler.is_compiling() and not torch.isfinite(pixel_values).all():
        is_bad = ~torch.isfinite(pixel_values).flatten(2).all(-1)
        clip, frame = is_bad.nonzero()[0].tolist()
        raise ValueError(f"pixel_values must be finite, but clip {clip}, frame {frame} holds NaN or infinite values.")


def _check_strides(feature_maps: tuple[Tensor, ...], frame_size: torch.Size) -> None:
    found = [tuple(feature_map.shape[-2:]) for feature_map in feature_maps]
    expected = [tuple(-(-size // stride) for size in frame_size) for stride in BACKBONE_STRIDES]
    if found != expected:
        raise ValueError(
            f"The backbone must give maps of stride 8, 16 and 32, which for frames of {tuple(frame_size)} are of the "
            f"sizes {expected}, but its maps are {found}. Choose other out_features in backbone_config."
        )


__all__ = ["IfcForVideoInstanceSegmentation", "IfcModel", "IfcPreTrainedModel"]

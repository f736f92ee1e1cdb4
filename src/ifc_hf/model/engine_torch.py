"""The network in PyTorch without the work that windows share; equal to `Engine` up to rounding.

What it saves: batch norms are folded into the convolutions before them, and ReLU works in place; the first encoder
layer gathers a frame once and not once a window; of the mask head's 3x3 convolutions, which are linear, the part that
comes from the backbone is computed once a frame, and the part of the doubled map on the small map.

Letters: as in `engine`.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .engine import EncodedWindow, Engine, EngineSettings, FrameFeatures
from .upsampled_convolution import UpsampledConvolution

if TYPE_CHECKING:
    from .modeling_ifc import IfcForVideoInstanceSegmentation

# Below, the parts of the mask head that are computed once a frame cost more than they save in the windows.
LEAST_WINDOWS_PER_FRAME = 2.0


class TorchEngine(Engine):
    """A lean engine; it copies the weights of backbone and mask head, all else is the model's."""

    def __init__(self, model: "IfcForVideoInstanceSegmentation", settings: EngineSettings) -> None:
        super().__init__(model, settings)
        self.backbone: Any = fold_batch_norms(model.model.backbone)
        self.mask_head = nn.utils.convert_conv2d_weight_memory_format(
            copy.deepcopy(model.mask_head).requires_grad_(False), torch.channels_last
        )
        self.splits_mask_head = settings.windows_per_frame >= LEAST_WINDOWS_PER_FRAME
        if self.splits_mask_head:
            self.doubled_8 = UpsampledConvolution(self.mask_head.conv_8.weight)
            self.doubled_16 = UpsampledConvolution(self.mask_head.conv_16.weight)
        self._positions: dict[tuple[int, int], Tensor] = {}

    def frame_maps(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Engine`; the tokens (F, P + M, C) have been gathered by the first encoder layer."""
        map_8, map_16, map_32 = self.backbone(frames).feature_maps
        model = self.model.model
        embeddings = model.input_projection(map_32)
        position = self.position(map_size(embeddings)).expand(len(frames), -1, -1)
        tokens = model.encoder.layers[0].gather(model.tokens(embeddings[:, None])[:, 0], position=position)
        map_8, map_16 = self.mask_head.project(map_8, map_16)
        if self.splits_mask_head:
            map_8, map_16 = self.mask_head.conv_8(map_8), self.mask_head.conv_16(map_16)
        return tokens, map_8, map_16

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Sequence[FrameFeatures]]) -> list[EncodedWindow]:
        """See `Engine`."""
        tokens = torch.stack([torch.cat([frame.tokens for frame in window]) for window in windows])
        height, width = map_size(windows[0][0].map_16)
        queries, maps = self.encode(tokens, (-(-height // 2), -(-width // 2)))
        return [EncodedWindow(*window) for window in zip(queries, maps, strict=True)]

    def encode(self, tokens: Tensor, map_size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Queries (B, Q, C) and encoded maps (B, T, C, h5, w5) of gathered tokens (B, T, P + M, C)."""
        model = self.model.model
        position = self.position(map_size_hw).expand_as(tokens)
        first, *others = model.encoder.layers
        tokens = first.exchange(tokens)
        for layer in others:
            tokens = layer(tokens, position=position.flatten(0, 1))
        tokens = model.encoder.normalize(tokens)
        queries = model.decoder(
            model.queries(tokens), encoder_hidden_states=tokens, token_mask=None, encoder_position=position
        ).last_hidden_state
        return queries, tokens[:, :, : map_size_hw[0] * map_size_hw[1]].transpose(2, 3).unflatten(3, map_size_hw)

    def pixel_features(self, encoded_map: Tensor, map_8: Tensor, map_16: Tensor) -> Tensor:
        """See `Engine`."""
        head = self.mask_head
        encoded_map = encoded_map.contiguous(memory_format=torch.channels_last)
        if not self.splits_mask_head:
            return head.refine(encoded_map, map_8, map_16)
        hidden = head.norm_32(head.conv_32(encoded_map))
        hidden = head.norm_16(self.doubled_16(hidden, map_size(map_16)).add_(map_16))
        hidden = head.norm_8(self.doubled_8(hidden, map_size(map_8)).add_(map_8)).relu_()
        return head.pointwise(head.depthwise(hidden).relu_()).relu_()

    def position(self, map_size_hw: tuple[int, int]) -> Tensor:
        """Positions (P + M, C) of the tokens of a frame, made once for every size of the map."""
        position = self._positions.get(map_size_hw)
        if position is None:
            width = self.model.config.hidden_size
            blank = torch.zeros((1, 1, width, *map_size_hw), dtype=self.model.dtype, device=self.model.device)
            position = self._positions[map_size_hw] = self.model.model.positions(blank)[0, 0]
        return position


class CompiledEngine(TorchEngine):
    """A lean engine whose backbone inductor compiles, once for every size of frames; that takes about a minute."""

    def __init__(self, model: "IfcForVideoInstanceSegmentation", settings: EngineSettings) -> None:
        super().__init__(model, settings)
        # Of torch 2.13, inductor stops at dynamic sizes on a CPU.
        self.backbone = torch.compile(self.backbone, dynamic=False)


def map_size(maps: Tensor) -> tuple[int, int]:
    """Height and width of maps (..., height, width)."""
    return maps.shape[-2], maps.shape[-1]


def fold_batch_norms(backbone: nn.Module) -> nn.Module:
    """A copy of a backbone for inference: frozen batch norms folded into the convolutions before them, channels last.

    Works on modules that hold a `convolution`, its `normalization` and an `activation`, as Transformers' ResNet does;
    their ReLU works in place, for nobody else sees what the convolution gives. Other modules stay. Results differ from
    the original by rounding: in float32 by about 1e-6 of their size.
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
            activation.inplace = True
    return nn.utils.convert_conv2d_weight_memory_format(backbone, torch.channels_last)


__all__ = ["CompiledEngine", "TorchEngine"]

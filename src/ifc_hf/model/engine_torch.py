"""The network in PyTorch without the work that windows share; equal to `Engine` up to rounding.

What it saves: batch norms are folded into the convolutions before them, and on a CPU oneDNN does ReLU and sum in the
same pass; the first encoder layer gathers a frame once and not once a window; of the mask head's 3x3 convolutions,
which are linear, the part that comes from the backbone is computed once a frame, and that of the doubled map on the
small map.

Letters: as in `engine`.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .engine import EncodedWindow, Engine, EngineSettings, FrameFeatures
from .fused_convolution import fold_batch_norms, fuse_activations
from .upsampled_convolution import UpsampledConvolution

if TYPE_CHECKING:
    from .modeling_ifc import IfcForVideoInstanceSegmentation

# Below, the parts of the mask head that are computed once a frame cost more than they save in the windows.
LEAST_WINDOWS_PER_FRAME = 2.0


class TorchEngine(Engine):
    """A lean engine; it copies the weights of backbone and mask head, all else is the model's."""

    def __init__(self, model: "IfcForVideoInstanceSegmentation", settings: EngineSettings) -> None:
        super().__init__(model, settings)
        self.mask_head = nn.utils.convert_conv2d_weight_memory_format(
            copy.deepcopy(model.mask_head).requires_grad_(False), torch.channels_last
        )
        # In half precision the sums that the split needs would lose digits.
        self.splits_mask_head = settings.windows_per_frame >= LEAST_WINDOWS_PER_FRAME and model.dtype == torch.float32
        if self.splits_mask_head:
            self.doubled_8 = UpsampledConvolution(self.mask_head.conv_8.weight)
            self.doubled_16 = UpsampledConvolution(self.mask_head.conv_16.weight)
        self._positions: dict[tuple[int, int], Tensor] = {}
        self.prepare_networks()

    def prepare_networks(self) -> None:
        """Makes what `frame_maps` and `encode` run."""
        backbone = fold_batch_norms(self.model.model.backbone)
        if (self.model.device.type, self.model.dtype) == ("cpu", torch.float32):
            fuse_activations(backbone)
        self.frame_network = FrameNetwork(self.model.model, backbone, self.mask_head, self.splits_mask_head)
        self.window_network = WindowNetwork(self.model.model)

    def frame_maps(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Engine`; the tokens (F, P + M, C) have been gathered by the first encoder layer."""
        return self.frame_network(frames, self.position(map_size_32(frames)))

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Sequence[FrameFeatures]]) -> list[EncodedWindow]:
        """See `Engine`."""
        tokens = torch.stack([torch.cat([frame.tokens for frame in window]) for window in windows])
        height, width = windows[0][0].map_16.shape[-2:]
        map_size_hw = (-(-height // 2), -(-width // 2))
        queries, tokens = self.encode(tokens, self.position(map_size_hw))
        num_pixels = map_size_hw[0] * map_size_hw[1]
        maps = tokens[:, :, :num_pixels].transpose(2, 3).unflatten(3, map_size_hw)  # (B, T, C, h5, w5)
        return [EncodedWindow(*window) for window in zip(queries, maps, strict=True)]

    def encode(self, tokens: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """See `WindowNetwork.forward`."""
        return self.window_network(tokens, position)

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

    def prepare_networks(self) -> None:
        """See `TorchEngine`."""
        # Of torch 2.13, inductor stops at dynamic sizes on a CPU.
        backbone = torch.compile(fold_batch_norms(self.model.model.backbone), dynamic=False)
        self.frame_network = FrameNetwork(self.model.model, backbone, self.mask_head, self.splits_mask_head)
        self.window_network = WindowNetwork(self.model.model)


class FrameNetwork(nn.Module):
    """What is computed of a frame alone.

    Args:
        model: An `IfcModel`.
        backbone: Its backbone, prepared for inference.
        mask_head: The mask head.
        splits_mask_head: Whether to convolve what the mask head takes from the backbone.
    """

    def __init__(self, model: Any, backbone: Any, mask_head: Any, splits_mask_head: bool) -> None:
        super().__init__()
        self.model, self.backbone, self.mask_head = model, backbone, mask_head
        self.splits_mask_head = splits_mask_head

    def forward(self, frames: Tensor, position: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Of frames (F, 3, H, W), whose positions (P + M, C) may be given, what `Engine.frame_maps` gives."""
        map_8, map_16, map_32 = self.backbone(frames).feature_maps
        embeddings = self.model.input_projection(map_32)[:, None]  # (F, 1, C, h5, w5)
        tokens = self.model.tokens(embeddings)[:, 0]
        positions = self.model.positions(embeddings)[:, 0] if position is None else position.expand_as(tokens)
        tokens = self.model.encoder.layers[0].gather(tokens, position=positions)
        map_8, map_16 = self.mask_head.project(map_8, map_16)
        if self.splits_mask_head:
            map_8, map_16 = self.mask_head.conv_8(map_8), self.mask_head.conv_16(map_16)
        return tokens, map_8, map_16


class WindowNetwork(nn.Module):
    """Encoder and decoder from where `FrameNetwork` ends.

    Args:
        model: An `IfcModel`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, Q, C) and encoded tokens of gathered ones (B, T, P + M, C) at positions (P + M, C)."""
        position = position.expand_as(tokens)
        first, *others = self.model.encoder.layers
        tokens = first.exchange(tokens)
        for layer in others:
            tokens = layer(tokens, position=position.flatten(0, 1))
        tokens = self.model.encoder.normalize(tokens)
        decoded = self.model.decoder(
            self.model.queries(tokens), encoder_hidden_states=tokens, token_mask=None, encoder_position=position
        )
        return decoded.last_hidden_state, tokens


def map_size(maps: Tensor) -> tuple[int, int]:
    """Height and width of maps (..., height, width)."""
    return maps.shape[-2], maps.shape[-1]


def map_size_32(frames: Tensor) -> tuple[int, int]:
    """Height and width of the map of stride 32 of frames (..., H, W)."""
    return -(-frames.shape[-2] // 32), -(-frames.shape[-1] // 32)


__all__ = ["CompiledEngine", "TorchEngine"]

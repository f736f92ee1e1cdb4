"""The network for inference on videos: what depends on one frame alone is computed once, the rest for every window.

```
pixel values of frames --features--> FrameFeatures of each frame, kept while a window needs them
                                          |  the frames of a window
                                          v
                     encode_windows --> EncodedWindow --find_instances--> mask logits, class probabilities
```

`Engine` does it operation by operation as the model's forward pass; the others give the same faster.

Letters: B windows, T frames of a window, F frames, Q queries, N instances, K classes, M memory tokens, C width, (H, W)
frame size as the network sees it, (h, w), (h4, w4), (h5, w5) maps of stride 8, 16, 32, P = h5 * w5.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .modeling_ifc import IfcForVideoInstanceSegmentation


class EngineSettings(NamedTuple):
    """How an engine works.

    Attributes:
        frames_per_batch: Frames that go through backbone and mask head together.
        windows_per_frame: How many windows a frame is in, T / S.
    """

    frames_per_batch: int
    windows_per_frame: float


class FrameFeatures(NamedTuple):
    """What the network needs of a frame, whatever window it is in.

    Attributes:
        tokens: What the encoder begins with: (1, C, h5, w5) or, for engines that begin it themselves, (P + M, C).
        map_8: (1, C, h, w), what the mask head adds at stride 8.
        map_16: (1, C, h4, w4), what it adds at stride 16.
    """

    tokens: Tensor
    map_8: Tensor
    map_16: Tensor


class EncodedWindow(NamedTuple):
    """What encoder and decoder make of a window.

    Attributes:
        queries: (Q, C), hidden states of the queries.
        encoded_map: (T, C, h5, w5).
    """

    queries: Tensor
    encoded_map: Tensor


class Engine:
    """The model's own operations, one after the other.

    Args:
        model: An `IfcForVideoInstanceSegmentation` in evaluation mode.
        settings: How to work.
    """

    def __init__(self, model: "IfcForVideoInstanceSegmentation", settings: EngineSettings) -> None:
        self.model = model
        self.settings = settings

    @torch.inference_mode()
    def features(self, pixel_values: Sequence[Tensor]) -> list[FrameFeatures]:
        """What is needed of each of some frames (3, H, W) of one size."""
        found: list[FrameFeatures] = []
        for part in parts(len(pixel_values), self.settings.frames_per_batch):
            frames = torch.stack(list(pixel_values[part]))
            if not is_offloaded(self.model):
                frames = frames.to(self.model.device)
            maps = self.frame_maps(frames.to(self.model.dtype, memory_format=torch.channels_last))
            found += [FrameFeatures(*frame_maps) for frame_maps in zip(*(m.split(1) for m in maps), strict=True)]
        return found

    def frame_maps(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`FrameFeatures` of frames (F, 3, H, W), one tensor (F, ...) for each field."""
        map_8, map_16, map_32 = self.model.model.backbone(frames).feature_maps
        return self.model.model.input_projection(map_32), *self.model.mask_head.project(map_8, map_16)

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Sequence[FrameFeatures]]) -> list[EncodedWindow]:
        """Encoder and decoder over windows of one length and size."""
        embeddings = torch.stack([torch.cat([frame.tokens for frame in window]) for window in windows])
        outputs = self.model.model(frame_embeddings=embeddings)  # (B, T, C, h5, w5)
        rows = zip(outputs.last_hidden_state, outputs.encoder_last_hidden_state, strict=True)
        return [EncodedWindow(queries, encoded_map) for queries, encoded_map in rows]

    @torch.inference_mode()
    def find_instances(self, window: EncodedWindow, frames: Sequence[FrameFeatures]) -> tuple[Tensor, Tensor]:
        """The heads.

        Args:
            window: Of `encode_windows`.
            frames: Its T frames.

        Returns:
            Of the queries whose best class is an object: mask logits (N, T, h, w) and class probabilities (N, K+1),
            both float32.
        """
        probabilities = self.model.class_head(window.queries).float().softmax(-1)  # (Q, K+1)
        is_object = probabilities.argmax(-1) != probabilities.shape[-1] - 1
        queries = window.queries[is_object]
        if not len(queries):
            size_hw = frames[0].map_8.shape[-2:]
            return probabilities.new_zeros(0, len(frames), *size_hw), probabilities[is_object]
        mask_logits = []
        for part in parts(len(frames), self.settings.frames_per_batch):
            maps = (torch.cat([frame.map_8 for frame in frames[part]]), torch.cat([f.map_16 for f in frames[part]]))
            pixel_features = self.pixel_features(window.encoded_map[part], *maps)
            mask_logits.append(self.model.mask_head.predict(queries[None], pixel_features[None])[0])
        return torch.cat(mask_logits, dim=1).float(), probabilities[is_object]

    def pixel_features(self, encoded_map: Tensor, map_8: Tensor, map_16: Tensor) -> Tensor:
        """Features (F, C, h, w) of the pixels of F frames with the encoded map (F, C, h5, w5)."""
        return self.model.mask_head.refine(encoded_map, map_8, map_16)


def is_offloaded(model: torch.nn.Module) -> bool:
    """Whether accelerate keeps weights elsewhere and brings them when a module is called."""
    return any(parameter.is_meta for parameter in model.parameters())


def parts(length: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover a sequence."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


__all__ = ["Engine"]

"""The network ready for inference on videos: what depends on one frame alone, and what on a window.

```
pixel values of frames --features--> FrameFeatures of each frame, kept while a window needs them
                                          |  the frames of a window
                                          v
                     encode_windows --> queries, encoded map --> find_instances --> mask logits, class probabilities
```

Letters: B windows, T frames of a window, Q queries, N instances, K classes, C width, (H, W) frame size as the network
sees it, (h, w), (h4, w4), (h5, w5) maps of stride 8, 16, 32.
"""

import copy
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

if TYPE_CHECKING:
    from .modeling_ifc import IfcForVideoInstanceSegmentation


class FrameFeatures(NamedTuple):
    """What the network needs of a frame, whatever window it is in.

    Attributes:
        embedding: (C, h5, w5), the projected map of stride 32.
        lateral_8: (C, h, w), what the mask head adds at stride 8.
        lateral_16: (C, h4, w4), what it adds at stride 16.
    """

    embedding: Tensor
    lateral_8: Tensor
    lateral_16: Tensor


class EncodedWindow(NamedTuple):
    """What encoder and decoder make of a window.

    Attributes:
        queries: (Q, C), hidden states of the queries.
        encoded_map: (T, C, h5, w5).
    """

    queries: Tensor
    encoded_map: Tensor


class TorchEngine:
    """A model in PyTorch, with the batch norms of its backbone folded into the convolutions.

    Args:
        model: An `IfcForVideoInstanceSegmentation` in evaluation mode. The backbone is copied.
        frames_per_batch: Frames that go through backbone and mask head together.
    """

    def __init__(self, model: "IfcForVideoInstanceSegmentation", frames_per_batch: int) -> None:
        self.model = model
        self.frames_per_batch = frames_per_batch
        self.backbone = fold_batch_norms(model.model.backbone)

    @torch.inference_mode()
    def features(self, pixel_values: Sequence[Tensor]) -> list[FrameFeatures]:
        """Runs the backbone over frames (3, H, W) of one size."""
        found: list[FrameFeatures] = []
        for part in parts(len(pixel_values), self.frames_per_batch):
            frames = torch.stack(list(pixel_values[part]))
            if self.model.device.type != "meta":  # what is offloaded has hooks that know where to go
                frames = frames.to(self.model.device)
            frames = frames.to(self.model.dtype, memory_format=torch.channels_last)
            map_8, map_16, map_32 = self.backbone(frames).feature_maps
            maps = (self.model.model.input_projection(map_32), *self.model.mask_head.project(map_8, map_16))
            found += [FrameFeatures(*frame_maps) for frame_maps in zip(*maps, strict=True)]
        return found

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Sequence[FrameFeatures]]) -> list[EncodedWindow]:
        """Runs encoder and decoder over windows of one length and size."""
        embeddings = torch.stack([torch.stack([frame.embedding for frame in window]) for window in windows])
        outputs = self.model.model(frame_embeddings=embeddings)  # (B, T, C, h5, w5)
        rows = zip(outputs.last_hidden_state, outputs.encoder_last_hidden_state, strict=True)
        return [EncodedWindow(queries, encoded_map) for queries, encoded_map in rows]

    @torch.inference_mode()
    def find_instances(self, window: EncodedWindow, frames: Sequence[FrameFeatures]) -> tuple[Tensor, Tensor]:
        """Reads the heads.

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
            size_hw = frames[0].lateral_8.shape[-2:]
            return probabilities.new_zeros(0, len(frames), *size_hw), probabilities[is_object]
        mask_logits = [
            self.predict_masks(queries, window.encoded_map[part], frames[part])
            for part in parts(len(frames), self.frames_per_batch)
        ]
        return torch.cat(mask_logits, dim=1).float(), probabilities[is_object]

    def predict_masks(self, queries: Tensor, encoded_map: Tensor, frames: Sequence[FrameFeatures]) -> Tensor:
        """Mask logits (N, frames, h, w) of (N, C) queries on the (frames, C, h5, w5) map of some frames."""
        lateral_8, lateral_16 = (torch.stack([frame[level] for frame in frames]) for level in (1, 2))
        pixel_features = self.model.mask_head.refine(encoded_map, lateral_8, lateral_16)
        return self.model.mask_head.predict(queries[None], pixel_features[None])[0]


class EngineKeeper:
    """Makes the engine of a model, and makes it anew when the model's weights are others than before.

    Any number of threads may ask at once. Copies and pickles start empty.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._engine: TorchEngine | None = None
        self._made_of: object = None

    def __deepcopy__(self, memo: object) -> "EngineKeeper":
        return EngineKeeper()

    def __reduce__(self) -> tuple[type["EngineKeeper"], tuple[()]]:
        return EngineKeeper, ()

    def engine_of(self, model: "IfcForVideoInstanceSegmentation", frames_per_batch: int) -> TorchEngine:
        """The engine of the model as it is now; puts the model into evaluation mode."""
        with self._lock:
            if model.training:
                model.eval()
            made_of = (model, frames_per_batch, backbone_state(model.model.backbone))
            if self._engine is None or made_of != self._made_of:
                self._engine, self._made_of = TorchEngine(model, frames_per_batch), made_of
            return self._engine


def backbone_state(backbone: nn.Module) -> tuple[list[tuple[Any, ...]], list[float]]:
    """What tells whether weights were changed: of every tensor its identity, place, type, version and sum.

    Versions alone don't show what is written to `parameter.data`; sums cost about as much as one copy of the weights.
    """
    tensors = [*backbone.parameters(), *backbone.buffers()]
    sums = torch.stack([tensor.detach().sum(dtype=torch.float32) for tensor in tensors if not tensor.is_meta])
    identities = [(id(tensor), tensor.device, tensor.dtype, version_of(tensor)) for tensor in tensors]
    return identities, sums.tolist()


def version_of(tensor: Tensor) -> int:
    """How often a tensor was written to; tensors made in inference mode don't count."""
    return 0 if tensor.is_inference() else tensor._version


def fold_batch_norms(backbone: nn.Module) -> nn.Module:
    """A copy of a backbone for inference: frozen batch norms folded into the convolutions before them, channels last.

    Works on modules that hold a `convolution` and its `normalization`, as Transformers' ResNet does; others stay.
    Results differ from the original by rounding: in float32 by about 1e-6 of their size. A backbone whose weights are
    elsewhere (offloaded by accelerate) is returned as it is.
    """
    if any(tensor.is_meta for tensor in backbone.parameters()):
        return backbone
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
    return nn.utils.convert_conv2d_weight_memory_format(backbone, torch.channels_last)


def parts(length: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover a sequence."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


__all__ = ["EngineKeeper", "TorchEngine"]

"""Whole videos: windows of frames through the model, instances of all windows joined into tracks.

```
frames --processor, backbone--> features of each frame, kept while a window needs them
                                     |  windows of T frames, S apart
                                     v
        encoder, decoder, heads --> instances of the window --> IfcClipTracker
                                                                     |  frames that no later window touches
                                                                     v
                                          mean mask logits --> masks at output size --> FrameResult, RLE
```

Letters: L frames of the video, T of a window (`num_frames`), S `clip_stride`, N instances, K classes, C model width,
(H0, W0) output size, (h, w) mask logits at stride 8.
"""

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .frames import frame_size_hw, to_frame
from .masks import encode_rles, masks_to_boxes_xyxy
from .post_processing import resized_above
from .tracking import IfcClipTracker, TrackedFrame

if TYPE_CHECKING:
    from .image_processing_ifc import IfcImageProcessor
    from .modeling_ifc import IfcForVideoInstanceSegmentation

MAX_RAW_PIXELS = 2**23  # of the frames that are held at once in their full size; a 4K frame has as many


@dataclass
class FrameResult:
    """What is known of one frame once no later window can change its masks.

    Attributes:
        frame_index: Position in the video, from 0.
        track_ids: n tracks that have a mask here, ascending.
        masks: (n, H0, W0) bool, on the CPU.
        scores: (n,) best class probability of each track, a mean over the windows so far.
        labels: (n,) the class it belongs to.
    """

    frame_index: int
    track_ids: list[int]
    masks: Tensor
    scores: Tensor
    labels: Tensor


class IfcVideoSegmenter:
    """Finds, outlines and tracks the objects of a video.

    Args:
        model: An `IfcForVideoInstanceSegmentation`; put into eval mode. Its backbone is copied, with the batch norms
            folded into the convolutions: make a new segmenter after training on.
        processor: An `IfcImageProcessor`; it decides about resizing.
        num_frames: Frames T of a window; default: `model.config.num_frames`. A shorter video is one window.
        clip_stride: Frames S from one window to the next. With S > T some frames lie in no window and stay empty.
        score_threshold: A track is reported under a class if its mean probability exceeds this.
        multi_label: Whether a track is reported under every such class, as the reference does it, or the best alone.
        match_threshold: Instances of two windows are the same object only if their soft IoU exceeds this.
        frames_per_batch: Frames that go through the backbone together. 1 gives a webcam the shortest delay.

    Memory holds the features of T + `frames_per_batch` frames and the masks of the windows that overlap: O(T),
    whatever the length L of the video, plus the RLEs where they are kept. Time is O(L * T / S).

    Example:
        >>> segmenter = IfcVideoSegmenter(model, processor)  # doctest: +SKIP
        >>> segmenter(frames)[0]["label"]  # doctest: +SKIP
        'rabbit'

    Source: IFC paper, section 3.3.
    """

    def __init__(
        self,
        model: "IfcForVideoInstanceSegmentation",
        processor: "IfcImageProcessor",
        num_frames: int | None = None,
        clip_stride: int = 1,
        score_threshold: float = 0.01,
        multi_label: bool = True,
        match_threshold: float = 0.05,
        frames_per_batch: int = 4,
    ) -> None:
        self.num_frames = model.config.num_frames if num_frames is None else num_frames
        for name, value in (
            ("num_frames", self.num_frames),
            ("clip_stride", clip_stride),
            ("frames_per_batch", frames_per_batch),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.model = model.eval()
        self.processor = processor
        self.clip_stride = clip_stride
        self.score_threshold = score_threshold
        self.multi_label = multi_label
        self.match_threshold = match_threshold
        self.frames_per_batch = frames_per_batch
        self._backbone = fold_batch_norms(model.model.backbone)
        self._start(output_size=None, keep_segmentations=True)

    def __call__(self, frames: Iterable[Any], output_size: tuple[int, int] | None = None) -> list[dict[str, Any]]:
        """Segments a whole video.

        Args:
            frames: Any iterable of frames of one size: PIL images, PyAV frames, (H, W, 3) or (3, H, W) arrays or
                tensors.
            output_size: (H0, W0) of the masks; default: that of the frames.

        Returns:
            One dict for every track and class above the threshold, best score first: `track_id`, `label_id`, `label`,
            `score`, `segmentations` (L COCO RLEs, None where the track isn't visible) and `boxes` (L boxes xyxy in
            pixels, or None).

        Raises:
            ValueError: If there is no frame, or a frame differs in size from the first.
        """
        for _ in self.stream(frames, output_size):
            pass
        return self.tracks()

    def stream(
        self, frames: Iterable[Any], output_size: tuple[int, int] | None = None, keep_segmentations: bool = True
    ) -> Iterator[FrameResult]:
        """Segments a video of any length while it comes in.

        Args:
            frames: As for calling.
            output_size: As for calling.
            keep_segmentations: Whether `tracks()` shall know the masks afterwards. They are kept as RLE, some hundred
                bytes a frame and track; False for an endless source.

        Yields:
            Every frame in order, as soon as no later window can change its masks: about T frames behind the source.
            The scores are those so far.

        Raises:
            ValueError: If there is no frame, or a frame differs in size from the first.
        """
        self._start(output_size, keep_segmentations)
        for window in self._windows(frames):
            [encoded] = self._encode_windows([self._window_features(window)])
            yield from self._track(window, *encoded)
        yield from self._finish_frames(self._num_read)

    def segment_batch(
        self, videos: Sequence[Iterable[Any]], output_size: tuple[int, int] | None = None
    ) -> list[list[dict[str, Any]]]:
        """Segments several videos side by side: windows of equal size go through encoder and decoder together.

        Memory holds for every video what calling holds for one.

        Args:
            videos: Each as for calling; they may differ in size and length.
            output_size: As for calling.

        Returns:
            For every video what calling gives, up to rounding.

        Raises:
            ValueError: As for calling.
        """
        segmenters = [copy.copy(self) for _ in videos]  # they share the model, and start with memories of their own
        for segmenter in segmenters:
            segmenter._start(output_size, keep_segmentations=True)
        running = {segmenter: segmenter._windows(video) for segmenter, video in zip(segmenters, videos, strict=True)}
        while running:
            groups = defaultdict(list)
            for segmenter, windows in list(running.items()):
                if (window := next(windows, None)) is None:
                    del running[segmenter]
                    _exhaust(segmenter._finish_frames(segmenter._num_read))
                else:
                    features = segmenter._window_features(window)
                    groups[features.shape].append((segmenter, window, features))
            for group in groups.values():
                encoded_windows = self._encode_windows([features for *_, features in group])
                for (segmenter, window, _), encoded in zip(group, encoded_windows, strict=True):
                    _exhaust(segmenter._track(window, *encoded))
        return [segmenter.tracks() for segmenter in segmenters]

    def tracks(self) -> list[dict[str, Any]]:
        """The tracks of the last video, as calling returns them; after `stream` too.

        After `stream(..., keep_segmentations=False)` there is no `segmentations` and no `boxes`.
        """
        results = []
        for track_id, probabilities in enumerate(self._tracker.class_probabilities()[:, :-1].cpu()):
            labels = range(len(probabilities)) if self.multi_label else [int(probabilities.argmax())]
            for label_id in labels:
                score = float(probabilities[label_id])
                if score > self.score_threshold:
                    results.append(self._describe_track(track_id, label_id, score))
        return sorted(results, key=lambda result: -result["score"])

    def _describe_track(self, track_id: int, label_id: int, score: float) -> dict[str, Any]:
        label = self.model.config.id2label[label_id]
        result: dict[str, Any] = {"track_id": track_id, "label_id": label_id, "label": label, "score": score}
        if self._keep_segmentations:
            seen = self._segmentations.get(track_id, {})
            rles_and_boxes = [seen.get(frame, (None, None)) for frame in range(self._num_finished)]
            result["segmentations"] = [rle for rle, _ in rles_and_boxes]
            result["boxes"] = [box for _, box in rles_and_boxes]
        return result

    def _start(self, output_size: tuple[int, int] | None, keep_segmentations: bool) -> None:
        self._tracker = IfcClipTracker(self.match_threshold)
        self._output_size_hw = output_size
        self._keep_segmentations = keep_segmentations
        self._segmentations: dict[int, dict[int, tuple[dict, list[float]]]] = {}  # track, frame -> RLE and box
        self._frame_size_hw = (0, 0)
        self._pixels: dict[int, Tensor] = {}  # frame -> (3, H, W), not yet through the backbone
        self._features: dict[int, tuple[Tensor, ...]] = {}  # frame -> maps of stride 32, 8, 16 of width C
        self._num_read = 0
        self._num_finished = 0

    def _windows(self, frames: Iterable[Any]) -> Iterator[range]:
        """The windows in order, each as soon as its frames have been read."""
        source = iter(frames)
        start = 0
        while self._read(islice(source, self.frames_per_batch)):
            while start + self.num_frames <= self._num_read:
                yield range(start, start + self.num_frames)
                start += self.clip_stride
                self._forget(min(start, self._num_read - self.num_frames))
        if not self._num_read:
            raise ValueError("The video has no frames.")
        some_window_reached_the_end = start and start - self.clip_stride + self.num_frames == self._num_read
        if start < self._num_read and not some_window_reached_the_end:
            yield range(max(0, self._num_read - self.num_frames), self._num_read)

    def _read(self, frames: Iterable[Any]) -> int:
        """Preprocesses frames and returns how many; few at a time if they are large, as what they become isn't."""
        num_read_before = self._num_read
        waiting: list[Any] = []
        for raw in frames:
            frame = to_frame(raw.to_ndarray(format="rgb24") if hasattr(raw, "to_ndarray") else raw)
            size_hw = frame_size_hw(frame)
            if self._num_read == 0:
                self._frame_size_hw = size_hw
            if size_hw != self._frame_size_hw:
                raise ValueError(
                    "All frames of a video must have the size of the first, "
                    f"{self._frame_size_hw} (height, width), but frame {self._num_read} has {size_hw}."
                )
            waiting.append(frame)
            self._num_read += 1
            if len(waiting) * size_hw[0] * size_hw[1] >= MAX_RAW_PIXELS:
                self._preprocess(waiting)
                waiting.clear()
        self._preprocess(waiting)
        return self._num_read - num_read_before

    def _preprocess(self, frames: list[Any]) -> None:
        """Notes the pixel values of the frames that were read last."""
        if frames:
            pixel_values = self.processor(frames, return_tensors="pt")["pixel_values"][0]
            self._pixels.update(enumerate(pixel_values, start=self._num_read - len(frames)))

    def _forget(self, before: int) -> None:
        for store in (self._pixels, self._features):
            for frame in [frame for frame in store if frame < before]:
                del store[frame]

    @torch.inference_mode()
    def _window_features(self, window: range) -> Tensor:
        """Stride-32 maps of the frames of a window, (T, C, h5, w5)."""
        self._encode_frames(window)
        return torch.stack([self._features[frame][0] for frame in window])

    @torch.inference_mode()
    def _encode_windows(self, features: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Queries (Q, C) and encoded maps (T, C, h5, w5) of windows of one size."""
        outputs = self.model.model(frame_embeddings=torch.stack(features))
        return list(zip(outputs.last_hidden_state, outputs.encoder_last_hidden_state, strict=True))

    def _track(self, window: range, queries: Tensor, encoded_map: Tensor) -> Iterator[FrameResult]:
        """Joins a window to the tracks and hands out the frames that are finished thereby."""
        self._tracker.update(list(window), *self._find_instances(window, queries, encoded_map))
        next_start = window.start + self.clip_stride
        # The last window may begin earlier than that: it is shifted back to end at the last frame.
        yield from self._finish_frames(min(next_start, max(window.start + 1, self._num_read - self.num_frames)))

    @torch.inference_mode()
    def _find_instances(self, window: range, queries: Tensor, encoded_map: Tensor) -> tuple[Tensor, Tensor]:
        """Instances of one window: mask logits (N, T, h, w) and class probabilities (N, K+1), both float32."""
        probabilities = self.model.class_head(queries).float().softmax(-1)  # (Q, K+1)
        is_object = probabilities.argmax(-1) != probabilities.shape[-1] - 1
        queries = queries[is_object]
        if not len(queries):
            size_hw = self._features[window.start][1].shape[-2:]
            return probabilities.new_zeros(0, len(window), *size_hw), probabilities[is_object]
        mask_logits = [
            self._predict_masks(queries[None], encoded_map[part], window[part])
            for part in _parts(len(window), self.frames_per_batch)
        ]
        return torch.cat(mask_logits, dim=1).float(), probabilities[is_object]

    def _predict_masks(self, queries: Tensor, encoded_map: Tensor, frames: range) -> Tensor:
        """Mask logits (N, frames, h, w) of (1, N, C) queries on the (frames, C, h5, w5) map of some frames."""
        laterals = (torch.stack([self._features[frame][level] for frame in frames]) for level in (1, 2))
        pixel_features = self.model.mask_head.refine(encoded_map, *laterals)
        return self.model.mask_head.predict(queries, pixel_features[None])[0]

    def _encode_frames(self, window: range) -> None:
        """Runs the backbone over all frames of a window that haven't been through it."""
        missing = [frame for frame in window if frame not in self._features]
        for part in _parts(len(missing), self.frames_per_batch):
            frames = missing[part]
            pixel_values = torch.stack([self._pixels.pop(frame) for frame in frames])
            pixel_values = pixel_values.to(self.model.device, self.model.dtype, memory_format=torch.channels_last)
            map_8, map_16, map_32 = self._backbone(pixel_values).feature_maps
            maps = (self.model.model.input_projection(map_32), *self.model.mask_head.project(map_8, map_16))
            self._features.update(zip(frames, zip(*maps, strict=True), strict=True))

    def _finish_frames(self, before: int) -> Iterator[FrameResult]:
        """Hands out the frames that lie before a frame."""
        popped = {frame.frame_index: frame for frame in self._tracker.pop_frames(before)}
        class_probabilities = self._tracker.class_probabilities()[:, :-1].cpu()
        for frame_index in range(self._num_finished, before):
            self._num_finished += 1
            yield self._finish_frame(frame_index, popped.get(frame_index), class_probabilities)

    @torch.inference_mode()
    def _finish_frame(
        self, frame_index: int, tracked: TrackedFrame | None, class_probabilities: Tensor
    ) -> FrameResult:
        """Masks at output size; a frame that lay in no window has none."""
        output_size_hw = self._output_size_hw or self._frame_size_hw
        if tracked is None or not tracked.track_ids:
            no_masks = torch.zeros(0, *output_size_hw, dtype=torch.bool)
            return FrameResult(frame_index, [], no_masks, torch.zeros(0), torch.zeros(0, dtype=torch.long))
        masks = resized_above(tracked.mask_logits, output_size_hw, threshold=0.0).cpu()
        if self._keep_segmentations:
            self._keep(frame_index, tracked.track_ids, masks)
        scores, labels = class_probabilities[tracked.track_ids].max(-1)
        is_reported = scores > self.score_threshold
        track_ids = torch.tensor(tracked.track_ids)[is_reported].tolist()
        return FrameResult(frame_index, track_ids, masks[is_reported], scores[is_reported], labels[is_reported])

    def _keep(self, frame_index: int, track_ids: list[int], masks: Tensor) -> None:
        """Notes the (n, H0, W0) masks of one frame as RLE; an empty mask is a track that isn't visible."""
        boxes = masks_to_boxes_xyxy(masks).tolist()
        for track_id, rle, box in zip(track_ids, encode_rles(masks), boxes, strict=True):
            if any(box):
                self._segmentations.setdefault(track_id, {})[frame_index] = (rle, box)


def fold_batch_norms(backbone: nn.Module) -> nn.Module:
    """A copy of a backbone for inference: frozen batch norms folded into the convolutions before them, channels last.

    Works on modules that hold a `convolution` and its `normalization`, as Transformers' ResNet does; others stay.
    Results differ from the original by rounding: in float32 by about 1e-6 of their size.
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
    return nn.utils.convert_conv2d_weight_memory_format(backbone, torch.channels_last)


def _exhaust(results: Iterable[Any]) -> None:
    for _ in results:
        pass


def _parts(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


__all__ = ["FrameResult", "IfcVideoSegmenter"]

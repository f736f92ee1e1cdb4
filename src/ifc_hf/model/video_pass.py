"""One video on its way through a segmenter: windows of frames, instances of all windows joined into tracks.

```
frames --read--> pixel values --encode_frames--> features, kept while a window needs them
                                                     |  windows of T frames, S apart
                                                     v
           encode_window --> find_instances --> join: IfcClipTracker
                                                     |  frames that no later window touches
                                                     v
                                 finish_frame: mean mask logits --> masks at output size --> FrameResult, RLE
```

Letters: L frames of the video, T of a window (`num_frames`), S `clip_stride`, N instances, K classes, (H0, W0) output
size, (h, w) mask logits at stride 8.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from .engine import EncodedWindow, Engine, FrameFeatures
from .masks import encode_rles, masks_to_boxes_xyxy
from .post_processing import resized_above
from .tracking import IfcClipTracker, TrackedFrame
from .tracks import FrameResult, Track, no_result

if TYPE_CHECKING:
    from .image_processing_ifc import IfcImageProcessor


class Segmenter(Protocol):
    """What a pass asks of an `IfcVideoSegmenter`, whose attributes these are."""

    model: Any  # an IfcForVideoInstanceSegmentation, of this package or of a folder's code
    processor: "IfcImageProcessor"
    num_frames: int
    clip_stride: int
    score_threshold: float
    multi_label: bool
    match_threshold: float
    frames_per_batch: int

    def engine(self) -> Engine:
        """The network, ready for inference."""


class VideoPass(Iterator[FrameResult]):
    """Segments one video of any length while it comes in; iterate over it for the frames.

    Every frame comes in order, as soon as no later window can change its masks: about T frames behind the source. Its
    scores are those so far; `tracks()` has the final ones when the iteration is over.

    Memory holds the features of T + `frames_per_batch` frames and the masks of the windows that overlap: O(T),
    whatever the length L of the video, plus the RLEs where they are kept. Time is O(L * T / S).

    Args:
        segmenter: Settings and weights; they may change between passes, not during one.
        frames: Any iterable of frames of one size. Each is read when it arrives: a source may refill its buffer.
        output_size: (H0, W0) of the masks; default: that of the frames.
        keep_segmentations: Whether `tracks()` shall know the masks. They are kept as RLE, some hundred bytes a frame
            and track; False for an endless source.

    Raises:
        ValueError: While iterating: if there is no frame, or a frame differs in size from the first.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        frames: Iterable[Any],
        output_size: tuple[int, int] | None = None,
        keep_segmentations: bool = True,
    ) -> None:
        self.segmenter = segmenter
        self.engine = segmenter.engine()
        self.tracker = IfcClipTracker(segmenter.match_threshold)
        self.num_read = 0
        self.num_finished = 0
        self._frames = iter(frames)
        self._output_size_hw = output_size
        self._keep_segmentations = keep_segmentations
        self._frame_size_hw = (0, 0)
        self._pixels: dict[int, Tensor] = {}  # frame -> (3, H, W), not yet through the backbone
        self._features: dict[int, FrameFeatures] = {}
        self._segmentations: dict[int, dict[int, tuple[dict, list[float]]]] = {}  # track, frame -> RLE and box
        self._results = self._run()

    def __next__(self) -> FrameResult:
        """The next frame that is finished."""
        return next(self._results)

    def tracks(self) -> list[Track]:
        """The tracks so far: one for every track and class above the threshold, best score first.

        Without `keep_segmentations` they have no masks and no boxes.
        """
        segmenter = self.segmenter
        found = []
        for track_id, probabilities in enumerate(self.tracker.class_probabilities()[:, :-1].cpu()):
            labels = range(len(probabilities)) if segmenter.multi_label else [int(probabilities.argmax())]
            for label_id in labels:
                score = float(probabilities[label_id])
                if score > segmenter.score_threshold:
                    found.append(self._describe_track(track_id, label_id, score))
        return sorted(found, key=lambda track: -track.score)

    def windows(self) -> Iterator[range]:
        """The windows in order, each as soon as its frames have been read."""
        num_frames, clip_stride = self.segmenter.num_frames, self.segmenter.clip_stride
        start = 0
        while self.read():
            while start + num_frames <= self.num_read:
                yield range(start, start + num_frames)
                start += clip_stride
                self._forget(min(start, self.num_read - num_frames))
        if not self.num_read:
            raise ValueError("The video has no frames.")
        some_window_reached_the_end = start and start - clip_stride + num_frames == self.num_read
        if start < self.num_read and not some_window_reached_the_end:
            yield range(max(0, self.num_read - num_frames), self.num_read)

    def read(self) -> int:
        """Reads and resizes the next frames, up to `frames_per_batch`; returns how many came."""
        num_read_before = self.num_read
        for raw in islice(self._frames, self.segmenter.frames_per_batch):
            pixel_values, size_hw = self.preprocess(raw)
            if self.num_read == 0:
                self._frame_size_hw = size_hw
            if size_hw != self._frame_size_hw:
                raise ValueError(
                    "All frames of a video must have the size of the first, "
                    f"{self._frame_size_hw} (height, width), but frame {self.num_read} has {size_hw}."
                )
            self._pixels[self.num_read] = pixel_values
            self.num_read += 1
        return self.num_read - num_read_before

    def preprocess(self, raw: Any) -> tuple[Tensor, tuple[int, int]]:
        """Pixel values (3, H, W) of a frame, in memory of their own, and its size before resizing."""
        if hasattr(raw, "to_ndarray"):  # a frame of PyAV
            raw = raw.to_ndarray(format="rgb24")
        return self.segmenter.processor.preprocess_frame(raw)

    def encode_frames(self, window: range) -> list[FrameFeatures]:
        """The features of a window's frames; frames that haven't been through the backbone go now."""
        missing = [frame for frame in window if frame not in self._features]
        if missing:
            features = self.engine.features([self._pixels.pop(frame) for frame in missing])
            self._features.update(zip(missing, features, strict=True))
        return [self._features[frame] for frame in window]

    def encode_window(self, features: Sequence[FrameFeatures]) -> EncodedWindow:
        """Encoder and decoder over one window."""
        [encoded] = self.engine.encode_windows([features])
        return encoded

    def find_instances(self, encoded: EncodedWindow, features: Sequence[FrameFeatures]) -> tuple[Tensor, Tensor]:
        """Instances of one window: mask logits (N, T, h, w) and class probabilities (N, K+1), both float32."""
        return self.engine.find_instances(encoded, features)

    def join(self, window: range, mask_logits: Tensor, class_probabilities: Tensor) -> None:
        """Joins the instances of a window to the tracks."""
        self.tracker.update(list(window), mask_logits, class_probabilities)

    def finish_frames(self, before: int) -> Iterator[FrameResult]:
        """Hands out the frames that lie before a frame."""
        popped = {frame.frame_index: frame for frame in self.tracker.pop_frames(before)}
        for frame_index in range(self.num_finished, before):
            self.num_finished += 1
            yield self.finish_frame(frame_index, popped.get(frame_index))

    @torch.inference_mode()
    def finish_frame(self, frame_index: int, tracked: TrackedFrame | None) -> FrameResult:
        """Masks at output size; a frame that lay in no window has none."""
        output_size_hw = self._output_size_hw or self._frame_size_hw
        if tracked is None or not tracked.track_ids:
            return no_result(frame_index, output_size_hw)
        masks = resized_above(tracked.mask_logits, output_size_hw, threshold=0.0).cpu()
        if self._keep_segmentations:
            self._keep(frame_index, tracked.track_ids, masks)
        # Of these tracks alone: a long video may have had any number of others.
        scores, labels = self.tracker.class_probabilities(tracked.track_ids)[:, :-1].cpu().max(-1)
        names = [self.segmenter.model.config.id2label[label] for label in labels.tolist()]
        result = FrameResult(frame_index, tracked.track_ids, masks, scores, labels, names)
        return result.select((scores > self.segmenter.score_threshold).nonzero()[:, 0].tolist())

    def track_window(self, window: range, encoded: EncodedWindow) -> Iterator[FrameResult]:
        """Joins an encoded window to the tracks and hands out the frames that this finishes."""
        self.join(window, *self.find_instances(encoded, self.encode_frames(window)))
        next_start = window.start + self.segmenter.clip_stride
        # The last window may begin earlier than that: it is shifted back to end at the last frame.
        yield from self.finish_frames(
            min(next_start, max(window.start + 1, self.num_read - self.segmenter.num_frames))
        )

    def _run(self) -> Iterator[FrameResult]:
        for window in self.windows():
            yield from self.track_window(window, self.encode_window(self.encode_frames(window)))
        yield from self.finish_frames(self.num_read)

    def _describe_track(self, track_id: int, label_id: int, score: float) -> Track:
        track = Track(track_id, label_id, self.segmenter.model.config.id2label[label_id], score)
        if self._keep_segmentations:
            seen = self._segmentations.get(track_id, {})
            rles_and_boxes = [seen.get(frame, (None, None)) for frame in range(self.num_finished)]
            track.segmentations = [rle for rle, _ in rles_and_boxes]
            track.boxes = [box for _, box in rles_and_boxes]
        return track

    def _forget(self, before: int) -> None:
        for store in (self._pixels, self._features):
            for frame in [frame for frame in store if frame < before]:
                del store[frame]

    def _keep(self, frame_index: int, track_ids: list[int], masks: Tensor) -> None:
        """Notes the (n, H0, W0) masks of one frame as RLE; an empty mask is a track that isn't visible."""
        boxes = masks_to_boxes_xyxy(masks).tolist()
        for track_id, rle, box in zip(track_ids, encode_rles(masks), boxes, strict=True):
            if any(box):
                self._segmentations.setdefault(track_id, {})[frame_index] = (rle, box)


__all__ = ["VideoPass"]

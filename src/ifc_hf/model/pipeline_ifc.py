"""The pipeline for the task `video-instance-segmentation`: a video in, tracks out.

```
path, address, frames --preprocess--> frames, one by one --IfcVideoSegmenter--> tracks --postprocess--> answer
```

Letters: L frames of a video, n tracks in one frame, (H0, W0) size of the frames in pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from typing import Any, TypeAlias

import torch
from PIL import Image
from transformers import Pipeline

from .engine import is_offloaded
from .engines import EngineKeeper
from .masks import decode_rle
from .tracks import FrameResult, Track
from .video_inputs import is_live, open_frames, split_videos
from .video_segmenter import IfcVideoSegmenter

TASK = "video-instance-segmentation"
Options: TypeAlias = dict[str, Any]  # of a call, by name
MASK_FORMATS = ("rle", "numpy", "pil", None)
# Options of a call, sorted by the step that takes them.
READING_OPTIONS = ("frame_range", "fps")
SEGMENTER_OPTIONS = ("num_frames", "clip_stride", "threshold", "multi_label", "engine")
ANSWER_OPTIONS = ("classes", "top_k", "mask_format")

DEFAULT_THRESHOLD = 0.3  # of checkpoints that don't say their own


class VideoInstanceSegmentationPipeline(Pipeline):
    """Finds, outlines and tracks the objects of videos.

    Options, for one call or, given to `pipeline(...)`, for all:
        num_frames: Frames T of a window; default: what the model was trained with.
        clip_stride: Frames from one window to the next (1).
        threshold: Tracks must have a score above it; default: `config.default_threshold`, or 0.3.
        multi_label: Whether a track is reported under every class above the threshold, not under its best alone
            (False).
        engine: What runs the network, see `IfcVideoSegmenter` ("torch").
        classes: Names of the classes to report; default: all.
        top_k: Number of tracks to report, the best ones; default: all.
        mask_format: Form of the masks: "rle" (COCO's compressed run lengths), "numpy" ((H0, W0) bool), "pil" (images
            of mode "1") or None (no masks).
        frame_range: `(first, end)`, the frames to look at; `end` is not included and may be None.
        fps: Frames per second to look at, of a video file; default: all of them.
        batch_size: Videos that are worked on side by side: their windows of equal size go through the model together
            (1).

    Example:
        >>> pipe = pipeline("video-instance-segmentation", model=default_checkpoint())  # doctest: +SKIP
        >>> pipe("clip.mp4", threshold=0.3)[0]["label"]  # doctest: +SKIP
        'rabbit'
    """

    model: Any  # an IfcForVideoInstanceSegmentation, of this package or of a folder's code
    image_processor: Any

    # The base class is annotated as if these could be None only.
    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = True  # type: ignore[assignment]
    _load_video_processor = False  # type: ignore[assignment]
    _load_feature_extractor = False  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]

    def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
        if model.config.model_type != "ifc":
            raise ValueError(f"{TASK}: expected a model of type 'ifc', got {model.config.model_type!r}")
        self._engine_keeper = EngineKeeper()
        mark_offloaded(model)
        super().__init__(model, *args, **kwargs)
        if self.image_processor is None:
            raise ValueError(f"{TASK}: expected an image_processor, got None")

    def __call__(  # type: ignore[override]  # positional arguments beyond these mean nothing
        self, inputs: Any, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """Segments one video or several.

        Args:
            inputs: One video or a list of videos, of which each may be of another kind: the path of a video file or of
                one picture; the address of a video (`https://...`) or a binary file object; a folder of pictures; a
                pattern such as `"day1/*.mp4"` (several videos) or `"day1/*.jpg"` (the frames of one); the number of a
                camera, with a `frame_range` that ends; a list of frames (PIL images, (H0, W0, 3) or (3, H0, W0)
                arrays or tensors); an array or tensor (L, H0, W0, 3) or (L, 3, H0, W0); a single frame. A generator or
                a dataset stands for several videos, and gives an iterator.
            batch_size: See the class.
            **kwargs: Options, see the class.

        Returns:
            For one video its tracks, best score first: dicts of `track_id`, `label_id`, `label`, `score`,
            `segmentations` (L masks, None where the track isn't visible) and `boxes` (L boxes xyxy in pixels, or
            None). For several videos a list of that. Of a video that breaks off, the readable part, with a warning.

        Raises:
            FileNotFoundError: If a path or pattern leads to nothing.
            ValueError: If something is not a video, has no frames, or an option is out of range.
        """
        batch_size = batch_size or self._batch_size or 1
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        videos = split_videos(inputs)
        _, end = kwargs.get("frame_range") or self._preprocess_params.get("frame_range") or (0, None)
        if end is None and any(is_live(video) for video in (videos if isinstance(videos, list) else [videos])):
            raise ValueError("a camera has no end: give frame_range=(0, number of frames), or use stream")
        return super().__call__(videos, batch_size=batch_size, **kwargs)

    def stream(self, video: Any, **kwargs: Any) -> Iterator[FrameResult]:
        """Segments one video of any length while it comes in; memory does not grow with the length.

        Args:
            video: One video as for calling, or any iterable of frames, such as a generator or what PyAV decodes. The
                number of a camera needs no `frame_range` here.
            **kwargs: Options, see the class, but `top_k` and `mask_format`, which belong to whole videos.

        Returns:
            Iterator over the frames in order, each as soon as no later window can change its masks: `frame_index`,
            `track_ids`, `masks` (n, H0, W0) bool, `scores` (n,) up to now and `labels` (n,).

        Raises:
            TypeError: If `top_k` or `mask_format` is given.
            FileNotFoundError: As for calling.
            ValueError: As for calling.
        """
        for name in ("top_k", "mask_format"):
            if name in kwargs:
                raise TypeError(f"stream: {name} is an option of whole videos")
        reading, segmenting, answer = self._sanitize_parameters(**kwargs)
        frames = self.preprocess(video, **{**self._preprocess_params, **reading})
        options = {**self._forward_params, **segmenting}
        segmenter = self._segmenter(frames_per_batch=1 if is_live(video) else None, **options)
        classes = {**self._postprocess_params, **answer}.get("classes")
        results = segmenter.stream(frames, keep_segmentations=False)
        return (keep_classes(result, self._label_ids(classes)) for result in results)

    def preprocess(  # type: ignore[override]  # frames come one by one, not as a batch of tensors
        self, input_: Any, frame_range: tuple[int, int | None] | None = None, fps: float | None = None
    ) -> Iterator[Any]:
        """The frames of one video, decoded as they are asked for."""
        return open_frames(input_, frame_range, fps)

    def postprocess(  # type: ignore[override]  # the options by name, not as a dict
        self,
        model_outputs: list[Track],
        classes: list[str] | None = None,
        top_k: int | None = None,
        mask_format: str | None = "rle",
    ) -> list[Track]:
        """Chooses tracks and brings their masks into the wanted form."""
        label_ids = self._label_ids(classes)
        tracks = [track for track in model_outputs if track.label_id in label_ids][:top_k]
        return [format_masks(track, mask_format) for track in tracks]

    def get_iterator(
        self,
        inputs: Iterable[Any],
        num_workers: int,
        batch_size: int,
        preprocess_params: Options,
        forward_params: Options,
        postprocess_params: Options,
    ) -> Iterator[list[Track]]:
        """`batch_size` videos at a time, each in bounded memory; the base class would collate whole videos."""
        source = iter(inputs)
        while batch := list(islice(source, batch_size)):
            frames = [self.preprocess(video, **preprocess_params) for video in batch]
            for tracks in self._segmenter(**forward_params).segment_batch(frames):
                yield self.postprocess(tracks, **postprocess_params)

    # The base class passes a dict of tensors; here it is a stream of frames.
    def _forward(self, input_tensors: Iterable[Any], **options: Any) -> list[Track]:  # type: ignore[override]
        return self._segmenter(**options)(input_tensors)

    def _ensure_tensor_on_device(self, inputs: Any, device: Any) -> Any:
        """Leaves frames and tracks as they are: the base class would make plain dicts of the tracks."""
        return inputs

    def _segmenter(
        self, threshold: float | None = None, multi_label: bool = False, **options: Any
    ) -> IfcVideoSegmenter:
        """A segmenter of the model as it is now; all share the prepared weights."""
        return IfcVideoSegmenter(
            self.model,
            self.image_processor,
            score_threshold=default_threshold(self.model.config) if threshold is None else threshold,
            multi_label=multi_label,
            engine_keeper=self._engine_keeper,
            **options,
        )

    def _sanitize_parameters(self, **options: Any) -> tuple[Options, Options, Options]:
        """Checks options and sorts them by the step that takes them."""
        steps = (READING_OPTIONS, SEGMENTER_OPTIONS, ANSWER_OPTIONS)
        if unknown := sorted(set(options).difference(*steps)):
            known = ", ".join((*READING_OPTIONS, *SEGMENTER_OPTIONS, *ANSWER_OPTIONS))
            raise TypeError(f"{TASK}: unknown option {', '.join(unknown)}; expected {known}")
        check_options(options)
        self._label_ids(options.get("classes"))
        reading, segmenting, answer = ({name: options[name] for name in step if name in options} for step in steps)
        return reading, segmenting, answer

    def _label_ids(self, classes: list[str] | None) -> set[int]:
        """Ids of the classes to report.

        Raises:
            ValueError: If the model doesn't know a class.
        """
        return known_label_ids(self.model.config.id2label, classes)


def default_threshold(config: Any) -> float:
    """Least score of the tracks that are reported unless another one is asked for."""
    return DEFAULT_THRESHOLD if config.default_threshold is None else config.default_threshold


def mark_offloaded(model: Any) -> None:
    """Gives a model whose weights accelerate keeps elsewhere the map that tells `Pipeline` not to move them.

    `from_pretrained(device_map=...)` makes such a map; `accelerate.cpu_offload` and `disk_offload` make none.
    """
    if getattr(model, "hf_device_map", None) is None and is_offloaded(model):
        hooks = [getattr(module, "_hf_hook", None) for module in model.modules()]
        devices = [device for hook in hooks if (device := getattr(hook, "execution_device", None)) is not None]
        model.hf_device_map = {"": devices[0] if devices else torch.device("cpu")}


def known_label_ids(id2label: dict[int, str], classes: list[str] | None) -> set[int]:
    """Ids of the classes of these names, whatever their case; None stands for all.

    Raises:
        ValueError: If the model doesn't know a class.
    """
    if classes is None:
        return set(id2label)
    if isinstance(classes, str):
        raise ValueError(f"classes: expected a list of names, got the text {classes!r}")
    known = {label.casefold(): label for label in id2label.values()}
    if unknown := sorted({name for name in classes if name.casefold() not in known}):
        similar = [match for name in unknown for match in get_close_matches(name.casefold(), known, n=1)]
        question = f"; did you mean {', '.join(known[match] for match in similar)}?" if similar else ""
        raise ValueError(
            f"classes: unknown {', '.join(unknown)}; the model knows {', '.join(sorted(known.values()))}{question}"
        )
    wanted = {name.casefold() for name in classes}
    return {label_id for label_id, label in id2label.items() if label.casefold() in wanted}


def check_options(options: Options) -> None:
    """Refuses values that no step could use.

    Raises:
        ValueError: Names the option, what it may be and what it is.
    """
    mask_format, top_k, threshold = (options.get(name) for name in ("mask_format", "top_k", "threshold"))
    if mask_format not in MASK_FORMATS:
        raise ValueError(f"mask_format must be one of {', '.join(map(repr, MASK_FORMATS))}, got {mask_format!r}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, or None, got {top_k}")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
    if options.get("fps") is not None and not options["fps"] > 0:
        raise ValueError(f"fps must be positive, or None, got {options['fps']}")
    if (frame_range := options.get("frame_range")) is not None:
        first, end = frame_range
        if first < 0 or (end is not None and end <= first):
            raise ValueError(f"frame_range must be (first, end) with 0 <= first < end or end None, got {frame_range}")


def format_masks(track: Track, mask_format: str | None) -> Track:
    """The track with its RLE masks in another form."""
    if mask_format == "rle" or track.segmentations is None:
        return track
    if mask_format is None:
        return replace(track, segmentations=None)
    masks = [None if rle is None else decode_rle(rle) for rle in track.segmentations]
    if mask_format == "pil":
        return replace(track, segmentations=[None if mask is None else Image.fromarray(mask) for mask in masks])
    return replace(track, segmentations=masks)


def keep_classes(result: FrameResult, label_ids: set[int]) -> FrameResult:
    """The frame with the tracks of some classes."""
    return result.select([place for place, label_id in enumerate(result.labels.tolist()) if label_id in label_ids])


__all__ = ["VideoInstanceSegmentationPipeline"]

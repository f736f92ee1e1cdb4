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
"""Image processor of IFC: videos in, padded clips and labels out; logits in, instances out."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import ChannelDimension, PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs

from .annotations import LabelSpace, make_labels, split_by_video
from .frames import Frame, frame_size_hw, in_full_range, resize_frame, resized_size_hw, split_videos, to_frame
from .post_processing import ClipOutputs, clips_from_outputs, images_from_outputs
from .processor_options import check_options, integer_keys
from .segmentation_maps import annotation_from_maps, split_instance_classes

if TYPE_CHECKING:
    # Brings all code along when a processor is saved: pushes of a running `Trainer` save the processor and take from
    # the model its configuration and weights alone.
    from .configuration_ifc import IfcConfig as IfcConfig


class IfcImageProcessorKwargs(ImagesKwargs, total=False):
    """Options of `IfcImageProcessor` beyond those of every image processor.

    Attributes:
        do_flip_channel_order: Feed the channels as BGR; `image_mean` and `image_std` are then in that order too.
        category_id_to_label: Class label of every `category_id` of annotations; None: the id less one (YouTube-VIS).
        num_labels: Number of classes, to check labels against; None: not checked.
        ignore_index: In `segmentation_maps`, the id of pixels that belong to no instance; None: there are none.
        do_reduce_labels: Whether 0 is the background of `segmentation_maps`, and ids and classes count from 1.
    """

    do_flip_channel_order: bool | None
    category_id_to_label: dict[int, int] | None
    num_labels: int | None
    ignore_index: int | None
    do_reduce_labels: bool | None


# auto_docstring describes images; this class takes videos, and documents itself.
# trf-ignore: TRF057
class IfcImageProcessor(BaseImageProcessor):
    """Prepares videos for IFC and reads its outputs.

    Frames are resized (shorter side 360 pixels, longer at most 1333), put in the model's channel order, normalised,
    and padded with zeros at the bottom, the right and the end to the largest video of the batch. PIL images and uint8
    frames on the CPU are resized exactly as the authors' code does it, by Pillow's bilinear filter; frames on an
    accelerator stay there.

    Letters: B videos, L frames of a video, T frames of the longest, N instances, (H0, W0) a video's size, (H, W) the
    padded size, in pixels.

    Example:
        >>> processor = IfcImageProcessor()
        >>> inputs = processor([Image.new("RGB", (1280, 720))] * 5)
        >>> inputs.pixel_values.shape
        torch.Size([1, 5, 3, 360, 640])
    """

    valid_kwargs = IfcImageProcessorKwargs
    model_input_names = ["pixel_values", "pixel_mask"]
    # Saving copies this file and what it imports, for use without the package (annotated as if it could be None only).
    _auto_class = "AutoImageProcessor"  # type: ignore[assignment]

    do_resize = True
    size = {"shortest_edge": 360, "longest_edge": 1333}
    default_to_square = False
    resample = PILImageResampling.BILINEAR
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = [0.485, 0.456, 0.406]
    image_std = [0.229, 0.224, 0.225]
    do_flip_channel_order = False
    do_pad = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set_attributes(**kwargs)

    def __call__(  # type: ignore[override]  # videos are no `ImageInput`
        self,
        videos: Any = None,
        annotations: Any = None,
        *,
        images: Any = None,
        segmentation_maps: Any = None,
        instance_id_to_semantic_id: Any = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Turns videos, and annotations if given, into model inputs.

        Args:
            videos: One video or a list of them. A video is a list of PIL images, a (L, H0, W0, 3) array or a
                (L, 3, H0, W0) tensor, uint8 or float on the 0 to 255 scale; a single image is a video of one frame.
            annotations: That of the video, or a list with one per video. Either
                `{"class_labels": (N,), "masks": (N, L, H0, W0)}`, or a list of instances (or `{"annotations": list}`)
                in YouTube-VIS form: dicts with `category_id` and, per frame, `segmentations` (RLE, polygons, array, or
                None where absent). Crowds and instances absent from all frames are left out.
            images: Another name for `videos`, which Transformers' own tools use.
            segmentation_maps: Instead of annotations, as Mask2Former's processor takes them: the instance id of every
                pixel. For a video (L, H0, W0) whole numbers or L maps (arrays, tensors, PIL images); a list with an
                entry per video. An id is the same object in all frames of a video.
            instance_id_to_semantic_id: Class label of every id: a dict for all, for a video, or for each of its
                frames. None: the id is the class label. `ignore_index` and `do_reduce_labels` say what background is.
            **kwargs: Options of the processor for this call only, `return_tensors` ("pt" or "np"), `device`.

        Returns:
            `pixel_values` (B, T, 3, H, W) float32, `pixel_mask` (B, T, H, W) bool, True = real pixel, and with
            annotations `labels`: a list of B dicts with `class_labels` (N,) int64 and `masks` (N, T, H, W) bool.

        Raises:
            ValueError: If a video, a frame or an annotation is malformed; the message says which.
        """
        if (videos is None) == (images is None):
            raise ValueError("expected videos (one video or a list of them), or images, but not both")
        kwargs.setdefault("return_tensors", "pt")
        return self.preprocess(
            images if videos is None else videos, annotations, segmentation_maps, instance_id_to_semantic_id, **kwargs
        )

    def post_process_instance_segmentation(
        self,
        outputs: ClipOutputs,
        target_sizes: Sequence[tuple[int, int]] | Tensor | None = None,
        threshold: float = 0.0,
        pixel_mask: Tensor | None = None,
    ) -> list[dict[str, Tensor]]:
        """Instances in single images (T = 1), as the authors score COCO.

        Args:
            outputs: Of `IfcForVideoInstanceSegmentation`.
            target_sizes: (H0, W0) of each image; None: the size that the processor gave it.
            threshold: Scores must be above it.
            pixel_mask: What the processor returned. Without it nothing is taken as padding and the image size as eight
                times that of the logits.

        Returns:
            Per image `scores` (N,), `labels` (N,), `masks` (N, H0, W0) bool and `boxes` (N, 4), xyxy in pixels.

        Raises:
            ValueError: If the outputs have more than one frame, or sizes and shapes don't fit.
        """
        return images_from_outputs(outputs, target_sizes, threshold, pixel_mask)

    def post_process_video_instance_segmentation(
        self,
        outputs: ClipOutputs,
        target_sizes: Sequence[tuple[int, int]] | Tensor | None = None,
        threshold: float = 0.0,
        pixel_mask: Tensor | None = None,
    ) -> list[dict[str, Tensor]]:
        """Instances in clips; one query is one object in all frames. For longer videos use `IfcVideoSegmenter`.

        Args:
            outputs: Of `IfcForVideoInstanceSegmentation`.
            target_sizes: (H0, W0) of each clip; None: the size that the processor gave it.
            threshold: Scores must be above it.
            pixel_mask: What the processor returned. Without it nothing is taken as padding and the frame size as eight
                times that of the logits.

        Returns:
            Per clip `scores` (N,), `labels` (N,) and `masks` (N, T, H0, W0) bool, without frames that are all padding.

        Raises:
            ValueError: If sizes and shapes don't fit.
        """
        return clips_from_outputs(outputs, target_sizes, threshold, pixel_mask)

    # Documented by `__call__`.
    # trf-ignore: TRF057
    def preprocess(
        self,
        images: Any,
        annotations: Any = None,
        segmentation_maps: Any = None,
        instance_id_to_semantic_id: Any = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Same as calling the processor."""
        if annotations is not None and segmentation_maps is not None:
            raise ValueError("expected annotations or segmentation_maps, got both")
        if segmentation_maps is None and instance_id_to_semantic_id is not None:
            raise ValueError("instance_id_to_semantic_id needs segmentation_maps")
        maps = None if segmentation_maps is None else (segmentation_maps, instance_id_to_semantic_id)
        return super().preprocess(images, annotations, maps, **kwargs)

    def preprocess_frame(self, frame: Any) -> tuple[Tensor, tuple[int, int]]:
        """Prepares one frame of a video that comes in frame by frame.

        Args:
            frame: As in a video for calling.

        Returns:
            Pixel values (3, H, W) float32 as calling gives them, in memory of their own, and the frame's (H0, W0).

        Raises:
            ValueError: If the frame is malformed.
        """
        options = self._standardize_kwargs(**{name: getattr(self, name, None) for name in self._valid_kwargs_names})
        try:
            working = self.process_image(frame, **options)
        except OSError as error:  # Pillow decodes a picture only when it is asked for its pixels
            raise ValueError(str(error)) from error
        return self._preprocess([[working]], **options)["pixel_values"][0, 0], frame_size_hw(working)

    def _standardize_kwargs(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        options = super()._standardize_kwargs(*args, **kwargs)
        options["category_id_to_label"] = integer_keys(options["category_id_to_label"])
        check_options(options)
        return options

    def process_image(self, image: Any, input_data_format: str | None = None, **kwargs: Any) -> Frame:
        """One raw frame in working form: an upright PIL image or a (3, H, W) tensor."""
        if input_data_format is None:
            return to_frame(image)
        return to_frame(image, channels_first=ChannelDimension(input_data_format) == ChannelDimension.FIRST)

    def _preprocess_image_like_inputs(  # type: ignore[override]  # annotations come with the images
        self, images: Any, annotations: Any = None, maps: tuple[Any, Any] | None = None, **kwargs: Any
    ) -> BatchFeature:
        raw_videos, is_batch = split_videos(images)
        videos = self._checked_videos(raw_videos, **kwargs)
        inputs = self._preprocess(videos, **kwargs)
        sizes_hw = [frame_size_hw(video[0]) for video in videos]
        lengths = [len(video) for video in videos]
        if maps is not None:
            annotations = _annotations_from_maps(*maps, lengths, sizes_hw, is_batch, **kwargs)
        if annotations is None:
            return inputs
        _, T, _, H, W = inputs["pixel_values"].shape
        label_space = LabelSpace(kwargs["category_id_to_label"], kwargs["num_labels"])
        labels = []
        for index, annotation in enumerate(split_by_video("annotations", annotations, len(videos), is_batch)):
            size_hw = sizes_hw[index]
            new_size_hw = self._resized_hw(size_hw, kwargs["do_resize"], kwargs["size"])
            try:
                arrays = make_labels(annotation, lengths[index], size_hw, new_size_hw, (T, H, W), label_space)
            except ValueError as error:
                raise ValueError(f"video {index}, {error}") from error
            labels.append(dict(BatchFeature(arrays, tensor_type=kwargs["return_tensors"])))
        if isinstance(inputs["pixel_values"], Tensor):
            device = inputs["pixel_values"].device
            labels = [{name: value.to(device) for name, value in label.items()} for label in labels]
        inputs["labels"] = labels
        return inputs

    def _checked_videos(self, raw_videos: list[list[Any]], **kwargs: Any) -> list[list[Frame]]:
        """Frames in working form, of one size within each video; an object that occurs twice stays one object."""
        frames: dict[int, Frame] = {}
        for video_index, video in enumerate(raw_videos):
            for frame_index, raw in enumerate(video):
                where = f"video {video_index}, frame {frame_index}"
                try:
                    frame = frames[id(raw)] if id(raw) in frames else self.process_image(raw, **kwargs)
                except (OSError, ValueError) as error:
                    raise ValueError(f"{where}: {error}") from error
                frames[id(raw)] = frame
                expected, got = frame_size_hw(frames[id(video[0])]), frame_size_hw(frame)
                if got != expected:
                    raise ValueError(
                        f"{where}: is {got[0]}x{got[1]} (height x width), "
                        f"the frames before are {expected[0]}x{expected[1]}"
                    )
        return [[frames[id(raw)] for raw in video] for video in raw_videos]

    def _resized_hw(self, size_hw: tuple[int, int], do_resize: bool | None, size: SizeDict) -> tuple[int, int]:
        return resized_size_hw(size_hw, size) if do_resize else size_hw

    def _preprocess(
        self,
        images: list[list[Frame]],
        *,
        do_resize: bool | None,
        size: SizeDict,
        resample: int,
        do_rescale: bool | None,
        rescale_factor: float,
        do_normalize: bool | None,
        image_mean: float | Sequence[float],
        image_std: float | Sequence[float],
        do_flip_channel_order: bool | None,
        do_pad: bool | None,
        pad_size: SizeDict | None,
        device: str | torch.device | None,
        return_tensors: str | None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Resizes, normalises and pads videos of frames in working form."""
        if do_rescale:
            images = [in_full_range(video) for video in images]
        sizes_hw = [self._resized_hw(frame_size_hw(video[0]), do_resize, size) for video in images]
        T = max(len(video) for video in images)
        H, W = _padded_size_hw(sizes_hw, [len(video) for video in images], do_pad, pad_size)
        # A frame given twice (clips are sampled with replacement) is resized once: two threads can't decode one file.
        jobs = {
            id(frame): (frame, size_hw, f"video {video_index}, frame {frame_index}")
            for video_index, (video, size_hw) in enumerate(zip(images, sizes_hw, strict=True))
            for frame_index, frame in enumerate(video)
        }
        results = _map_in_threads(lambda job: _resize_named(job, resample), list(jobs.values()))
        resized = dict(zip(jobs, results, strict=True))
        device = device or next(iter(resized.values())).device
        scale = rescale_factor if do_rescale else 1.0
        mean = torch.as_tensor(image_mean if do_normalize else 0.0, dtype=torch.float64).reshape(-1, 1, 1) / scale
        std = torch.as_tensor(image_std if do_normalize else 1.0, dtype=torch.float64).reshape(-1, 1, 1) / scale
        mean, std = mean.to(device, torch.float32), std.to(device, torch.float32)

        pixel_values = torch.zeros((len(images), T, 3, H, W), device=device)
        pixel_mask = torch.zeros((len(images), T, H, W), dtype=torch.bool, device=device)
        for index, (video, (height, width)) in enumerate(zip(images, sizes_hw, strict=True)):
            pixel_mask[index, : len(video), :height, :width] = True
            for target, frame in zip(pixel_values[index, :, :, :height, :width], video, strict=False):
                pixels = resized[id(frame)]
                target.copy_(pixels.flip(0) if do_flip_channel_order else pixels)
                target.sub_(mean).div_(std)
        return BatchFeature({"pixel_values": pixel_values, "pixel_mask": pixel_mask}, tensor_type=return_tensors)


def _annotations_from_maps(
    maps: Any,
    instance_id_to_semantic_id: Any,
    lengths: list[int],
    sizes_hw: list[tuple[int, int]],
    is_batch: bool,
    *,
    ignore_index: int | None,
    do_reduce_labels: bool | None,
    **kwargs: Any,
) -> Any:
    """Maps of instance ids as annotations, of one video or of several as the videos came."""
    annotations = []
    maps_per_video = split_by_video("segmentation_maps", maps, len(lengths), is_batch)
    classes_per_video = split_instance_classes(instance_id_to_semantic_id, len(lengths), is_batch)
    for index, (own_maps, classes) in enumerate(zip(maps_per_video, classes_per_video, strict=True)):
        try:
            annotations.append(
                annotation_from_maps(
                    own_maps, classes, lengths[index], sizes_hw[index], ignore_index, bool(do_reduce_labels)
                )
            )
        except ValueError as error:
            raise ValueError(f"video {index}, {error}") from error
    return annotations if is_batch else annotations[0]


def _padded_size_hw(
    sizes_hw: list[tuple[int, int]], lengths: list[int], do_pad: bool | None, pad_size: SizeDict | None
) -> tuple[int, int]:
    """Height and width of the padded batch."""
    height, width = (max(edges) for edges in zip(*sizes_hw, strict=True))
    if not do_pad:
        if len(set(sizes_hw)) > 1 or len(set(lengths)) > 1:
            raise ValueError(f"do_pad=False, but the videos differ: sizes {sizes_hw}, lengths {lengths}")
        return height, width
    if pad_size is None:
        return height, width
    if not pad_size.height or not pad_size.width or pad_size.height < height or pad_size.width < width:
        raise ValueError(f"pad_size must hold frames of {height}x{width} (height x width), got {dict(pad_size)}")
    return pad_size.height, pad_size.width


def _resize_named(job: tuple[Frame, tuple[int, int], str], resample: int) -> Tensor:
    """Resizes a frame; an error, also of a file that only now is decoded, names it."""
    frame, size_hw, where = job
    try:
        return resize_frame(frame, size_hw, resample)
    except (OSError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _map_in_threads(function: Callable[[Any], Tensor], items: list[Any]) -> list[Tensor]:
    """Applies a function that releases the GIL, as Pillow's and torch's do, in as many threads as torch may use."""
    num_threads = min(torch.get_num_threads(), len(items))
    if num_threads == 1:  # as in the workers of a data loader
        return [function(item) for item in items]
    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(function, items))

"""Frames of any kind, sorted into videos and resized as the authors' code does it.

Letters: L frames of a video, (H, W) size in pixels. A frame is a PIL image or a (3, H, W) tensor, uint8 or float.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from transformers.image_utils import PILImageResampling, SizeDict

from .limits import check_size_hw
from .picture_files import eight_bit

Frame = Image.Image | Tensor


def split_videos(images: Any) -> tuple[list[list[Any]], bool]:
    """Sorts the input into videos of raw frames.

    Args:
        images: One frame, one video (a list of frames, or a 4-D array or tensor), or several (a list of videos, or a
            5-D array or tensor). A single frame is a video of one frame.

    Returns:
        The videos, each a list of raw frames, and whether several were given (even if the list holds just one).

    Raises:
        ValueError: If there is no video or no frame, or something is neither image, array nor list.
    """
    if _nesting(images) < 2:
        return [_frames(images, 0)], False
    return [_frames(video, index) for index, video in enumerate(images)], True


def to_frame(image: Any, channels_first: bool | None = None) -> Frame:
    """Brings one raw frame into working form, without copying where possible.

    Args:
        image: PIL image of any mode, or an array or tensor (H, W, 3) or (3, H, W), uint8 or float (values on the
            scale that `rescale_factor` expects, 0 to 255 by default; see `in_full_range`).
        channels_first: Layout of an array; None: found from the shape (arrays are taken as (H, W, 3) and tensors as
            (3, H, W) if both would fit).

    Returns:
        The PIL image, turned upright as its EXIF data say and of 8 bits, or a (3, H, W) tensor.

    Raises:
        ValueError: If the rank, channel count or dtype is wrong, a size is 0, a float pixel is NaN or infinite, or
            the scale of a picture of more than 8 bits is unknown.
    """
    if isinstance(image, Image.Image):
        is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        # Pillow would copy an upright image too, and decode it here rather than in the threads that resize.
        return eight_bit(image if is_upright else ImageOps.exif_transpose(image))
    if not isinstance(image, np.ndarray | Tensor):
        raise ValueError(f"expected a PIL image, an array or a tensor, got {type(image).__name__}")
    shape = tuple(image.shape)
    if len(shape) != 3:
        raise ValueError(f"expected (H, W, 3) or (3, H, W), got {len(shape)} dimensions, shape {shape}")
    if channels_first is None:
        fits_first, fits_last = shape[0] == 3, shape[2] == 3
        channels_first = fits_first and (isinstance(image, Tensor) or not fits_last)
    if shape[0 if channels_first else 2] != 3:
        raise ValueError(f"expected 3 channels, (H, W, 3) or (3, H, W), got shape {shape}")
    if 0 in shape:
        raise ValueError(f"expected a frame with pixels, got shape {shape}")
    tensor = image.detach() if isinstance(image, Tensor) else _tensor_from_array(image)
    if tensor.is_floating_point():
        if not torch.isfinite(tensor).all():
            raise ValueError("a pixel is NaN or infinite")
    elif tensor.dtype != torch.uint8:
        low, high = tensor.long().aminmax()
        seen = f"{tensor.dtype} with values {low.item()} to {high.item()}"
        raise ValueError(f"expected pixels of dtype uint8 or float, got {seen}")
    return tensor if channels_first else tensor.permute(2, 0, 1)


def in_full_range(frames: Sequence[Frame]) -> list[Frame]:
    """The frames of one video with float values on the scale 0 to 255.

    Where all values of all frames lie within 0 to 1, as `torchvision.transforms.ToTensor` gives them, they are
    multiplied by 255; unless all are whole numbers, for then they are dark ones on the scale 0 to 255.
    """
    are_fractions = False
    for frame in frames:
        if isinstance(frame, Image.Image) or not frame.is_floating_point():
            return list(frames)
        low, high = frame.aminmax()
        if low < 0 or high > 1:
            return list(frames)
        are_fractions = are_fractions or bool((frame != frame.round()).any())
    return [frame * 255 for frame in frames if isinstance(frame, Tensor)] if are_fractions else list(frames)


def frame_size_hw(frame: Frame) -> tuple[int, int]:
    """Height and width of a frame in pixels."""
    if isinstance(frame, Image.Image):
        return frame.height, frame.width
    return frame.shape[1], frame.shape[2]


def resized_size_hw(size_hw: tuple[int, int], size: SizeDict) -> tuple[int, int]:
    """Height and width of a frame after resizing.

    Args:
        size_hw: Height and width before.
        size: `height` and `width`, or `shortest_edge` with or without `longest_edge`, which wins if both can't hold.

    Raises:
        ValueError: If `size` has other keys, or the frame would have more pixels than the limits allow.

    Source: the reference's shortest-edge rule, in float64, rounded by int(x + 0.5). Deviation: at least 1 pixel.
    """
    if size.height and size.width:
        return size.height, size.width
    if not size.shortest_edge:
        raise ValueError(f"size needs height and width, or shortest_edge (and longest_edge), got {dict(size)}")
    height, width = size_hw
    scale = size.shortest_edge / min(height, width)
    # The fixed side is not multiplied: its product may round to something else.
    new_height = size.shortest_edge if height < width else scale * height
    new_width = scale * width if height < width else size.shortest_edge
    if size.longest_edge and max(new_height, new_width) > size.longest_edge:
        shrink = size.longest_edge / max(new_height, new_width)
        new_height, new_width = new_height * shrink, new_width * shrink
    new_size_hw = max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))
    return check_size_hw(*new_size_hw, f"a frame of {height}x{width} resized to {dict(size)}")


def resize_frame(frame: Frame, size_hw: tuple[int, int], resample: int) -> Tensor:
    """Resizes one frame; uint8 frames on the CPU exactly as Pillow does it.

    Args:
        frame: PIL image or (3, H, W) tensor.
        size_hw: New height and width.
        resample: Pillow's number of the filter. Floats and tensors on an accelerator know the bilinear one only.

    Returns:
        (3, h, w), uint8 for CPU frames of uint8 and PIL images, else float32 (rounded to whole numbers for uint8).

    Raises:
        ValueError: If the filter is not available for this kind of frame.

    Source: the reference resizes uint8 images by Pillow's bilinear filter.
    """
    is_bilinear = resample == PILImageResampling.BILINEAR
    if isinstance(frame, Image.Image):
        image = frame if frame.mode == "RGB" else frame.convert("RGB")
        if not (is_bilinear and _torch_equals_pillow(frame_size_hw(frame), size_hw)):
            image = image.resize((size_hw[1], size_hw[0]), resample)
        frame = _tensor_from_array(np.array(image)).permute(2, 0, 1)
    if frame_size_hw(frame) == size_hw:
        return frame
    if frame.dtype == torch.uint8 and frame.device.type == "cpu":
        if is_bilinear and _torch_equals_pillow(frame_size_hw(frame), size_hw):
            return _resize_bilinear(frame, size_hw)
        image = Image.fromarray(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()))
        return torch.from_numpy(np.array(image.resize((size_hw[1], size_hw[0]), resample))).permute(2, 0, 1)
    if not is_bilinear:
        raise ValueError(
            f"only uint8 frames on the CPU can be resized with filter {resample}; the others are bilinear"
        )
    resized = _resize_bilinear(frame.float(), size_hw)
    return resized if frame.is_floating_point() else resized.round_().clamp_(0, 255)


def nearest_source_indices(size: int, new_size: int) -> np.ndarray:
    """Which of `size` pixels each of `new_size` pixels takes in a nearest-neighbour resize, (new_size,).

    Source: Pillow, which the reference uses for masks. It steps through the pixels by adding in floating point, so
    that ties fall to either side: asked, not calculated.
    """
    positions = Image.fromarray(np.arange(size, dtype=np.int32)[None])
    return np.asarray(positions.resize((new_size, 1), PILImageResampling.NEAREST))[0]


def _nesting(images: Any) -> int:
    """0 for a frame, 1 for a video, 2 for several videos."""
    if isinstance(images, Image.Image):
        return 0
    if isinstance(images, np.ndarray | Tensor):
        if images.ndim not in (3, 4, 5):
            shape = tuple(images.shape)
            raise ValueError(f"expected a frame (3 dimensions), a video (4) or several (5), got shape {shape}")
        return images.ndim - 3
    if not isinstance(images, list | tuple):
        raise ValueError(f"expected a PIL image, an array, a tensor or a list of them, got {type(images).__name__}")
    if not images:
        raise ValueError("video 0 has no frames: the list is empty")
    first = images[0]
    if isinstance(first, np.ndarray | Tensor):
        return 1 if first.ndim <= 3 else 2
    return 2 if isinstance(first, list | tuple) else 1


def _frames(video: Any, index: int) -> list[Any]:
    is_array = isinstance(video, np.ndarray | Tensor)
    if isinstance(video, Image.Image) or (is_array and video.ndim == 3):
        return [video]
    if not (is_array and video.ndim == 4) and not isinstance(video, Sequence):
        kind = f"shape {tuple(video.shape)}" if is_array else type(video).__name__
        raise ValueError(f"video {index}: expected a list of frames, (L, H, W, 3) or (L, 3, H, W), got {kind}")
    if len(video) == 0:
        raise ValueError(f"video {index} has no frames")
    return list(video)


def _tensor_from_array(array: np.ndarray) -> Tensor:
    # torch refuses negative strides (a flipped view) and warns about read-only memory.
    is_plain = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return torch.from_numpy(array if is_plain else array.copy())


def _resize_bilinear(frame: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return F.interpolate(frame[None], size=size_hw, mode="bilinear", antialias=True, align_corners=False)[0]


def _torch_equals_pillow(size_hw: tuple[int, int], new_size_hw: tuple[int, int]) -> bool:
    """Whether torch's uint8 resize, several times faster, gives Pillow's result bit for bit.

    Both round sums of pixels times fixed-point weights, of different precision. Reduced to a half or a third, the sums
    have denominators (8, 7 and 9, 8 at the border) whose fractions are one half only where the weights are exact in
    both; at other ratios the two round apart.
    """
    return any(size_hw == (factor * new_size_hw[0], factor * new_size_hw[1]) for factor in (2, 3))

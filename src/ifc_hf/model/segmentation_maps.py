"""Maps of instance ids, one a frame, to the plain annotation that the processor makes labels of.

Letters: N instances, L frames of a video, (H, W) their size in pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

# Instance id -> class label, for a whole video, or one such mapping for every frame.
InstanceClasses = Mapping[int, int] | Sequence[Mapping[int, int]]


def annotation_from_maps(
    maps: Any,
    instance_id_to_semantic_id: InstanceClasses | None,
    num_frames: int,
    size_hw: tuple[int, int],
    ignore_index: int | None = None,
    do_reduce_labels: bool = False,
) -> dict[str, Any]:
    """The annotation of one video, from the instance id of every pixel.

    An id stands for the same object in all frames. Without `instance_id_to_semantic_id` it is the class label itself.

    Args:
        maps: (L, H, W) whole numbers, or L maps (H, W): arrays, tensors or PIL images; a single
            map if the video is one frame.
        instance_id_to_semantic_id: Class label of every id, for the video or for each of its frames.
        num_frames: L.
        size_hw: (H, W).
        ignore_index: The id of pixels that belong to no instance; None: there are none.
        do_reduce_labels: Whether 0 is the background and ids and classes count from 1: 0 becomes `ignore_index`, all
            others one less.

    Returns:
        `class_labels` (N,) and `masks` (N, L, H, W) bool, in the order of the ids.

    Raises:
        ValueError: If a map doesn't fit its frame, or an id has no class or two; the message names id and frame.

    Source: Mask2Former's processor in Transformers, which does so for one image.
    """
    if do_reduce_labels and ignore_index is None:
        raise ValueError("do_reduce_labels needs an ignore_index for what was 0")
    ids_per_frame = [_checked_map(one, frame, size_hw) for frame, one in enumerate(_split(maps, num_frames))]
    classes_per_frame = _split_classes(instance_id_to_semantic_id, num_frames)
    class_of: dict[int, int] = {}
    visible: list[tuple[int, int, int]] = []  # id in the map, reduced id, frame
    for frame, (ids, classes) in enumerate(zip(ids_per_frame, classes_per_frame, strict=True)):
        for raw in np.unique(ids).tolist():
            reduced = _reduced(raw, ignore_index, do_reduce_labels)
            if reduced == ignore_index:
                continue
            label = _class_of(raw, reduced, classes, frame, do_reduce_labels)
            if class_of.setdefault(reduced, label) != label:
                raise ValueError(
                    f"segmentation map, frame {frame}: instance {raw} is of class {label}, but of class "
                    f"{class_of[reduced]} in the frames before"
                )
            visible.append((raw, reduced, frame))
    row_of = {reduced: row for row, reduced in enumerate(sorted(class_of))}
    masks = np.zeros((len(row_of), num_frames, *size_hw), dtype=bool)
    for raw, reduced, frame in visible:
        masks[row_of[reduced], frame] |= ids_per_frame[frame] == raw
    return {"class_labels": np.array([class_of[reduced] for reduced in row_of], dtype=np.int64), "masks": masks}


def split_instance_classes(
    instance_id_to_semantic_id: Any, num_videos: int, is_batch: bool
) -> list[InstanceClasses | None]:
    """The classes of every video's instances: one mapping serves all, a list of several videos has an entry for each.

    Raises:
        ValueError: If the number of entries differs from that of the videos.
    """
    if not is_batch or instance_id_to_semantic_id is None or isinstance(instance_id_to_semantic_id, Mapping):
        return [instance_id_to_semantic_id] * num_videos
    if len(instance_id_to_semantic_id) != num_videos:
        raise ValueError(
            f"instance_id_to_semantic_id: expected a dict, or one for each of the {num_videos} videos, got "
            f"{len(instance_id_to_semantic_id)}"
        )
    return list(instance_id_to_semantic_id)


def _split(maps: Any, num_frames: int) -> list[Any]:
    is_array = isinstance(maps, np.ndarray | torch.Tensor)
    is_one_map = (is_array and maps.ndim == 2) or not (is_array or isinstance(maps, Sequence))
    found = [maps] if is_one_map else list(maps)
    if len(found) != num_frames:
        raise ValueError(f"segmentation maps: expected one for each of the {num_frames} frames, got {len(found)}")
    return found


def _checked_map(one: Any, frame: int, size_hw: tuple[int, int]) -> np.ndarray:
    """A map as an array of whole numbers (H, W)."""
    array = one.cpu().numpy() if isinstance(one, torch.Tensor) else np.asarray(one)
    if array.shape != size_hw:
        raise ValueError(f"segmentation map, frame {frame}: expected (height, width) {size_hw}, got {array.shape}")
    if array.dtype == bool or not (np.issubdtype(array.dtype, np.integer) or np.array_equal(array, np.round(array))):
        raise ValueError(f"segmentation map, frame {frame}: expected whole numbers as ids, got {array.dtype}")
    return array


def _split_classes(classes: InstanceClasses | None, num_frames: int) -> list[Mapping[int, int] | None]:
    if classes is None or isinstance(classes, Mapping):
        return [classes] * num_frames
    if not isinstance(classes, Sequence) or len(classes) != num_frames:
        got = f"{len(classes)}" if isinstance(classes, Sequence) else type(classes).__name__
        raise ValueError(
            f"instance_id_to_semantic_id: expected a dict, or one for each of the {num_frames} frames, got {got}"
        )
    return list(classes)


def _reduced(raw: int, ignore_index: int | None, do_reduce_labels: bool) -> int:
    if not do_reduce_labels:
        return int(raw)
    return int(ignore_index if raw == 0 else raw - 1)  # type: ignore[arg-type]  # checked by the caller


def _class_of(raw: int, reduced: int, classes: Mapping[int, int] | None, frame: int, do_reduce_labels: bool) -> int:
    """Class label of an id that occurs in a frame."""
    if classes is None:
        return reduced
    if raw not in classes:
        raise ValueError(
            f"segmentation map, frame {frame}: instance {int(raw)} is not in instance_id_to_semantic_id; background "
            "is left out by ignore_index"
        )
    return int(classes[raw]) - do_reduce_labels

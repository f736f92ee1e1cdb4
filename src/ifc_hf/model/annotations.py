"""Annotations of a video, in YouTube-VIS form or as plain masks, to the labels that the model trains on.

Letters: N instances, L annotated frames, (H, W) frame size in pixels, (h, w) size of what is shown of a frame.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from .frames import nearest_source_indices
from .masks import as_binary_masks, decode_segmentation, fill_polygons
from .rle import checked_polygons


@dataclass(frozen=True)
class FrameView:
    """What is shown of a frame: a part of it, scaled and possibly flipped.

    Attributes:
        frame_hw: Size of the frame in pixels.
        crop_xyxy: The part, in pixels of the frame.
        size_hw: Size of the part after scaling, in pixels.
        flip: Whether left and right are swapped.
    """

    frame_hw: tuple[int, int]
    crop_xyxy: tuple[int, int, int, int]
    size_hw: tuple[int, int]
    flip: bool = False

    @classmethod
    def of_whole_frame(cls, frame_hw: tuple[int, int], size_hw: tuple[int, int]) -> "FrameView":
        """All of a frame at another size."""
        return cls(frame_hw, (0, 0, frame_hw[1], frame_hw[0]), size_hw)

    def masks(self, segmentations: Sequence[Any]) -> np.ndarray:
        """Masks (N, h, w) bool of N segmentations of the frame, see `mask`; None gives an empty one.

        Raises:
            ValueError: If one is malformed or of another size; the message says which.
        """
        masks = np.zeros((len(segmentations), *self.size_hw), dtype=bool)
        for index, segmentation in enumerate(segmentations):
            if segmentation is None:
                continue
            try:
                masks[index] = self.mask(segmentation)
            except ValueError as error:
                raise ValueError(f"object {index}: {error}") from error
        return masks

    def mask(self, segmentation: Any) -> np.ndarray:
        """One mask (h, w) bool.

        Polygons are cut out, scaled and then filled, so that small objects keep their shape. RLEs and arrays are
        scaled by nearest neighbour.

        Args:
            segmentation: As for `decode_segmentation`, in pixels of the frame.

        Raises:
            ValueError: If it is malformed or of another size.

        Source: the reference's training mapper (detectron2's transforms of polygons and masks).
        """
        if isinstance(segmentation, list | tuple):
            polygons = checked_polygons(segmentation, *self.frame_hw)
            shown = [self._polygon(np.reshape(polygon, (-1, 2))) for polygon in polygons]
            return fill_polygons([points.flatten().tolist() for points in shown if len(points) > 2], *self.size_hw)
        return decode_segmentation(segmentation, *self.frame_hw)[self._rows[:, None], self._columns]

    @cached_property
    def _rows(self) -> np.ndarray:
        _, top, _, bottom = self.crop_xyxy
        return top + nearest_source_indices(bottom - top, self.size_hw[0])

    @cached_property
    def _columns(self) -> np.ndarray:
        left, _, right, _ = self.crop_xyxy
        columns = left + nearest_source_indices(right - left, self.size_hw[1])
        return columns[::-1] if self.flip else columns

    def _polygon(self, points_xy: np.ndarray) -> np.ndarray:
        """Corners (P, 2) of a polygon, x and y in pixels of the frame, as those of its part in the view."""
        left, top, right, bottom = self.crop_xyxy
        for axis, low, high in ((0, left, right), (1, top, bottom)):
            points_xy = _cut_polygon(points_xy, axis, low, 1.0)
            points_xy = _cut_polygon(points_xy, axis, high, -1.0)
        height, width = self.size_hw
        points_xy = (points_xy - (left, top)) * (width / (right - left), height / (bottom - top))
        return points_xy * (-1, 1) + (width, 0) if self.flip else points_xy


def _cut_polygon(points: np.ndarray, axis: int, limit: float, side: float) -> np.ndarray:
    """Part of a polygon (P, 2) where `side * coordinate >= side * limit` (the Sutherland-Hodgman algorithm)."""
    distances = side * (points[:, axis] - limit)
    if not len(points) or distances.min() >= 0:
        return points
    next_points, next_distances = np.roll(points, -1, axis=0), np.roll(distances, -1)
    is_inside, crosses = distances >= 0, (distances >= 0) != (next_distances >= 0)
    shares = np.divide(distances, distances - next_distances, where=crosses, out=np.zeros_like(distances))
    crossings = points + shares[:, None] * (next_points - points)
    # Each corner that stays is followed by the point where the side after it crosses the limit.
    return np.stack([points, crossings], axis=1)[np.stack([is_inside, crosses], axis=1)]


@dataclass(frozen=True)
class LabelSpace:
    """Which class labels exist and how category ids become labels.

    Attributes:
        category_id_to_label: Label of every category id; None: ids count from 1 without gaps, as in YouTube-VIS.
        num_labels: K, labels must be below it; None: any label from 0 on.
    """

    category_id_to_label: Mapping[int, int] | None = None
    num_labels: int | None = None

    def label_of(self, category_id: Any) -> int:
        """Class label of a category id.

        Raises:
            ValueError: If the id is not a known category.
        """
        if self.category_id_to_label is None:
            if category_id is None or int(category_id) < 1:
                raise ValueError(
                    f"category_id {category_id}: YouTube-VIS ids count from 1; pass category_id_to_label for others"
                )
            return self.checked(int(category_id) - 1)
        if category_id not in self.category_id_to_label:
            raise ValueError(f"unknown category_id {category_id}, known are {sorted(self.category_id_to_label)}")
        return self.checked(self.category_id_to_label[category_id])

    def checked(self, label: int) -> int:
        """The label, if it exists.

        Raises:
            ValueError: If it is out of range.
        """
        if label < 0 or (self.num_labels is not None and label >= self.num_labels):
            limit = "0 or more" if self.num_labels is None else f"0 to {self.num_labels - 1}"
            raise ValueError(f"class label {label} is out of range, expected {limit}")
        return label


def split_by_video(name: str, values: Any, num_videos: int, is_batch: bool) -> list[Any]:
    """What belongs to each video of what came along with the videos.

    Args:
        name: What it is, for the message.
        values: That of the video; or one entry per video: a list, an array or a tensor.
        num_videos: B.
        is_batch: Whether the videos came as a list of videos.

    Raises:
        ValueError: If there is not one entry per video.
    """
    if not is_batch:
        return [values]
    is_list = isinstance(values, Sequence | np.ndarray | Tensor)
    if not is_list or len(values) != num_videos:
        got = f"{len(values)} of them" if is_list else type(values).__name__
        raise ValueError(f"{name}: expected a list with one entry for each of the {num_videos} videos, got {got}")
    return list(values)


def make_labels(
    annotation: Any,
    num_frames: int,
    size_hw: tuple[int, int],
    new_size_hw: tuple[int, int],
    padded_shape: tuple[int, int, int],
    label_space: LabelSpace,
) -> dict[str, np.ndarray]:
    """Labels of one video.

    Args:
        annotation: `{"class_labels": (N,), "masks": (N, L, H, W)}`, or `{"annotations": [...]}`, or that list: a dict
            per instance with `category_id`, `segmentations` (L entries, None where absent; `segmentation` if L is 1)
            and optionally `id` and `iscrowd`. Crowds and instances absent from all frames are left out.
        num_frames: L.
        size_hw: Frame size to which the masks refer.
        new_size_hw: Frame size after resizing; masks follow, see `FrameView.mask`.
        padded_shape: T, H, W of the batch; masks are padded with zeros.
        label_space: The classes.

    Returns:
        `class_labels` (N,) int64 and `masks` (N, T, H, W) bool.

    Raises:
        ValueError: If something doesn't fit; the message names annotation and frame.
    """
    if isinstance(annotation, Mapping) and "class_labels" in annotation:
        instances = list(_plain_instances(annotation, num_frames, size_hw, label_space))
    else:
        instances = list(_ytvis_instances(annotation, num_frames, label_space))
    view = FrameView.of_whole_frame(size_hw, new_size_hw)
    height, width = new_size_hw
    masks = np.zeros((len(instances), *padded_shape), dtype=bool)
    for index, (_, where, segmentations) in enumerate(instances):
        for frame, segmentation in enumerate(segmentations):
            if segmentation is None:
                continue
            try:
                masks[index, frame, :height, :width] = view.mask(segmentation)
            except ValueError as error:
                raise ValueError(f"{where}, frame {frame}: {error}") from error
    class_labels = np.array([label for label, _, _ in instances], dtype=np.int64)
    return {"class_labels": class_labels, "masks": masks}


Instance = tuple[int, str, Sequence[Any] | np.ndarray]  # class label, name for errors, one segmentation per frame


def _ytvis_instances(annotation: Any, num_frames: int, label_space: LabelSpace) -> Iterator[Instance]:
    items = annotation.get("annotations") if isinstance(annotation, Mapping) else annotation
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise ValueError(
            "expected a list of instances or a dict with 'annotations' or with 'class_labels' and 'masks', got "
            + (f"the keys {sorted(annotation)}" if isinstance(annotation, Mapping) else type(annotation).__name__)
        )
    for index, item in enumerate(items):
        where = f"annotation {index}"
        if not isinstance(item, Mapping):
            raise ValueError(f"{where}: expected a dict, got {type(item).__name__}")
        if "id" in item:
            where = f"annotation {index} (id {item['id']})"
        segmentations = item.get("segmentations")
        if segmentations is None and num_frames == 1 and "segmentation" in item:
            segmentations = [item["segmentation"]]
        if segmentations is None:
            raise ValueError(f"{where}: has no 'segmentations', only the keys {sorted(item)}")
        if len(segmentations) != num_frames:
            raise ValueError(f"{where}: has {len(segmentations)} segmentations, the video has {num_frames} frames")
        try:
            label = label_space.label_of(item.get("category_id"))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if not item.get("iscrowd") and any(segmentation is not None for segmentation in segmentations):
            yield label, where, segmentations


def _plain_instances(
    annotation: Mapping[str, Any], num_frames: int, size_hw: tuple[int, int], label_space: LabelSpace
) -> Iterator[Instance]:
    if "masks" not in annotation:
        raise ValueError(f"'class_labels' need 'masks' beside them, got the keys {sorted(annotation)}")
    labels = np.asarray(annotation["class_labels"]).reshape(-1)
    if isinstance(annotation["masks"], Sequence) and not annotation["masks"]:
        masks = np.zeros((0, num_frames, *size_hw), dtype=bool)
    else:
        masks = as_binary_masks(annotation["masks"], "masks")
    expected = (len(labels), num_frames, *size_hw)
    if masks.shape != expected:
        raise ValueError(f"masks: expected shape (N, L, H, W) = {expected}, got {masks.shape}")
    for index, (label, instance_masks) in enumerate(zip(labels, masks, strict=True)):
        where = f"instance {index}"
        if not float(label).is_integer():
            raise ValueError(f"{where}: class label {label} is not an integer")
        try:
            checked = label_space.checked(int(label))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        yield checked, where, instance_masks

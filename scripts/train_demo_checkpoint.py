"""Train the small demo checkpoint that ships with the package on generated clips (see `demo_clips.py`), on a CPU.

    python scripts/train_demo_checkpoint.py --assets ASSETS --work WORK --output src/ifc_hf/checkpoints/demo

Deterministic for a given machine and torch version; an interrupted run goes on from WORK/state.pt. Needs
`opencv-python-headless`, `resvg_py` and `scikit-image` beside the package.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from demo_clips import LABELS, Assets, load_assets, make_clip
from torch import Tensor, nn
from tqdm import tqdm
from transformers import ResNetConfig
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation, IfcImageProcessor, IfcVideoSegmenter
from ifc_hf.evaluation.ytvis_map import evaluate_ytvis
from ifc_hf.mask_utils_ifc import encode_rle
from ifc_hf.model_cards import eval_results_of, markdown_table, model_card
from ifc_hf.modeling_ifc import IfcFrozenBatchNorm2d

TRAINING_FRAMES = 2  # per clip; the network takes any number afterwards
TRAINING_SIZE_HW = (96, 160)
SIZE_HW = (128, 224)  # of evaluation clips; the processor scales to this height: finer masks than at the training's
LEARNING_RATE = 6e-4
WARM_UP_STEPS = 100
MAX_GRADIENT_NORM = 1.0  # the paper's 0.01 is meant for a pretrained backbone
STEPS_PER_SAVE = 100
EVALUATION_SEEDS = (1001, 1002, 1003)
EVALUATION_CLIPS, EVALUATION_FRAMES = 20, 8


def main() -> None:
    """Train, then export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="folder with the packages that demo_clips.py names")
    parser.add_argument("--work", type=Path, required=True, help="folder for extracted assets and the training state")
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--steps", type=int, default=1200, help="length of the learning rate schedule")
    parser.add_argument("--stop-at", type=int, help="step at which to stop before the schedule's end")
    parser.add_argument("--batch-size", type=int, default=4, help="clips per step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.stop_at = min(args.stop_at or args.steps, args.steps)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = IfcForVideoInstanceSegmentation(demo_config())
    thaw_batch_norms(model)
    assets = load_assets(args.assets, args.work)
    seconds = train(model, assets, args)
    exported = export(model, args.output)
    scores = {seed: evaluate(exported, args.output, assets, seed) for seed in EVALUATION_SEEDS}
    write_model_card(args.output, exported, scores, seconds / 60, args)


def demo_config() -> IfcConfig:
    """A tenth of the paper's model: ResNet-18-like with fewer channels, half the width, two encoder layers."""
    backbone = ResNetConfig(
        layer_type="basic",
        embedding_size=32,
        hidden_sizes=[32, 64, 128, 256],
        depths=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )
    return IfcConfig(
        backbone_config=backbone,
        hidden_size=128,
        encoder_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        dropout=0.0,
        num_queries=12,
        num_frames=5,
        frozen_backbone_stages=0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )


def thaw_batch_norms(module: nn.Module) -> None:
    """Put trainable batch norm in the place of the frozen one: this backbone starts from nothing."""
    for name, child in module.named_children():
        if isinstance(child, IfcFrozenBatchNorm2d):
            thawed = nn.BatchNorm2d(len(child.weight), child.eps)
            thawed.load_state_dict(child.state_dict(), strict=False)
            setattr(module, name, thawed)
        else:
            thaw_batch_norms(child)


def train(model: nn.Module, assets: Assets, args: argparse.Namespace) -> float:
    """Run the training steps that are still to do.

    Args:
        model: With trainable batch norm.
        assets: The cut-outs.
        args: The command's.

    Returns:
        CPU seconds spent in all runs together (the wall clock would count what else the machine did).
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    state_file = args.work / "state.pt"
    first_step, seconds_before = 0, 0.0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first_step, seconds_before = state["step"], state["seconds"]
    start = time.process_time()
    model.train()
    running: dict[str, float] = {}
    progress = tqdm(
        range(first_step, args.stop_at), initial=first_step, total=args.stop_at, unit="step", mininterval=5
    )
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * learning_rate_factor(step, args.steps)
        indices = range(step * args.batch_size, (step + 1) * args.batch_size)
        clips = [make_clip(assets, args.seed, index, TRAINING_FRAMES, TRAINING_SIZE_HW) for index in indices]
        outputs = model(
            pixel_values=torch.stack([normalised(frames) for frames, _, _ in clips]),
            labels=[
                {"class_labels": torch.from_numpy(labels), "masks": torch.from_numpy(masks)}
                for _, labels, masks in clips
            ],
        )
        optimizer.zero_grad()
        outputs.loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        for name in ("loss_ce", "loss_mask", "loss_dice", "class_error"):
            value = float(outputs.loss_dict[name].detach())
            running[name] = 0.98 * running.get(name, value) + 0.02 * value
        progress.set_postfix({name: f"{value:.3f}" for name, value in running.items()}, refresh=False)
        if (step + 1) % STEPS_PER_SAVE == 0 or step + 1 == args.stop_at:
            seconds = seconds_before + time.process_time() - start
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
                "seconds": seconds,
            }
            torch.save(state, state_file.with_suffix(".part"))
            os.replace(state_file.with_suffix(".part"), state_file)
    return seconds_before + time.process_time() - start


def learning_rate_factor(step: int, num_steps: int) -> float:
    """Linear warm-up, then half a cosine."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP_STEPS) / max(1, num_steps - WARM_UP_STEPS)))


def normalised(frames: np.ndarray) -> Tensor:
    """(T, H, W, 3) uint8 -> (T, 3, H, W) float, as the processor does it."""
    mean, std = torch.tensor(IMAGENET_DEFAULT_MEAN), torch.tensor(IMAGENET_DEFAULT_STD)
    return ((torch.from_numpy(frames) / 255 - mean) / std).permute(0, 3, 1, 2)


def export(trained: nn.Module, folder: Path) -> IfcForVideoInstanceSegmentation:
    """Write model and processor; the weights are stored in half precision and load as float32.

    Returns:
        The model as it will be loaded.
    """
    model = IfcForVideoInstanceSegmentation(demo_config())
    weights = {name: value for name, value in trained.state_dict().items() if not name.endswith("num_batches_tracked")}
    model.load_state_dict(weights)
    model.half().save_pretrained(folder)
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text()) | {"dtype": "float32"}
    config_file.write_text(json.dumps(config, indent=2) + "\n")
    (folder / "model.safetensors").chmod(0o644)
    processor = IfcImageProcessor(size={"shortest_edge": SIZE_HW[0], "longest_edge": 4 * SIZE_HW[0]})
    processor.save_pretrained(folder)
    return IfcForVideoInstanceSegmentation.from_pretrained(folder)


def evaluate(model: IfcForVideoInstanceSegmentation, folder: Path, assets: Assets, seed: int) -> dict[str, float]:
    """Scores on clips that were not trained on (they show the same cut-outs, though).

    Args:
        model: The exported model.
        folder: Where its processor is.
        assets: The cut-outs.
        seed: Of the clips.

    Returns:
        Those of `evaluate_ytvis`.
    """
    segmenter = IfcVideoSegmenter(model, IfcImageProcessor.from_pretrained(folder))
    videos, annotations, predictions = [], [], []
    for index in range(EVALUATION_CLIPS):
        frames, labels, masks = make_clip(assets, seed, index, EVALUATION_FRAMES, SIZE_HW)
        height, width = SIZE_HW
        videos.append({"id": index + 1, "height": height, "width": width, "length": len(frames)})
        for label, instance_masks in zip(labels.tolist(), masks, strict=True):
            rles = encode_rle(instance_masks)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": index + 1,
                    "category_id": label + 1,
                    "iscrowd": 0,
                    "segmentations": [
                        rle if mask.any() else None for rle, mask in zip(rles, instance_masks, strict=True)
                    ],
                    "areas": [int(mask.sum()) or None for mask in instance_masks],
                }
            )
        for track in segmenter(frames):
            predictions.append(
                {
                    "video_id": index + 1,
                    "category_id": track["label_id"] + 1,
                    "score": track["score"],
                    "segmentations": track["segmentations"],
                }
            )
    categories = [{"id": index + 1, "name": label} for index, label in enumerate(LABELS)]
    truth = {"videos": videos, "annotations": annotations, "categories": categories}
    return evaluate_ytvis(truth, predictions)


INTRODUCTION = """\
**A tiny demo model, trained for {minutes:.0f} CPU minutes on pasted cut-outs. It shows that the package works; it is
not for real use.** On real videos expect missed objects, wrong classes and rough masks."""

SCORES = """\
On {clips} generated clips of {frames} frames, of other seeds than the training's. They show the **same
cut-outs**: this says how well the model learned those, not how well it does on anything else.

{table}"""

TRAINING = """\
- Model: {parameters:.1f} M parameters: ResNet of {blocks} basic blocks, {queries} queries, width {width}. Frames are
  scaled to {size} pixels on the shorter side, so masks are coarse.
- Data: generated clips (`scripts/demo_clips.py`) of emoji, and of rabbits cut out of Big Buck Bunny with GrabCut, that
  move over pictures, with exact masks. The shot of the film that the package's sample clip shows was not used.
- Training: `{command}`: {steps} steps of {batch_size} clips of {frames} frames, {training_size} pixels,
  seed {seed}. Hardware: {hardware}, torch {torch}.
- Data credits: Fluent Emoji (c) Microsoft, MIT; Noto Emoji (c) Google, Apache-2.0; Big Buck Bunny (c) 2008 Blender
  Foundation / www.bigbuckbunny.org, CC-BY 3.0; pictures of scikit-image, CC0."""


def write_model_card(
    folder: Path, model: nn.Module, scores: dict[int, dict], minutes: float, args: argparse.Namespace
) -> None:
    """Write README.md."""
    names = ("AP", "AP50", "AP75", "AR10")
    rows = [[seed, *(f"{result[name]:.3f}" for name in names)] for seed, result in scores.items()]
    means = {name: 100 * statistics.mean(result[name] for result in scores.values()) for name in names}
    config = model.config
    card = model_card(
        "ifc-demo",
        "path/to/this/folder",
        INTRODUCTION.format(minutes=minutes),
        LABELS,
        config.num_frames,
        SCORES.format(
            clips=EVALUATION_CLIPS, frames=EVALUATION_FRAMES, table=markdown_table(["evaluation seed", *names], rows)
        ),
        TRAINING.format(
            parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
            blocks=sum(config.backbone_config.depths),
            width=config.hidden_size,
            queries=config.num_queries,
            size=SIZE_HW[0],
            command=f"python scripts/train_demo_checkpoint.py --steps {args.steps} --stop-at {args.stop_at}",
            steps=args.stop_at,
            batch_size=args.batch_size,
            frames=TRAINING_FRAMES,
            training_size="x".join(map(str, TRAINING_SIZE_HW)),
            seed=args.seed,
            hardware=f"{args.threads} thread of a shared {platform.machine()} CPU",
            torch=torch.__version__,
        ),
        eval_results=eval_results_of("generated-clips", "Generated clips", "held-out seeds", means),
        license="apache-2.0",
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()

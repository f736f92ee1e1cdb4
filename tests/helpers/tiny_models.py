"""Models small enough for a test of a second."""

from pathlib import Path
from typing import Any

import torch

from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation, IfcImageProcessor

TINY_BACKBONE = {
    "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1],
    "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip


def tiny_config(**changes: Any) -> IfcConfig:
    settings = {
        "backbone_config": TINY_BACKBONE, "hidden_size": 32, "encoder_layers": 2, "decoder_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 64, "num_queries": 7, "num_memory_tokens": 3, "num_labels": 3,
        "dropout": 0.0,
    }  # fmt: skip
    return IfcConfig(**{**settings, **changes})


def tiny_model(seed: int = 0, **changes: Any) -> IfcForVideoInstanceSegmentation:
    """Random weights, in training mode; dropout 0 unless said otherwise."""
    torch.manual_seed(seed)
    return IfcForVideoInstanceSegmentation(tiny_config(**changes)).train()


def save_tiny_model(folder: Path) -> Path:
    """A model folder for commands: three classes, and random weights that see an object in every query."""
    model = tiny_model(num_frames=3, id2label={0: "cat", 1: "dog", 2: "fish"}).eval()
    with torch.no_grad():
        model.class_head.layers[-1].bias[-1] = -5.0
    torch.nn.init.normal_(model.mask_head.query_mlp.layers[-1].weight)  # logits of both signs, hence some masks
    model.save_pretrained(folder)
    IfcImageProcessor(size={"shortest_edge": 48, "longest_edge": 100}).save_pretrained(folder)
    return folder

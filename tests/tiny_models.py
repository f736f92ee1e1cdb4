"""Models small enough for a test of a second."""

from typing import Any

import torch

from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation

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

"""A checkpoint from a folder or the Hub: the model and its processor."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model.image_processing_ifc import IfcImageProcessor
    from .model.modeling_ifc import IfcForVideoInstanceSegmentation


def load_checkpoint(
    checkpoint: str | os.PathLike[str], device: str = "cpu"
) -> tuple["IfcForVideoInstanceSegmentation", "IfcImageProcessor"]:
    """Loads a model, in float32 and evaluation mode, and its processor.

    Args:
        checkpoint: Folder or Hub id.
        device: Where the model goes.

    Returns:
        The model and the processor.

    Raises:
        ValueError: If the checkpoint holds another kind of model.
        OSError: If there is no checkpoint.
    """
    import torch
    from transformers import AutoConfig

    from .model.image_processing_ifc import IfcImageProcessor
    from .model.modeling_ifc import IfcForVideoInstanceSegmentation

    if Path(checkpoint).is_dir() and not (Path(checkpoint) / "config.json").is_file():
        raise FileNotFoundError(f"{checkpoint}: no model folder, it holds no config.json")
    config = AutoConfig.from_pretrained(checkpoint)
    if config.model_type != "ifc":
        raise ValueError(f"{checkpoint} holds a model of type {config.model_type!r}, expected 'ifc'")
    model = IfcForVideoInstanceSegmentation.from_pretrained(checkpoint, dtype=torch.float32).to(device)
    return model.eval(), IfcImageProcessor.from_pretrained(checkpoint)

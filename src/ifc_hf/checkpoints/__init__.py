"""The checkpoint that ships with the package."""

import os
from pathlib import Path

DEMO = "demo"
# What a command says of it, in one line.
SHIPPED_MODEL_NOTE = (
    "The shipped model is a small one, trained on generated clips of cut-outs: it knows drawings. For real videos "
    "take the authors' weights: docs/weights.md, or github.com/sukjunhwang/IFC (Model Checkpoints) and ifc-hf convert."
)


def default_checkpoint() -> Path:
    """Folder of the shipped checkpoint, for `from_pretrained`.

    It is a small model that was trained on generated clips of cut-outs, to try everything without a download, and no
    model of the real world: its README.md says what it can do.
    """
    return Path(__file__).parent / DEMO


def find_checkpoint(name: str | os.PathLike[str]) -> str:
    """The shipped checkpoint's folder for the name "demo", unless a folder here is called so; else the name itself."""
    is_shipped = str(name) == DEMO and not Path(DEMO).is_dir()
    return str(default_checkpoint()) if is_shipped else str(name)

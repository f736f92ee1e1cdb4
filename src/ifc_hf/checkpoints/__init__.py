"""The checkpoint that ships with the package."""

from pathlib import Path


def default_checkpoint() -> Path:
    """Folder of the shipped checkpoint, for `from_pretrained`.

    It is a small model that was trained on generated clips of cut-outs, to try everything without a download, and no
    model of the real world: its README.md says what it can do.
    """
    return Path(__file__).parent / "demo"

"""The checkpoint that ships with the package."""

from pathlib import Path


def default_checkpoint() -> Path:
    """Folder of the shipped checkpoint, for `from_pretrained`.

    It is a tiny model that was trained for some minutes on pasted cut-outs, enough to try everything without a
    download and for nothing else: its README.md says what it can do.
    """
    return Path(__file__).parent / "demo"

"""The sample clips that ship with the package."""

from pathlib import Path

CLIPS = ("bunny", "generated")


def sample_clip(name: str = "bunny") -> Path:
    """Path of a video of 640x360 pixels.

    Args:
        name: "bunny": 40 frames of Big Buck Bunny, (c) 2008 Blender Foundation, CC-BY 3.0: peach.blender.org.
            "generated": 24 frames that `scripts/make_clips.py generate --split val-style` composed; NOTICE credits the
            pictures.

    Raises:
        ValueError: If there is no clip of that name.
    """
    if name not in CLIPS:
        raise ValueError(f"expected a sample clip of {CLIPS}, got {name!r}")
    return Path(__file__).parent / f"{name}.mp4"


def sample_annotations() -> Path:
    """The exact masks of the clip "generated": a YouTube-VIS annotation file of one video."""
    return Path(__file__).parent / "generated.json"

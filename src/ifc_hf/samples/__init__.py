"""The sample clip that ships with the package."""

from pathlib import Path


def sample_clip() -> Path:
    """Path of 40 frames of Big Buck Bunny, 640x360 (c) 2008 Blender Foundation, CC-BY 3.0: peach.blender.org."""
    return Path(__file__).parent / "bunny.mp4"

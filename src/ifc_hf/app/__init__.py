"""A demo in the browser: videos in; drawn videos, their tracks and their files out.

`launch` is the entry: `ifc-hf app` calls it, and the Space that `scripts/make_space.py` writes. Needs Gradio
(`pip install "ifc_hf[app]"`).
"""

from .page import launch

__all__ = ["launch"]

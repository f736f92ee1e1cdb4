"""IFC (Inter-Frame Communication Transformers) for video instance segmentation, as a Transformers package."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .registration import register_all

if TYPE_CHECKING:
    from .checkpoints import default_checkpoint
    from .data import load_coco, load_ytvis
    from .evaluation import YtvisMap
    from .model.configuration_ifc import IfcConfig
    from .model.image_processing_ifc import IfcImageProcessor
    from .model.modeling_ifc import IfcForVideoInstanceSegmentation, IfcModel
    from .model.pipeline_ifc import VideoInstanceSegmentationPipeline
    from .model.tracking import IfcClipTracker
    from .model.tracks import FrameResult, Track, tracks_to_json
    from .model.video_files import read_frames
    from .model.video_segmenter import IfcVideoSegmenter
    from .outputs.video_writer import VideoWriter
    from .training import IfcTrainer, IfcTrainingArguments

# Where each public name lives; imported at its first use, because Transformers' model classes cost seconds to import.
MODULE_OF = {
    "FrameResult": "model.tracks",
    "IfcClipTracker": "model.tracking",
    "IfcConfig": "model.configuration_ifc",
    "IfcForVideoInstanceSegmentation": "model.modeling_ifc",
    "IfcImageProcessor": "model.image_processing_ifc",
    "IfcModel": "model.modeling_ifc",
    "IfcTrainer": "training",
    "IfcTrainingArguments": "training",
    "IfcVideoSegmenter": "model.video_segmenter",
    "Track": "model.tracks",
    "VideoInstanceSegmentationPipeline": "model.pipeline_ifc",
    "VideoWriter": "outputs.video_writer",
    "YtvisMap": "evaluation",
    "default_checkpoint": "checkpoints",
    "load_coco": "data",
    "load_ytvis": "data",
    "read_frames": "model.video_files",
    "tracks_to_json": "model.tracks",
}

__version__ = "0.1.0"
__all__ = [
    "FrameResult",
    "IfcClipTracker",
    "IfcConfig",
    "IfcForVideoInstanceSegmentation",
    "IfcImageProcessor",
    "IfcModel",
    "IfcTrainer",
    "IfcTrainingArguments",
    "IfcVideoSegmenter",
    "Track",
    "VideoInstanceSegmentationPipeline",
    "VideoWriter",
    "YtvisMap",
    "default_checkpoint",
    "load_coco",
    "load_ytvis",
    "read_frames",
    "tracks_to_json",
]


def __getattr__(name: str) -> Any:
    """Imports the module of a public name when the name is first used."""
    if name not in MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists the public names that have not been imported yet, too."""
    return sorted({*globals(), *__all__})


register_all()

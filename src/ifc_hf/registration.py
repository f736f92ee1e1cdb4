"""Registers IFC with Transformers' Auto classes and pipelines when they are first used.

Why not at once: the Auto mappings hold classes, and importing the class of a model costs seconds, the configuration's
Auto module alone half a second. So every registration waits until the module that owns its mapping has been imported
(the Auto classes live there as well, so no mapping can be used before). wrapt's post-import hooks call back at
once where that has happened already.

Why a hook on our modules as well: `modeling_ifc` itself imports an Auto class. Then the hook of the Auto module comes
while our class is not defined yet, and the end of our own import has to do the registration.
"""

import sys
from collections.abc import Callable
from importlib import import_module

from wrapt import register_post_import_hook


def register_all() -> None:
    """Arranges every registration; imports neither a model nor an Auto module."""
    auto = "transformers.models.auto"
    register_when_used("model.configuration_ifc", "IfcConfig", f"{auto}.configuration_auto", register_config)
    register_when_used(
        "model.modeling_ifc", "IfcForVideoInstanceSegmentation", f"{auto}.modeling_auto", register_models
    )
    register_when_used(
        "model.image_processing_ifc", "IfcImageProcessor", f"{auto}.image_processing_auto", register_image_processor
    )
    register_when_used(
        "model.pipeline_ifc", "VideoInstanceSegmentationPipeline", "transformers.pipelines", register_pipeline
    )


def register_when_used(module: str, class_name: str, auto_module: str, register: Callable[[], None]) -> None:
    """Calls `register` as soon as `auto_module` and our class both exist; importing the former imports the latter.

    Args:
        module: Module of this package, relative name.
        class_name: The last class that `register` takes from it.
        auto_module: Absolute name of the Transformers module that owns the mapping.
        register: Writes the mapping; may run twice, so it has to allow existing entries.
    """
    own_module = f"{__package__}.{module}"

    def after_own_module(_: object) -> None:
        if auto_module in sys.modules and hasattr(sys.modules[own_module], class_name):
            register()

    def after_auto_module(_: object) -> None:
        import_module(own_module)
        after_own_module(_)

    register_post_import_hook(after_own_module, own_module)
    register_post_import_hook(after_auto_module, auto_module)


def register_config() -> None:
    """Makes `AutoConfig` know `model_type: "ifc"`."""
    from transformers import AutoConfig

    from .model.configuration_ifc import IfcConfig

    AutoConfig.register(IfcConfig.model_type, IfcConfig, exist_ok=True)


def register_models() -> None:
    """Makes the Auto classes know the model and its head, and `AutoBackbone` the trunk of EfficientNet-Lite."""
    from transformers import (
        AutoBackbone,
        AutoModel,
        AutoModelForInstanceSegmentation,
        AutoModelForUniversalSegmentation,
    )

    from .model.configuration_efficientnet_lite import EfficientNetLiteConfig
    from .model.configuration_ifc import IfcConfig
    from .model.modeling_efficientnet_lite import EfficientNetLiteBackbone
    from .model.modeling_ifc import IfcForVideoInstanceSegmentation, IfcModel

    AutoModel.register(IfcConfig, IfcModel, exist_ok=True)
    for auto_class in (AutoModelForInstanceSegmentation, AutoModelForUniversalSegmentation):
        auto_class.register(IfcConfig, IfcForVideoInstanceSegmentation, exist_ok=True)
    AutoBackbone.register(EfficientNetLiteConfig, EfficientNetLiteBackbone, exist_ok=True)


def register_image_processor() -> None:
    """Makes `AutoImageProcessor` know the processor.

    One class, two keys: Transformers looks for "torchvision" where torchvision is installed, for "pil" elsewhere.
    """
    from transformers import AutoImageProcessor

    from .model.configuration_ifc import IfcConfig
    from .model.image_processing_ifc import IfcImageProcessor

    classes: dict[str, type] = {"torchvision": IfcImageProcessor, "pil": IfcImageProcessor}
    AutoImageProcessor.register(IfcConfig, image_processor_classes=classes, exist_ok=True)


def register_pipeline() -> None:
    """Makes `pipeline` know the task `video-instance-segmentation`; the registry warns when told twice."""
    from transformers import AutoModelForInstanceSegmentation
    from transformers.pipelines import PIPELINE_REGISTRY

    from .model.pipeline_ifc import TASK, VideoInstanceSegmentationPipeline

    if TASK not in PIPELINE_REGISTRY.supported_tasks:
        PIPELINE_REGISTRY.register_pipeline(
            TASK, VideoInstanceSegmentationPipeline, pt_model=AutoModelForInstanceSegmentation, type="video"
        )

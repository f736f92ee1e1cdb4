"""Exported files against the network, at sizes that they were not traced with; refusals that leave nothing behind."""

import errno
import importlib.util
import json
import os
import shutil

import pytest
import torch
from transformers import AutoConfig, ViTConfig

from exported_models import save_tiny_checkpoint, tiny_checkpoint, tiny_onnx_folder
from full_disk import files_up_to
from ifc_hf import IfcImageProcessor
from ifc_hf.cli.main import main
from ifc_hf.export import (
    export_model,
    make_runner,
    max_difference,
    store_weights_in_half,
    trace,
    trace_example,
    write_program,
)
from ifc_hf.loading import load_checkpoint

SHAPES = ((1, 1, 64, 96), (1, 5, 80, 50), (3, 2, 97, 33))  # B, T, H, W
LITE_BACKBONE = {
    "model_type": "efficientnet_lite", "stem_channels": 8, "num_block_repeats": [1] * 5,
    "kernel_sizes": [3, 3, 5, 3, 5], "out_channels": [8, 8, 16, 24, 32], "strides": [1, 2, 2, 2, 2],
    "expand_ratios": [1, 2, 2, 2, 2], "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip

needs_onnx = pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="ONNX is the extra `export`")
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is the extra `openvino`"
)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs a compiler")


def random_clip(B: int, T: int, H: int, W: int) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(B, T, 3, H, W, generator=torch.Generator().manual_seed(H))}


@needs_onnx
@pytest.mark.parametrize("shape", SHAPES)
def test_onnx_agrees_at_any_size(shape):
    model, _ = load_checkpoint(tiny_checkpoint())
    runner = make_runner("onnx", tiny_onnx_folder() / "model.onnx")
    assert max_difference(model, runner, [random_clip(*shape)]) < 1e-4


@needs_onnx
def test_onnx_folder_says_what_it_is():
    import onnxruntime

    folder = tiny_onnx_folder()
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert [(node.name, node.shape) for node in session.get_inputs()] == [("pixel_values", ["B", "T", 3, "H", "W"])]
    assert [node.name for node in session.get_outputs()] == ["class_queries_logits", "masks_queries_logits"]
    report = json.loads((folder / "export.json").read_text())
    assert report["max_difference"] < report["tolerance"] == 1e-3
    (B, T, _, H, W), (other_B, other_T, _, other_H, other_W) = report["checked_shapes"]
    assert other_B != B and other_T != T and other_H != H and other_W != W
    assert AutoConfig.from_pretrained(folder).num_frames == 3
    assert IfcImageProcessor.from_pretrained(folder).size["shortest_edge"] == 72
    assert sorted(os.listdir(folder)) == ["config.json", "export.json", "model.onnx", "preprocessor_config.json"]


@needs_onnx
def test_weights_in_half_the_space(tmp_path):
    original, half = tiny_onnx_folder() / "model.onnx", tmp_path / "half.onnx"
    shutil.copy(original, half)
    store_weights_in_half(half)
    # The graph itself takes most of the space of so small a network.
    assert half.stat().st_size < original.stat().st_size - 100_000
    model, _ = load_checkpoint(tiny_checkpoint())
    assert 1e-6 < max_difference(model, make_runner("onnx", half), [random_clip(1, 3, 64, 96)]) < 2e-2


@needs_openvino
def test_openvino_agrees_at_any_size(tmp_path):
    # Written from the same graph as the ONNX file: reading that one makes the test fast.
    import openvino

    network = openvino.Core().read_model(tiny_onnx_folder() / "model.onnx")
    openvino.save_model(network, tmp_path / "model.xml", compress_to_fp16=False)
    model, _ = load_checkpoint(tiny_checkpoint())
    clips = [random_clip(*shape) for shape in SHAPES]
    assert max_difference(model, make_runner("openvino", tmp_path / "model.xml"), clips) < 1e-4


@pytest.mark.slow
@needs_openvino
@pytest.mark.parametrize("weights", ["float32", "float16"])
def test_openvino_folder(weights, tmp_path):
    report = export_model(tiny_checkpoint(), tmp_path / "out", "openvino", weights=weights)
    files = ["config.json", "export.json", "model.bin", "model.xml", "preprocessor_config.json"]
    assert sorted(os.listdir(tmp_path / "out")) == files
    assert report.input_shapes == {"pixel_values": ["B", "T", 3, "H", "W"]}
    bytes_of_weights = (tmp_path / "out" / "model.bin").stat().st_size
    assert report.file_bytes == bytes_of_weights + (tmp_path / "out" / "model.xml").stat().st_size
    num_parameters = load_checkpoint(tiny_checkpoint())[0].num_parameters()
    assert bytes_of_weights < {"float32": 4.5, "float16": 2.5}[weights] * num_parameters


@pytest.mark.slow
def test_torch_export_with_mask(tmp_path):
    report = export_model(tiny_checkpoint(), tmp_path / "out", "torch-export", has_mask=True)
    assert report.input_shapes["pixel_mask"] == ["B", "T", "H", "W"]
    model, _ = load_checkpoint(tiny_checkpoint())
    runner = make_runner("torch-export", tmp_path / "out" / "model.pt2")
    for shape in SHAPES:
        clip = random_clip(*shape)
        clip["pixel_mask"] = torch.ones_like(clip["pixel_values"][:, :, 0], dtype=torch.bool)
        clip["pixel_mask"][..., -9:] = False
        assert max_difference(model, runner, [clip]) < 1e-4


@pytest.mark.slow
@needs_onnx
def test_padding_that_depends_on_the_size_stays_free(tmp_path):
    folder = save_tiny_checkpoint(tmp_path / "lite", backbone_config=LITE_BACKBONE)
    model, _ = load_checkpoint(folder)
    program = trace(model, trace_example(has_mask=False), is_dynamic=True)
    clips = [random_clip(*shape) for shape in (*SHAPES, (1, 3, 63, 128))]
    assert max_difference(model, lambda clip: program.module()(**clip), clips) < 1e-4
    write_program(program, "onnx", tmp_path / "model.onnx", is_dynamic=True)
    assert max_difference(model, make_runner("onnx", tmp_path / "model.onnx"), clips) < 1e-4


@pytest.mark.slow
@needs_compiler
def test_aoti_at_a_fixed_size(tmp_path):
    report = export_model(tiny_checkpoint(), tmp_path / "out", "aoti", size_hw=(64, 96), num_frames=3)
    assert report.input_shapes == {"pixel_values": [1, 3, 3, 64, 96]}
    model, _ = load_checkpoint(tiny_checkpoint())
    runner = make_runner("aoti", tmp_path / "out" / "model.pt2")
    assert max_difference(model, runner, [random_clip(1, 3, 64, 96)]) < 1e-4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits the size of files in a process of its own")
def test_a_file_that_cant_be_written_to_its_end_is_an_error_and_not_the_end_of_the_process(tmp_path):
    program = torch.export.export(torch.nn.Linear(100, 100), (torch.zeros(1, 100),))
    pid = os.fork()
    if pid == 0:
        try:
            with files_up_to(4096):
                write_program(program, "torch-export", tmp_path / "model.pt2", is_dynamic=False)
        except OSError as error:
            os._exit(error.errno)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.EFBIG


@pytest.mark.parametrize("error", [0.01, float("nan")])
def test_a_file_that_differs_is_not_kept(error, tmp_path, monkeypatch):
    def make_wrong_runner(export_format, file):
        right = make_runner(export_format, file)
        return lambda inputs: tuple(logits + error * logits.abs().max() for logits in right(inputs))

    monkeypatch.setattr("ifc_hf.export.make_runner", make_wrong_runner)
    with pytest.raises(ValueError, match="differs from PyTorch's by .* tolerance of 1e-03: nothing was written"):
        export_model(tiny_checkpoint(), tmp_path / "out", "torch-export", size_hw=(40, 64), num_frames=2)
    assert os.listdir(tmp_path) == []


def error_line(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def export(*arguments: object) -> int:
    return main(["export", *map(str, arguments)])


def test_command_says_what_it_did(tmp_path, capsys):
    arguments = ("--format", "torch-export", "--size", "40x64", "--num-frames", 2)
    assert export(tiny_checkpoint(), "-o", tmp_path / "out", *arguments) == 0
    output = capsys.readouterr().out
    assert "largest difference from PyTorch on clips of 1x2x3x40x64, 1x2x3x40x64: " in output
    assert f"Wrote {tmp_path / 'out'}" in output


def test_wrong_checkpoint_folder(tmp_path, capsys):
    ViTConfig().save_pretrained(tmp_path / "vit")
    assert export(tmp_path / "vit", "-o", tmp_path / "out", "--format", "torch-export") == 1
    assert "holds a model of type 'vit', expected 'ifc'" in error_line(capsys)
    (tmp_path / "empty").mkdir()
    assert export(tmp_path / "empty", "-o", tmp_path / "out", "--format", "torch-export") == 1
    assert "empty: no model folder, it holds no config.json" in error_line(capsys)
    assert sorted(os.listdir(tmp_path)) == ["empty", "vit"]


def test_output_can_not_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert export(tiny_checkpoint(), "-o", tmp_path / "file" / "out", "--format", "torch-export") == 1
    assert str(tmp_path / "file") in error_line(capsys)
    assert export(tiny_checkpoint(), "-o", tmp_path, "--format", "torch-export") == 1
    assert "exists already and is not an empty folder" in error_line(capsys)


def test_missing_package_is_named_with_the_extra(tmp_path, capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxscript" else find_spec(name, *rest)
    )
    assert export(tiny_checkpoint(), "-o", tmp_path / "out") == 1
    assert error_line(capsys) == 'error: the format onnx needs onnxscript: pip install "ifc_hf[export]"'
    assert not (tmp_path / "out").exists()


def test_missing_compiler(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    fixed = ("--size", "64x96", "--num-frames", 3)
    assert export(tiny_checkpoint(), "-o", tmp_path / "out", "--format", "aoti", *fixed) == 1
    assert "AOTInductor needs a C++ compiler" in error_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "aoti"), "can't compile this network for free sizes: fix them (--size 360x640 --num-frames 5)"),
        (("--size", "64x96"), "a fixed size needs both the height and width and the number of frames"),
        (
            ("--format", "torch-export", "--weights", "float16"),
            "only files of the formats onnx, openvino can hold float16 weights",
        ),
        (("--size", "64"), "expected height x width such as 360x640, got '64'"),
        (("--format", "tflite"), "invalid choice: 'tflite'"),
    ],
)
def test_wrong_usage_ends_with_2(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        export(tiny_checkpoint(), "-o", tmp_path / "out", *arguments)
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert os.listdir(tmp_path) == []

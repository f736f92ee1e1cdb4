"""Every engine gives what the model's own operations give, at any size, stride and length."""

import itertools
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ifc_hf import IfcImageProcessor, IfcVideoSegmenter
from ifc_hf.cli import arguments
from ifc_hf.model import engines
from ifc_hf.model.engine import Engine, EngineSettings
from ifc_hf.model.engine_torch import CompiledEngine, TorchEngine
from ifc_hf.model.engines import ENGINES, engine_class
from ifc_hf.model.upsampled_convolution import UpsampledConvolution
from tiny_models import tiny_model

SIZES_HW = [(40, 56), (64, 96), (33, 97), (95, 130), (31, 32), (1, 40)]


def tiny_wide_model(**changes):
    """Two channels in every group of the mask head's norms, as a norm of single pixels amplifies rounding."""
    model = tiny_model(hidden_size=64, **changes).eval()
    with torch.no_grad():
        model.class_head.layers[-1].bias[-1] = -5.0  # every query sees an object
    return model


@pytest.fixture(scope="module")
def model():
    return tiny_wide_model(decoder_layers=1)


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    """A cache that the tests of this file share: both exported engines read the same graphs."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("ifc_hf.model.engine_cache.constants.HF_HOME", str(tmp_path_factory.mktemp("hf_home")))
        yield


def outputs_of(engine, frames):
    features = engine.features(frames)
    [window] = engine.encode_windows([features])
    return *window, *engine.find_instances(window, features)


def assert_engines_agree(engine, plain, frames):
    for found, expected in zip(outputs_of(engine, frames), outputs_of(plain, frames), strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def frames_of(size_hw, length, seed=0):
    return list(torch.randn(length, 3, *size_hw, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize(
    ("num_frames", "windows_per_frame", "frames_per_batch"), [(3, 3.0, 1), (3, 1.0, 2), (1, 1.0, 4)]
)
def test_lean_engine(model, size_hw, num_frames, windows_per_frame, frames_per_batch):
    settings = EngineSettings(frames_per_batch, windows_per_frame)
    assert_engines_agree(TorchEngine(model, settings), Engine(model, settings), frames_of(size_hw, num_frames))


@pytest.mark.parametrize("changes", [{"pre_norm": True}, {"num_memory_tokens": 0}, {"encoder_layers": 1}])
def test_lean_engine_of_other_networks(changes):
    model, settings = tiny_wide_model(**changes), EngineSettings(1, 3.0)
    assert_engines_agree(TorchEngine(model, settings), Engine(model, settings), frames_of((40, 56), 3))


@pytest.mark.parametrize(("name", "library"), [("openvino", "openvino"), ("onnxruntime", "onnxruntime")])
def test_exported_engines(model, name, library):
    pytest.importorskip(library, reason="its extra is not installed")
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    engine, plain = ENGINES[name](model, EngineSettings(1, 3.0)), Engine(model, EngineSettings(1, 3.0))
    for size_hw, length in [((40, 56), 3), ((33, 50), 2), ((40, 56), 1)]:
        assert_engines_agree(engine, plain, frames_of(size_hw, length))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_random_sizes_and_lengths_with_one_graph(model, name, monkeypatch):
    """The graphs are traced by the test above, or here; after that no size makes them anew."""
    pytest.importorskip(name, reason="its extra is not installed")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    settings = EngineSettings(2, 3.0)
    engine, plain = ENGINES[name](model, settings), Engine(model, settings)
    monkeypatch.setattr(ENGINES[name], "export_frames", None)
    monkeypatch.setattr(ENGINES[name], "export_window", None)
    generator = np.random.default_rng(0)
    for seed in range(6):
        height, width, length = generator.integers((33, 33, 1), (110, 150, 6)).tolist()
        assert_engines_agree(engine, plain, frames_of((height, width), length, seed))


@pytest.mark.slow
def test_compiled_engine(model):
    settings = EngineSettings(1, 3.0)
    assert_engines_agree(CompiledEngine(model, settings), Engine(model, settings), frames_of((40, 56), 3))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_segmenter_with_another_engine(model, name):
    pytest.importorskip(name, reason="its extra is not installed")
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    video = np.random.default_rng(0).integers(0, 256, (6, 40, 56, 3), dtype=np.uint8)
    processor = IfcImageProcessor(do_resize=False)
    expected = IfcVideoSegmenter(model, processor, num_frames=3)(video)
    found = IfcVideoSegmenter(model, processor, num_frames=3, engine=name)(video)
    assert [(track.track_id, track.label) for track in found] == [(track.track_id, track.label) for track in expected]
    assert [track.score for track in found] == pytest.approx([track.score for track in expected], abs=1e-5)


def test_auto_takes_what_is_there(model, monkeypatch):
    monkeypatch.setattr(engines, "has_openvino", lambda: False)
    assert engine_class("auto", model) is TorchEngine
    monkeypatch.setattr(engines, "has_openvino", lambda: True)
    assert engine_class("auto", model) is ENGINES["openvino"]
    assert engine_class("auto", tiny_model().to(torch.bfloat16)) is TorchEngine


def test_unknown_engine(model):
    message = "engine must be one of torch, compile, openvino, onnxruntime, auto, got 'tensorrt'"
    with pytest.raises(ValueError, match=message):
        IfcVideoSegmenter(model, IfcImageProcessor(), engine="tensorrt")


@pytest.mark.parametrize(("name", "extra"), [("openvino", "openvino"), ("onnxruntime", "export")])
def test_a_missing_runtime_is_named(model, monkeypatch, name, extra):
    monkeypatch.setitem(sys.modules, name, None)
    segmenter = IfcVideoSegmenter(model, IfcImageProcessor(), engine=name)
    with pytest.raises(ImportError, match=rf'pip install "ifc_hf\[{extra}\]"'):
        segmenter([np.zeros((40, 56, 3), np.uint8)])


def test_half_precision_is_refused_by_exported_engines():
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    segmenter = IfcVideoSegmenter(tiny_model().to(torch.bfloat16), IfcImageProcessor(), engine="onnxruntime")
    with pytest.raises(ValueError, match="expected a model on the CPU in float32, got cpu and torch.bfloat16"):
        segmenter([np.zeros((40, 56, 3), np.uint8)])


@pytest.mark.parametrize(
    ("small_hw", "cut_hw"), list(itertools.product([(1, 1), (2, 3), (5, 4)], [(0, 0), (1, 0), (0, 1), (1, 1)]))
)
def test_upsampled_convolution(small_hw, cut_hw):
    generator = torch.Generator().manual_seed(0)
    weight, maps = torch.randn(6, 4, 3, 3, generator=generator), torch.randn(2, 4, *small_hw, generator=generator)
    size_hw = tuple(2 * small - cut for small, cut in zip(small_hw, cut_hw, strict=True))
    expected = F.conv2d(F.interpolate(maps, size=size_hw, mode="nearest"), weight, padding=1)
    torch.testing.assert_close(UpsampledConvolution(weight)(maps, size_hw), expected)


def test_the_command_line_offers_every_engine():
    assert arguments.ENGINE_NAMES == engines.ENGINE_NAMES

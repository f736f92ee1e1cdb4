"""The console script: what `predict` writes, what it skips, one line and the right exit code for every bad input."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ResNetConfig, ViTConfig

from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation, IfcImageProcessor
from ifc_hf.cli.main import command_names, main
from ifc_hf.mask_utils_ifc import decode_rle
from ifc_hf.video_io import VideoWriter, read_frames, video_info


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    backbone = ResNetConfig(
        layer_type="basic",
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )
    config = IfcConfig(
        backbone_config=backbone, hidden_size=32, num_attention_heads=2, intermediate_size=32, num_queries=6,
        encoder_layers=1, decoder_layers=1, num_frames=3, id2label={0: "cat", 1: "dog", 2: "fish"},
        label2id={"cat": 0, "dog": 1, "fish": 2},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("model")
    model = IfcForVideoInstanceSegmentation(config)
    torch.nn.init.normal_(model.mask_head.query_mlp.layers[-1].weight)  # logits of both signs, hence some masks
    model.save_pretrained(folder)
    IfcImageProcessor(size={"shortest_edge": 48, "longest_edge": 100}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    random = np.random.default_rng(0)
    with VideoWriter(path, fps=10) as writer:
        for _ in range(7):
            writer.write(random.integers(0, 255, (54, 96, 3), dtype=np.uint8))
    return path


def predict(*arguments) -> int:
    return main(["predict", *map(str, arguments)])


def test_predict_writes_tracks_and_a_drawn_video(model_folder, video, tmp_path, capsys):
    pytest.importorskip("supervision", reason="drawing is the extra `draw`")
    assert predict(video, "-o", tmp_path, "--model", model_folder, "--threshold", 0) == 0
    content = json.loads((tmp_path / "clip" / "tracks.json").read_text())
    assert (content["height"], content["width"], content["num_frames"], content["fps"]) == (54, 96, 7, 10)
    assert content["problem"] is None
    np.testing.assert_allclose(content["frame_times_seconds"], np.arange(7) / 10, atol=1e-5)
    assert content["tracks"], "an untrained model at threshold 0 reports something"
    scores = [track["score"] for track in content["tracks"]]
    assert scores == sorted(scores, reverse=True)
    for track in content["tracks"]:
        assert {"track_id", "label_id", "label", "score", "segmentations", "boxes"} <= set(track)
        assert len(track["segmentations"]) == len(track["boxes"]) == 7
    rles = [rle for track in content["tracks"] for rle in track["segmentations"] if rle is not None]
    assert decode_rle(rles[0]).shape == (54, 96)
    drawn = tmp_path / "clip" / "drawn.mp4"
    assert (video_info(drawn).size_hw, len(list(read_frames(drawn)))) == ((54, 96), 7)
    assert sorted(os.listdir(tmp_path / "clip")) == ["drawn.mp4", "tracks.json"]
    assert str(drawn) in capsys.readouterr().out


def test_finished_videos_are_skipped_until_the_settings_change(model_folder, video, tmp_path, capsys):
    common = (video, "-o", tmp_path, "--model", model_folder, "--no-video")
    result = tmp_path / "clip" / "tracks.json"
    assert predict(*common) == 0
    first = result.stat().st_mtime_ns
    assert predict(*common) == 0
    assert result.stat().st_mtime_ns == first
    assert "done before" in capsys.readouterr().out
    assert predict(*common, "--threshold", 0.9) == 0
    second = result.stat().st_mtime_ns
    assert second > first
    assert json.loads(result.read_text())["settings"]["threshold"] == 0.9
    assert predict(*common, "--threshold", 0.9, "--overwrite") == 0
    assert result.stat().st_mtime_ns > second


def test_folder_of_frames(model_folder, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(4):
        Image.new("RGB", (64, 48), (40 * index, 0, 0)).save(frames / f"{index}.jpg")
    assert predict(frames, "-o", tmp_path / "out", "--model", model_folder, "--no-video", "--num-frames", 2) == 0
    assert json.loads((tmp_path / "out" / "frames" / "tracks.json").read_text())["num_frames"] == 4


def test_truncated_video_gives_what_is_readable_and_exit_code_1(model_folder, video, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[: video.stat().st_size * 2 // 3])
    assert predict(broken, video, "-o", tmp_path, "--model", model_folder, "--no-video") == 1
    content = json.loads((tmp_path / "broken" / "tracks.json").read_text())
    assert 0 < content["num_frames"] < 7
    assert "of 7 frames were readable" in content["problem"]
    assert "broken.mp4: truncated" in capsys.readouterr().err
    assert (tmp_path / "clip" / "tracks.json").exists(), "the other video is done nevertheless"


def error_line(capsys) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_missing_video_is_said_before_anything_is_done(model_folder, video, tmp_path, capsys):
    assert predict(video, tmp_path / "none.mp4", "-o", tmp_path, "--model", model_folder) == 1
    assert "none.mp4: no such file or folder" in error_line(capsys)
    assert os.listdir(tmp_path) == []


def test_not_a_video(model_folder, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    assert predict(tmp_path / "text.mp4", "-o", tmp_path / "out", "--model", model_folder) == 1
    assert "text.mp4: not a readable video" in error_line(capsys)
    assert not (tmp_path / "out").exists()


def test_missing_drawing_library_is_said_before_anything_is_done(model_folder, video, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ifc_hf.visualization.sv", None)
    assert predict(video, "-o", tmp_path / "out", "--model", model_folder) == 1
    assert 'drawing needs supervision: pip install "ifc_hf[draw]"' in error_line(capsys)
    assert not (tmp_path / "out").exists()


def test_videos_of_one_name(model_folder, video, tmp_path, capsys):
    (tmp_path / "b").mkdir()
    shutil.copy(video, tmp_path / "b" / "clip.mp4")
    assert predict(video, tmp_path / "b" / "clip.mp4", "-o", tmp_path / "out", "--model", model_folder) == 1
    assert "would both be written to" in error_line(capsys)


def test_wrong_model_folder(video, tmp_path, capsys):
    ViTConfig().save_pretrained(tmp_path / "vit")
    assert predict(video, "-o", tmp_path, "--model", tmp_path / "vit") == 1
    assert "holds a model of type 'vit', expected 'ifc'" in error_line(capsys)
    (tmp_path / "empty").mkdir()
    assert predict(video, "-o", tmp_path, "--model", tmp_path / "empty") == 1
    assert "empty" in error_line(capsys)


def test_output_is_not_a_folder(model_folder, video, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert predict(video, "-o", tmp_path / "taken", "--model", model_folder, "--no-video") == 1
    assert "taken" in error_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("segment",), "invalid choice: 'segment'"),
        (("predict", "a.mp4"), "the following arguments are required: -o/--output"),
        (("predict", "a.mp4", "-o", "x", "--num-frames", "0"), "expected a whole number of at least 1, got '0'"),
        (("predict", "a.mp4", "-o", "x", "--clip-stride", "1.5"), "expected a whole number of at least 1, got '1.5'"),
        (("predict", "a.mp4", "-o", "x", "--threshold", "2"), "expected a number from 0 to 1, got '2'"),
    ],
)
def test_wrong_usage_ends_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", command_names())
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "usage: ifc-hf" in capsys.readouterr().out


def test_interrupt(model_folder, video, tmp_path, monkeypatch, capsys):
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ifc_hf.cli.predict.run", interrupt)
    assert predict(video, "-o", tmp_path, "--model", model_folder) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_help_does_not_import_torch():
    code = "import sys, ifc_hf.cli.main as main; main.make_parser(); print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "False\n"

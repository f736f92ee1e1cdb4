"""The console script: what `predict` writes, what it skips, one line and the right exit code for every bad input."""

import errno
import json
import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import ViTConfig

from dead_processes import part_of_a_dead_process
from ifc_hf.cli.main import command_names, main
from ifc_hf.model.masks import decode_rle
from ifc_hf.model.video_files import read_frames, video_info
from ifc_hf.outputs.video_writer import VideoWriter
from tiny_models import save_tiny_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


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
    assert (content["complete"], content["problem"]) == (True, None)
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
    common = (video, "-o", tmp_path, "--model", model_folder, "--save", "tracks")
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
    assert predict(frames, "-o", tmp_path / "out", "--model", model_folder, "--save", "tracks", "--num-frames", 2) == 0
    assert json.loads((tmp_path / "out" / "frames" / "tracks.json").read_text())["num_frames"] == 4


def test_truncated_video_gives_what_is_readable_and_exit_code_1(model_folder, video, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[: video.stat().st_size * 2 // 3])
    assert predict(broken, video, "-o", tmp_path, "--model", model_folder, "--save", "tracks") == 1
    content = json.loads((tmp_path / "broken" / "tracks.json").read_text())
    assert 0 < content["num_frames"] < 7
    assert not content["complete"] and "of 7 frames were readable" in content["problem"]
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
    assert os.listdir(tmp_path / "out") == []


def test_missing_drawing_library_is_said_before_anything_is_done(model_folder, video, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ifc_hf.outputs.instances.sv", None)
    assert predict(video, "-o", tmp_path / "out", "--model", model_folder) == 1
    assert 'drawing needs supervision: pip install "ifc_hf[draw]"' in error_line(capsys)
    assert not (tmp_path / "out").exists()


def test_videos_of_one_name_get_distinct_folders(model_folder, video, tmp_path):
    places = [tmp_path / day / "clip.mp4" for day in "ab"]
    for place in places:
        place.parent.mkdir()
        shutil.copy(video, place)
    options = ("--model", model_folder, "--save", "tracks")
    assert predict(*places, "-o", tmp_path / "out", *options) == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["a_clip", "b_clip"]


def test_wrong_model_folder(video, tmp_path, capsys):
    ViTConfig().save_pretrained(tmp_path / "vit")
    assert predict(video, "-o", tmp_path, "--model", tmp_path / "vit") == 1
    assert "holds a model of type 'vit', expected 'ifc'" in error_line(capsys)
    (tmp_path / "empty").mkdir()
    assert predict(video, "-o", tmp_path, "--model", tmp_path / "empty") == 1
    assert "empty" in error_line(capsys)


def test_output_that_cannot_be_written_to(model_folder, video, tmp_path, capsys, monkeypatch):
    (tmp_path / "taken").write_text("")
    assert predict(video, "-o", tmp_path / "taken", "--model", model_folder) == 1
    assert "taken: can't be written to (File exists)" in error_line(capsys)

    def refuse(dir: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir))

    monkeypatch.setattr("ifc_hf.cli.predict.tempfile.TemporaryFile", refuse)
    assert predict(video, "-o", tmp_path / "locked", "--model", model_folder) == 1
    assert "locked: can't be written to (Permission denied)" in error_line(capsys)


def test_no_arguments_give_the_help(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["ifc-hf"])
    assert main() == main([]) == 2
    assert capsys.readouterr().out.count("videos in, tracks and drawn videos out") == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("weights.pth", "`ifc-hf convert` makes a"),
        ("nobody/no-such-model", "no such folder, and not to be had from the Hub"),
    ],
)
def test_a_model_that_is_none_is_named(video, tmp_path, monkeypatch, capsys, name, expected):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert predict(video, "-o", tmp_path / "out", "--model", name) == 1
    expected = (
        "`ifc-hf convert` makes a folder"
        if name.endswith(".pth")
        else "no such folder, and not to be had from the Hub"
    )
    message = error_line(capsys)
    assert message.startswith(f"error: {name}: ") and expected in message


def test_unknown_class(model_folder, video, tmp_path, capsys):
    assert predict(video, "-o", tmp_path, "--model", model_folder, "--classes", "cat,cow") == 1
    assert "classes: unknown cow; the model knows cat, dog, fish" in error_line(capsys)
    assert os.listdir(tmp_path) == []


def test_camera_needs_an_end(model_folder, tmp_path, capsys):
    assert predict("0", "-o", tmp_path, "--model", model_folder) == 1
    assert "0: a camera has no end: say how many frames to take, as --frames :300" in error_line(capsys)
    assert predict("77", "-o", tmp_path, "--model", model_folder, "--frames", ":3", "--save", "tracks") == 1
    assert "camera 77: can't be opened" in error_line(capsys)


def test_videos_that_hold_nothing(model_folder, tmp_path, capsys):
    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))
    assert predict(sound, "-o", tmp_path / "out", "--model", model_folder) == 1
    assert "sound.wav: holds no video stream, only audio" in error_line(capsys)
    (tmp_path / "empty").mkdir()
    assert predict(tmp_path / "empty", "-o", tmp_path / "out", "--model", model_folder) == 1
    assert error_line(capsys).endswith("empty: the folder holds neither videos nor pictures")
    (tmp_path / "empty" / "day1").mkdir()
    (tmp_path / "empty" / "day1" / "a.MP4").touch()
    assert predict(tmp_path / "empty", "-o", tmp_path / "out", "--model", model_folder) == 1
    assert error_line(capsys).endswith(f"pictures; for those of its folders: '{tmp_path}/empty/*/*.MP4'")
    clip = tmp_path / "a.mp4"
    with VideoWriter(clip) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    assert predict(clip, "-o", tmp_path / "out", "--model", model_folder, "--frames", "5:9") == 1
    assert "a.mp4: ends before frame 5, no frame is in 5:9" in error_line(capsys)
    assert os.listdir(tmp_path / "out") == []


def test_folder_with_a_bad_picture_gives_the_others(model_folder, tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (40, 30)).save(folder / f"{index}.png")
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:50])
    save = ("--save", "tracks,video,masks")
    assert predict(folder, "-o", tmp_path / "out", "--model", model_folder, *save) == 1
    assert "1.png: frame 1 is not a readable picture" in capsys.readouterr().err
    content = json.loads((tmp_path / "out" / "frames" / "tracks.json").read_text())
    assert (content["num_frames"], content["bad_packets"], content["complete"]) == (2, 1, False)
    assert content["frame_times_seconds"] == [0, 0.08]
    assert len(list(read_frames(tmp_path / "out" / "frames" / "drawn.mp4"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("segment",), "invalid choice: 'segment'"),
        (("predict",), "the following arguments are required: VIDEO"),
        (("predict", "a.mp4", "-o", "x", "--num-frames", "0"), "expected a whole number of at least 1, got '0'"),
        (("predict", "a.mp4", "-o", "x", "--clip-stride", "1.5"), "expected a whole number of at least 1, got '1.5'"),
        (("predict", "a.mp4", "-o", "x", "--threshold", "2"), "expected a number from 0 to 1, got '2'"),
        (("predict", "a.mp4", "-o", "x", "--save", "tracks,film"), "unknown film; expected some of tracks, results"),
        (("predict", "a.mp4", "-o", "x", "--frames", "5:2"), "expected FIRST:END with FIRST < END"),
        (("predict", "a.mp4", "-o", "x", "--frames", "5"), "expected FIRST:END with FIRST < END"),
        (("predict", "a.mp4", "-o", "x", "--fps", "0"), "expected a number above 0, got '0'"),
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


def test_interrupted_run_leaves_no_half_file_and_goes_on(model_folder, video, tmp_path, monkeypatch, capsys):
    other = shutil.copy(video, tmp_path / "other.mp4")
    out = tmp_path / "out"
    common = (video, other, "-o", out, "--model", model_folder, "--threshold", 0, "--save", "video,masks,cutouts")
    write, written = VideoWriter.write, []

    def interrupted(self, frame, time):
        written.append(frame)
        if len(written) == 10:  # in the second video
            raise KeyboardInterrupt
        write(self, frame, time)

    monkeypatch.setattr(VideoWriter, "write", interrupted)
    assert predict(*common) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")
    assert sorted(os.listdir(out / "clip")) == ["cutouts", "drawn.mp4", "masks", "tracks.json"]
    assert os.listdir(out / "other") == ["tracks.json"], "the tracks are complete, the rest is not there by half"
    (out / "other" / part_of_a_dead_process("drawn.mp4")).write_text("what a killed run leaves")
    monkeypatch.setattr(VideoWriter, "write", write)
    monkeypatch.setattr("ifc_hf.IfcVideoSegmenter.stream", None)  # its tracks are there: nothing to segment
    assert predict(*common) == 0
    assert f"{video}: done before" in capsys.readouterr().out
    assert sorted(os.listdir(out / "other")) == ["cutouts", "drawn.mp4", "masks", "tracks.json"]


def test_full_disk_ends_the_run(model_folder, video, tmp_path, monkeypatch, capsys):
    other = shutil.copy(video, tmp_path / "other.mp4")

    def full(self, frame, time):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(VideoWriter, "write", full)
    assert predict(video, other, "-o", tmp_path / "out", "--model", model_folder, "--threshold", 0) == 1
    assert "clip: the disk is full; make room and start again" in error_line(capsys)
    assert os.listdir(tmp_path / "out") == ["clip"], "the other video is not begun"
    assert os.listdir(tmp_path / "out" / "clip") == ["tracks.json"]


def test_help_does_not_import_torch():
    code = "import sys, ifc_hf.cli.main as main; main.make_parser(); print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "False\n"

"""`ifc-hf predict --jsonl` and `--live`: a line for every frame as soon as it is finished; cameras until Ctrl-C."""

import io
import json
import os
from pathlib import Path

import av
import numpy as np
import pytest

from fake_camera import FakeCamera
from ifc_hf.cli.main import main
from ifc_hf.model import live_video
from ifc_hf.model.masks import decode_rle
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs import live, threads
from ifc_hf.outputs.video_writer import VideoWriter
from loopback_video import LEVELS_APART, VideoServer
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
            writer.write(random.integers(0, 255, (36, 64, 3), dtype=np.uint8))
    return path


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments)])


def test_a_line_for_every_frame(model_folder, video, tmp_path, capsys):
    common = (video, "-o", tmp_path / "out", "--model", model_folder, "--threshold", 0, "--save", "tracks")
    assert predict(*common, "--jsonl", tmp_path / "lines.jsonl") == 0
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [line["frame_index"] for line in lines] == list(range(7))
    assert {line["video"] for line in lines} == {str(video)}
    np.testing.assert_allclose([line["time_seconds"] for line in lines], np.arange(7) / 10, atol=1e-5)
    tracks = json.loads((tmp_path / "out" / "clip" / "tracks.json").read_text())["tracks"]
    for line in lines:
        seen = {item["track_id"]: item for item in line["objects"] if item["box"][2] > item["box"][0]}
        expected = {track["track_id"]: track["segmentations"][line["frame_index"]] for track in tracks}
        for track_id, item in seen.items():
            assert item["segmentation"] == expected[track_id]
            assert decode_rle(item["segmentation"]).shape == (36, 64)
        assert {track_id for track_id, rle in expected.items() if rle is not None} == set(seen)
    capsys.readouterr()
    # Finished before, yet the lines come again; nothing but lines goes to the standard output.
    assert predict(*common, "--jsonl", "-") == 0
    captured = capsys.readouterr()
    assert [json.loads(line) for line in captured.out.splitlines()] == lines
    assert str(tmp_path / "out" / "clip" / "tracks.json") in captured.err


def test_lines_come_before_the_video_has_ended(model_folder, video, tmp_path, monkeypatch):
    """A reader of the lines that asks which frames of the source were decoded by then."""
    from ifc_hf.outputs.frame_lines import FrameLines

    behind, read = [], []
    add = FrameLines.add

    def watched(self, name, result, time):
        behind.append(len(read) - result.frame_index)
        add(self, name, result, time)

    def counted(items):
        for item in items:
            read.append(item)
            yield item

    monkeypatch.setattr(FrameLines, "add", watched)
    monkeypatch.setattr("ifc_hf.outputs.segmenting.read_ahead", counted)
    arguments = (video, "-o", tmp_path, "--model", model_folder, "--save", "tracks", "--jsonl", tmp_path / "lines")
    assert predict(*arguments, "--num-frames", 1) == 0
    assert len(behind) == 7 and behind[0] < 7, "the first line comes before the last frame"


def test_a_reader_that_goes_away_ends_the_run_in_one_line(model_folder, video, tmp_path, monkeypatch, capsys):
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("sys.stdout", Closed())
    arguments = (video, "-o", tmp_path, "--model", model_folder, "--save", "tracks", "--jsonl", "-")
    assert predict(*arguments) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "nobody reads the output any more" in errors[0]


def test_a_camera_is_followed_until_ctrl_c(model_folder, video, tmp_path, monkeypatch, capsys):
    pytest.importorskip("supervision", reason="drawing is the extra `draw`")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(live.LiveParts.__init__, "__defaults__", (0.45,))
    really_open = av.open
    camera = FakeCamera(monkeypatch, video)

    def open_any(name, mode="r", **options):
        is_device = str(name).startswith("/dev/")
        return camera(name, mode, **options) if is_device else really_open(name, mode, **options)

    monkeypatch.setattr("ifc_hf.model.video_files.av.open", open_any)
    add, added = live.LiveParts.add, []

    def interrupted(self, result, frame, time):
        if len(added) == 12:
            raise KeyboardInterrupt
        added.append(frame)
        add(self, result, frame, time)

    monkeypatch.setattr(live.LiveParts, "add", interrupted)
    options = ("--model", model_folder, "--threshold", 0, "--num-frames", 2, "--jsonl", tmp_path / "lines.jsonl")
    assert predict(0, "-o", tmp_path / "out", "--live", *options) == 0
    folder = tmp_path / "out" / "camera0"
    parts = sorted(folder.glob("*.jsonl"))
    lines = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    indices = [line["frame_index"] for line in lines]
    assert indices == list(range(12)) and len(parts) >= 2
    assert lines == [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert sorted(os.listdir(folder)) == sorted(part.stem + end for part in parts for end in (".jsonl", ".mp4"))
    drawn = [len(list(read_frames(part.with_suffix(".mp4")))) for part in parts]
    assert drawn == [len(part.read_text().splitlines()) for part in parts]
    assert "12 frames, see" in capsys.readouterr().out


@pytest.mark.parametrize("cut", [False, True], ids=["between pictures", "within a picture"])
def test_an_address_that_drops_twice_is_followed_through(model_folder, tmp_path, monkeypatch, capsys, caplog, cut):
    pytest.importorskip("supervision", reason="drawing is the extra `draw`")
    monkeypatch.setattr(live_video, "WAITS_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(live.LiveParts.__init__, "__defaults__", (0.3,))
    monkeypatch.setattr(threads, "put_latest", threads.put)  # a slow machine would leave out frames
    server = VideoServer(None, connections=3, cut=cut)
    options = ("--model", model_folder, "--threshold", 1, "--num-frames", 2, "--jsonl", "-")
    assert predict(server.address, "-o", tmp_path, "--live", *options) == 1
    server.shutdown()
    captured = capsys.readouterr()
    assert "error: " in captured.err and "30 frames were readable" in captured.err
    folder = tmp_path / "camera"
    parts = sorted(folder.glob("*.jsonl"))
    lines = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert [line["frame_index"] for line in lines] == list(range(30))
    assert [json.loads(line) for line in captured.out.splitlines()] == lines
    assert (np.diff([line["time_seconds"] for line in lines]) > 0).all()
    # Each picture was drawn once, and every file of a part can be played.
    assert len(parts) > 2 and sorted(os.listdir(folder)) == sorted(
        part.stem + end for part in parts for end in (".jsonl", ".mp4")
    )
    frames = [[frame.mean() for frame in read_frames(part.with_suffix(".mp4"))] for part in parts]
    assert [len(levels) for levels in frames] == [len(part.read_text().splitlines()) for part in parts]
    sent = [LEVELS_APART * picture for picture in range(33) if not cut or picture % 11 != 10]
    np.testing.assert_allclose(sum(frames, []), sent[:30], atol=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0", "1"), "--live follows one camera or address, not files"),
        (("{video}",), "--live follows one camera or address, not files"),
        (("0", "--save", "tracks,sheet"), "--live writes tracks and video alone"),
    ],
)
def test_what_cannot_be_followed_is_refused(model_folder, video, tmp_path, capsys, arguments, message):
    places = [str(video) if argument == "{video}" else argument for argument in arguments]
    assert predict(*places, "--live", "-o", tmp_path / "out", "--model", model_folder) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""`ifc-hf predict` over results that are there, beside other processes, with faults: nothing stale, nothing lost."""

import json
import os
import re
import shutil
import signal
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from ifc_hf.checkpoints import default_checkpoint
from ifc_hf.cli.main import main, make_parser
from ifc_hf.cli.predict import notes, track_settings
from ifc_hf.files import temporary_name
from ifc_hf.loading import load_config
from ifc_hf.outputs.locks import locked
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.outputs.worker import VideoWorker
from tiny_models import save_tiny_model, tiny_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def write_video(path: Path, seed: int = 0, num_frames: int = 4) -> Path:
    random = np.random.default_rng(seed)
    with VideoWriter(path, fps=10) as writer:
        for _ in range(num_frames):
            writer.write(random.integers(0, 255, (36, 64, 3), dtype=np.uint8))
    return path


def predict(*arguments: object, save: str = "tracks") -> int:
    return main(["predict", *map(str, arguments), "--save", save])


def tracks_of(folder: Path) -> list:
    return json.loads((folder / "tracks.json").read_text())["tracks"]


def test_results_belong_to_the_video_and_the_model(model_folder, tmp_path, capsys):
    model = shutil.copytree(model_folder, tmp_path / "model")
    video = write_video(tmp_path / "clip.mp4")
    common = (video, "--model", model, "--threshold", 0.05)
    assert predict(*common, "-o", tmp_path / "out") == 0
    first = tracks_of(tmp_path / "out" / "clip")
    write_video(video, seed=1)
    assert predict(*common, "-o", tmp_path / "out") == predict(*common, "-o", tmp_path / "fresh") == 0
    assert "done anew, for the video has changed" in capsys.readouterr().out
    second = tracks_of(tmp_path / "out" / "clip")
    assert second == tracks_of(tmp_path / "fresh" / "clip") != first
    retrained = tiny_model(seed=5, num_frames=3, id2label={0: "cat", 1: "dog", 2: "fish"}).eval()
    retrained.class_head.layers[-1].bias.data[-1] = -5.0
    retrained.save_pretrained(model)
    assert predict(*common, "-o", tmp_path / "out") == 0
    assert "done anew, for the model has changed" in capsys.readouterr().out
    assert tracks_of(tmp_path / "out" / "clip") != second
    moved = shutil.copytree(model, tmp_path / "moved")
    assert predict(video, "--model", moved, "--threshold", 0.05, "-o", tmp_path / "out") == 0
    assert "done before" in capsys.readouterr().out, "the same model at another place"


def test_pictures_that_change_are_looked_at_again(model_folder, tmp_path, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(3):
        Image.new("RGB", (64, 36), (40 * index, 0, 0)).save(frames / f"{index}.png")
    common = (frames, "-o", tmp_path / "out", "--model", model_folder)
    assert predict(*common) == predict(*common) == 0
    assert "done before" in capsys.readouterr().out
    Image.new("RGB", (64, 36), (0, 200, 0)).save(frames / "3.png")
    assert predict(*common) == 0
    assert "done anew, for the video has changed" in capsys.readouterr().out


@pytest.mark.parametrize("multi_label", [(), ("--multi-label",)])
def test_other_classes_and_higher_thresholds_need_no_model(model_folder, tmp_path, monkeypatch, multi_label):
    video = write_video(tmp_path / "clip.mp4", num_frames=6)
    common = (video, "--model", model_folder, *multi_label)
    assert predict(*common, "-o", tmp_path / "out", "--threshold", 0) == 0
    everything = tracks_of(tmp_path / "out" / "clip")
    label = everything[0]["label"]
    threshold = round(sorted(track["score"] for track in everything)[len(everything) // 2], 3)
    runs = [("--threshold", threshold), ("--threshold", threshold, "--classes", label)]
    for number, run in enumerate(runs):
        assert predict(*common, "-o", tmp_path / f"fresh{number}", *run) == 0
    assert predict(*common, "-o", tmp_path / "other", "--threshold", threshold, "--classes", "dog") == 0
    monkeypatch.setattr("ifc_hf.IfcVideoSegmenter.stream", None)
    for folder, number in (("out", 0), ("out", 1), ("other", 1), ("other", 0)):
        assert predict(*common, "-o", tmp_path / folder, *runs[number]) == 0
        found, fresh = ((tmp_path / name / "clip" / "tracks.json").read_text() for name in (folder, f"fresh{number}"))
        assert json.loads(found) == json.loads(fresh)
    assert 0 < len(tracks_of(tmp_path / "fresh0" / "clip")) < len(everything)


FAULTS = [
    RuntimeError("a\nfault"),
    KeyError("missing"),
    AssertionError(),
    MemoryError(),
    RecursionError("deep"),
    Image.DecompressionBombError("too large"),
    av.error.InvalidDataError(1, "bad data", "clip"),
    av.error.PatchWelcomeError(1, "unknown codec", "clip"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    TimeoutError("slow"),
    ImportError("no such library"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_an_error_of_any_class_ends_one_video_alone(tmp_path, monkeypatch, capsys, fault, model_folder):
    videos = [write_video(tmp_path / f"{name}.mp4", num_frames=1) for name in "ab"]
    done = []

    def do(self, task, wait):
        if task.source.name == "a":
            raise fault
        done.append(task.source.name)
        return True

    monkeypatch.setattr(VideoWorker, "do", do)
    monkeypatch.setattr("ifc_hf.cli.predict.load_segmenter", lambda *arguments: None)
    assert predict(*videos, "-o", tmp_path / "out", "--model", model_folder) == 1
    errors = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: ") and "a.mp4" in line for line in errors] == [True]
    assert type(fault).__name__ in errors[0] or str(fault.args[-1]) in errors[0] or fault.strerror in errors[0]
    assert done == ["b"]


def test_tracks_that_no_run_wrote_are_found_anew(model_folder, tmp_path):
    videos = [write_video(tmp_path / f"{name}.mp4", num_frames=2) for name in "ab"]
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "tracks.json").write_bytes(b"\xff\xfe\x00bad")
    (tmp_path / "out" / "b" / "tracks.json").mkdir(parents=True)  # can't be read: an error of this video
    assert predict(*videos, "-o", tmp_path / "out", "--model", model_folder) == 1
    assert tracks_of(tmp_path / "out" / "a") is not None


def test_a_second_run_leaves_a_locked_folder_for_later(model_folder, tmp_path, monkeypatch, capsys):
    videos = [write_video(tmp_path / f"{name}.mp4", num_frames=1) for name in "ab"]
    (tmp_path / "out").mkdir()
    done = []
    other_is_done = threading.Event()

    def do_locked(self, task):
        done.append(task.source.name)
        other_is_done.set()
        return type("Prediction", (), {"complete": True})

    def first_run():
        with locked(tmp_path / "out" / "a", print):
            has_lock.set()
            other_is_done.wait(20)

    has_lock = threading.Event()
    first = threading.Thread(target=first_run)
    first.start()
    has_lock.wait(20)
    monkeypatch.setattr(VideoWorker, "do_locked", do_locked)
    monkeypatch.setattr("ifc_hf.cli.predict.load_segmenter", lambda *arguments: None)
    assert predict(*videos, "-o", tmp_path / "out", "--model", model_folder) == 0
    first.join()
    assert done == ["b", "a"]
    assert f"a.mp4: {tmp_path / 'out' / 'a'} is locked by process {os.getpid()} on " in capsys.readouterr().err
    assert os.listdir(tmp_path / "out") == [], "no lock is left"


def test_a_run_that_does_not_wait_leaves_a_locked_folder_out_as_failed(model_folder, tmp_path, monkeypatch, capsys):
    videos = [write_video(tmp_path / f"{name}.mp4", num_frames=1) for name in "ab"]
    (tmp_path / "out").mkdir()
    done = []

    def do_locked(self, task):
        done.append(task.source.name)
        return type("Prediction", (), {"complete": True})

    monkeypatch.setattr(VideoWorker, "do_locked", do_locked)
    monkeypatch.setattr("ifc_hf.cli.predict.load_segmenter", lambda *arguments: None)
    with locked(tmp_path / "out" / "a", print):
        assert predict(*videos, "-o", tmp_path / "out", "--model", model_folder, "--no-wait") == 1
    assert done == ["b"]
    assert "a.mp4: " in capsys.readouterr().err


@pytest.fixture
def stopped_holder(tmp_path):
    """Number of a process that has locked `clip` and was then frozen."""
    pid = os.fork()
    if pid == 0:
        with locked(tmp_path / "clip", print):
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whether a process is stopped")
def test_who_waits_for_a_stopped_process_says_which_and_what_to_do(stopped_holder, tmp_path, monkeypatch):
    monkeypatch.setattr("ifc_hf.outputs.locks.SECONDS_BETWEEN_LOOKS", 0.05)
    told = []

    def tell(holder):
        told.append(holder)
        if len(told) == 1:
            os.kill(stopped_holder, signal.SIGCONT)

    with locked(tmp_path / "clip", tell) as is_free:
        assert is_free
    [line] = told[:1]
    assert re.match(
        rf"process {stopped_holder} on \S+, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d, which is stopped: ", line
    )
    assert f"kill -CONT {stopped_holder}" in line
    assert os.listdir(tmp_path) == []


def test_a_lock_of_a_dead_process_locks_nothing(stopped_holder, tmp_path):
    told = []
    with locked(tmp_path / "clip", told.append, wait=False) as is_free:
        assert not is_free and len(told) == 1
    os.kill(stopped_holder, signal.SIGKILL)
    with locked(tmp_path / "clip", told.append) as is_free:
        assert is_free
    assert os.listdir(tmp_path) == []


def test_only_one_of_many_holds_a_lock(tmp_path):
    holders, most = [], []

    def work():
        for _ in range(20):
            with locked(tmp_path / "clip", print):
                holders.append(1)
                most.append(len(holders))
                holders.pop()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert max(most) == 1 and len(most) == 80
    assert os.listdir(tmp_path) == []


def test_parts_of_others_and_names_that_lead_out_are_left_alone(model_folder, tmp_path, monkeypatch):
    out = tmp_path / "deep" / "out"
    (out / ".._").mkdir(parents=True)
    alive = temporary_name(Path("tracks.json")).name  # as a process names it that still runs
    kept = [tmp_path / "deep" / ".precious.part", out / ".._" / ".precious.part", out / ".._" / alive]
    for file in kept:
        file.write_text("mine")
    write_video(tmp_path / "clip.mp4").rename(tmp_path / "...mp4")
    monkeypatch.chdir(tmp_path)
    assert predict("./...mp4", "-o", "deep/out", "--model", model_folder, save="tracks,results") == 0
    assert all(file.read_text() == "mine" for file in kept)
    assert sorted(os.listdir(tmp_path / "deep")) == [".precious.part", "out"]
    assert (out / "...mp4" / "tracks.json").exists()


def test_folders_of_one_name_are_told_apart(model_folder, tmp_path):
    for sequence in ("seq1", "seq2"):
        (tmp_path / sequence / "img1").mkdir(parents=True)
        Image.new("RGB", (64, 36)).save(tmp_path / sequence / "img1" / "0.png")
    places = [tmp_path / sequence / "img1" for sequence in ("seq1", "seq2")]
    assert predict(*places, "-o", tmp_path / "out", "--model", model_folder) == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["seq1_img1", "seq2_img1"]


def test_termination_ends_as_cleanly_as_an_interruption(model_folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("supervision", reason="drawing is the extra `draw`")
    video = write_video(tmp_path / "clip.mp4")
    write = VideoWriter.write

    def terminated(self, frame, time):
        os.kill(os.getpid(), signal.SIGTERM)
        write(self, frame, time)

    monkeypatch.setattr(VideoWriter, "write", terminated)
    before = signal.getsignal(signal.SIGTERM)
    assert predict(video, "-o", tmp_path / "out", "--model", model_folder, save="video,masks") == 143
    assert capsys.readouterr().err.endswith("terminated\n")
    assert os.listdir(tmp_path / "out") == ["clip"] and os.listdir(tmp_path / "out" / "clip") == ["tracks.json"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_damaged_video_is_done_once_and_said_again(model_folder, tmp_path, monkeypatch, capsys):
    whole = write_video(tmp_path / "whole.mp4", num_frames=12)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    common = (broken, "-o", tmp_path / "out", "--model", model_folder)
    assert predict(*common) == 1
    times = json.loads((tmp_path / "out" / "broken" / "tracks.json").read_text())["frame_times_seconds"]
    np.testing.assert_allclose(times, np.arange(len(times)) / 10, atol=1e-5)
    capsys.readouterr()
    monkeypatch.setattr("ifc_hf.IfcVideoSegmenter.stream", None)
    assert predict(*common) == 1
    captured = capsys.readouterr()
    assert "done before" in captured.out and "broken.mp4: truncated" in captured.err


def test_results_go_to_outputs_unless_told_otherwise(model_folder, tmp_path, monkeypatch, capsys):
    write_video(tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    options = ("--model", model_folder, "--num-frames", 2, "--clip-stride", 5, "--classes", "DOG,Cat")
    assert predict("clip.mp4", *options) == 0
    content = json.loads((tmp_path / "outputs" / "clip" / "tracks.json").read_text())
    assert content["settings"]["classes"] == ["cat", "dog"]
    assert content["settings"]["threshold"] == 0.3
    assert "3 of every 5 frames stay empty: windows of 2 frames lie 5 frames apart" in capsys.readouterr().out


def test_the_threshold_of_the_checkpoint_counts_and_the_shipped_one_says_what_it_knows(model_folder, tmp_path):
    config = load_config(default_checkpoint())
    arguments = make_parser().parse_args(["predict", "clip.mp4"])
    settings = track_settings(arguments, config)
    assert settings.threshold == config.default_threshold == 0.6
    (note,) = notes(settings, config)
    assert "knows drawings" in note and "docs/weights.md" in note and "\n" not in note
    arguments = make_parser().parse_args(["predict", "clip.mp4", "--threshold", "0.2", "--model", str(model_folder)])
    settings = track_settings(arguments, load_config(model_folder))
    assert settings.threshold == 0.2 and notes(settings, load_config(model_folder)) == []

"""The files that `ifc-hf predict` writes: what is in them, and that their formats are those of the field."""

import json
import os
import socket
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fake_camera import FakeCamera
from ifc_hf.cli.main import main
from ifc_hf.evaluation.ytvis_map import evaluate_ytvis
from ifc_hf.model.masks import decode_rle
from ifc_hf.model.video_files import read_frames, read_timed_frames, video_info
from ifc_hf.outputs.source import VideoSource, find_sources
from ifc_hf.outputs.video_writer import VideoWriter
from tiny_models import save_tiny_model

SIZE_HW = (54, 96)
ALL = "tracks,results,masks,video,gif,sheet,cutouts,timeline"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def noise(num_frames: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (num_frames, *size_hw, 3), dtype=np.uint8)


def write_video(path: Path, num_frames: int = 7, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    with VideoWriter(path, fps=10) as writer:
        for frame in noise(num_frames, size_hw):
            writer.write(frame)
    return path


def predict(*arguments) -> int:
    return main(["predict", *map(str, arguments), "--threshold", "0"])


@pytest.fixture(scope="module")
def results(model_folder, tmp_path_factory) -> Path:
    """All outputs of two videos, one of odd size."""
    pytest.importorskip("supervision", reason="drawing is the extra `draw`")
    folder = tmp_path_factory.mktemp("results")
    videos = [write_video(folder / "b.mp4"), write_video(folder / "a.mp4", 4, (50, 70))]
    assert predict(*videos, "-o", folder / "out", "--model", model_folder, "--save", ALL) == 0
    return folder / "out"


def tracks_of(folder: Path) -> dict:
    return json.loads((folder / "tracks.json").read_text())


def test_every_chosen_output_is_there(results):
    assert sorted(os.listdir(results)) == ["a", "b", "results.json", "videos.json"]
    for name in "ab":
        files = ["cutouts", "drawn.gif", "drawn.mp4", "masks", "sheet.jpg", "timeline.png", "tracks.json"]
        assert sorted(os.listdir(results / name)) == files
        for file in ("drawn.gif", "sheet.jpg", "timeline.png"):
            with Image.open(results / name / file) as picture:
                assert np.asarray(picture.convert("L")).std() > 5, "something is on it"


def test_id_maps_hold_the_best_track_of_every_pixel(results):
    content = tracks_of(results / "b")
    assert sorted(os.listdir(results / "b" / "masks")) == [f"{frame:06}.png" for frame in range(7)]
    for frame in range(7):
        expected = np.zeros(SIZE_HW, int)
        for track in reversed(content["tracks"]):  # best first in the file
            if (rle := track["segmentations"][frame]) is not None:
                expected[decode_rle(rle)] = track["track_id"] + 1
        with Image.open(results / "b" / "masks" / f"{frame:06}.png") as picture:
            found = np.asarray(picture)
        assert found.dtype == np.uint16 and found.any()
        np.testing.assert_array_equal(found, expected)


def test_cutouts_show_each_track_where_it_is_largest(results):
    content = tracks_of(results / "b")
    frames = list(read_frames(results.parent / "b.mp4"))
    assert len(os.listdir(results / "b" / "cutouts")) == len(content["tracks"])
    for track in content["tracks"]:
        masks = [None if rle is None else decode_rle(rle) for rle in track["segmentations"]]
        areas = [0 if mask is None else mask.sum() for mask in masks]
        best = int(np.argmax(areas))
        with Image.open(results / "b" / "cutouts" / f"track_{track['track_id']:03}_{track['label']}.png") as picture:
            cutout = np.asarray(picture)
        assert (cutout[..., 3] == 255).sum() == max(areas) and set(np.unique(cutout[..., 3])) <= {0, 255}
        np.testing.assert_array_equal(cutout[cutout[..., 3] == 255][:, :3], frames[best][masks[best]])


def test_tracks_tell_the_score_over_time(results):
    for track in tracks_of(results / "b")["tracks"]:
        visible = [rle is not None for rle in track["segmentations"]]
        assert [score is not None for score in track["frame_scores"]] == visible
        assert all(score is None or 0 <= score <= 1 for score in track["frame_scores"])


def test_results_are_what_the_evaluator_reads(results):
    videos = json.loads((results / "videos.json").read_text())
    assert [(video["id"], Path(video["file"]).name, video["length"]) for video in videos] == [
        (1, "b.mp4", 7),
        (2, "a.mp4", 4),
    ]
    predictions = json.loads((results / "results.json").read_text())
    assert {prediction["video_id"] for prediction in predictions} == {1, 2}
    annotations = []
    for video, name in zip(videos, "ba", strict=True):
        for track in tracks_of(results / name)["tracks"]:
            areas = [None if rle is None else int(decode_rle(rle).sum()) for rle in track["segmentations"]]
            annotations.append(
                {
                    "id": len(annotations) + 1, "video_id": video["id"], "category_id": track["label_id"] + 1,
                    "segmentations": track["segmentations"], "bboxes": track["boxes"], "areas": areas, "iscrowd": 0,
                }
            )  # fmt: skip
    labels = ("cat", "dog", "fish")
    categories = [{"id": number, "name": name} for number, name in enumerate(labels, start=1)]
    truth = {"videos": videos, "annotations": annotations, "categories": categories}
    assert evaluate_ytvis(truth, predictions)["AP"] == pytest.approx(1.0), "the tracks against themselves"


def test_only_what_is_missing_is_made_and_drawn_anew_without_segmenting(model_folder, tmp_path, monkeypatch):
    pytest.importorskip("supervision", reason="drawing is the extra `draw`")
    video = write_video(tmp_path / "clip.mp4", 3)
    common = (video, "-o", tmp_path, "--model", model_folder)
    assert predict(*common, "--save", "tracks") == 0
    monkeypatch.setattr("ifc_hf.IfcVideoSegmenter.stream", None)
    assert predict(*common, "--save", "video,sheet") == 0
    drawn, sheet = tmp_path / "clip" / "drawn.mp4", tmp_path / "clip" / "sheet.jpg"
    before, sheet_before = drawn.read_bytes(), sheet.stat().st_mtime_ns
    assert predict(*common, "--save", "video", "--no-labels", "--no-trails", "--no-legend") == 0
    assert drawn.read_bytes() != before
    assert sheet.stat().st_mtime_ns == sheet_before
    sheet.unlink()
    assert predict(*common, "--save", "sheet") == 0
    assert sheet.exists()


def test_range_and_rate(model_folder, tmp_path):
    video = write_video(tmp_path / "clip.mp4", 7)
    options = ("--save", "tracks,video", "--frames", "1:7", "--fps", "5")
    assert predict(video, "-o", tmp_path, "--model", model_folder, *options) == 0
    content = tracks_of(tmp_path / "clip")
    np.testing.assert_allclose(content["frame_times_seconds"], [0.1, 0.3, 0.5], atol=1e-5)
    assert content["fps"] == pytest.approx(5)
    times = [time for time, _ in read_timed_frames(tmp_path / "clip" / "drawn.mp4")]
    np.testing.assert_allclose(times, [0, 0.2, 0.4], atol=1e-4)


def test_chosen_classes(model_folder, tmp_path):
    video = write_video(tmp_path / "clip.mp4", 3)
    assert predict(video, "-o", tmp_path, "--model", model_folder, "--save", "tracks") == 0
    label = tracks_of(tmp_path / "clip")["tracks"][0]["label"]
    others = ",".join({"cat", "dog", "fish"} - {label})
    assert predict(video, "-o", tmp_path, "--model", model_folder, "--save", "tracks", "--classes", others) == 0
    assert label not in {track["label"] for track in tracks_of(tmp_path / "clip")["tracks"]}


def test_variable_frame_rate_is_kept(model_folder, tmp_path):
    times = [0, 0.1, 0.15, 0.4, 1.0]
    with VideoWriter(tmp_path / "clip.mp4", fps=24) as writer:
        for time, frame in zip(times, noise(5), strict=True):
            writer.write(frame, time)
    assert predict(tmp_path / "clip.mp4", "-o", tmp_path, "--model", model_folder) == 0
    drawn = [time for time, _ in read_timed_frames(tmp_path / "clip" / "drawn.mp4")]
    np.testing.assert_allclose(drawn, times, atol=1e-4)
    np.testing.assert_allclose(tracks_of(tmp_path / "clip")["frame_times_seconds"], times, atol=1e-4)


def write_sounding_video(path: Path, codec: str, seconds: float = 2.0) -> Path:
    """A video with a tone that begins in the middle."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=10)
        pictures.height, pictures.width, pictures.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream(codec, rate=48000, layout="mono")
        for frame in noise(int(10 * seconds), (48, 64)):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(pictures.encode())
        times = np.arange(int(48000 * seconds)) / 48000
        wave = np.where(times < seconds / 2, 0, 12000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
        tone = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        tone.sample_rate, tone.pts, tone.time_base = 48000, 0, Fraction(1, 48000)
        for part in av.AudioResampler(format=sound.codec_context.format, frame_size=1024).resample(tone):
            container.mux(sound.encode(part))
        container.mux(sound.encode())
    return path


def onset(path: Path) -> tuple[str, float, float]:
    """Codec of a file's sound, the time at which it gets loud, and the time at which it ends."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        loud, end = None, 0.0
        for frame in container.decode(stream):
            end = frame.time + frame.samples / frame.sample_rate
            levels = np.abs(frame.to_ndarray().astype(float).max(axis=0))
            levels = levels / (1 if frame.format.name.startswith("flt") else 32768)
            if loud is None and (levels > 0.1).any():
                loud = frame.time + int(np.argmax(levels > 0.1)) / frame.sample_rate
        return stream.codec_context.name, loud, end


@pytest.mark.parametrize(("suffix", "codec", "kept"), [("mp4", "aac", "aac"), ("mkv", "pcm_s16le", "aac")])
@pytest.mark.parametrize(("frames", "begins", "ends"), [(":", 1.0, 2.0), ("5:15", 0.5, 1.0)])
def test_sound_is_kept_in_time(model_folder, tmp_path, suffix, codec, kept, frames, begins, ends):
    video = write_sounding_video(tmp_path / f"clip.{suffix}", codec)
    assert predict(video, "-o", tmp_path, "--model", model_folder, "--frames", frames) == 0
    drawn = tmp_path / "clip" / "drawn.mp4"
    found, loud, end = onset(drawn)
    assert found == kept
    assert loud == pytest.approx(begins, abs=0.05)
    assert end == pytest.approx(ends, abs=0.06)
    assert len(list(read_frames(drawn))) == round(10 * ends)
    content = drawn.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert sorted(os.listdir(tmp_path / "clip")) == ["drawn.mp4", "tracks.json"]


def test_odd_sizes_play(model_folder, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for index, frame in enumerate(noise(3, (51, 67))):
        Image.fromarray(frame).save(frames / f"{index}.png")
    assert predict(frames, "-o", tmp_path / "out", "--model", model_folder, "--save", "video,masks,gif") == 0
    assert video_info(tmp_path / "out" / "frames" / "drawn.mp4").size_hw == (52, 68)
    with Image.open(tmp_path / "out" / "frames" / "masks" / "000000.png") as picture:
        assert picture.size == (67, 51)


def test_camera_is_drawn_while_it_runs(model_folder, tmp_path, monkeypatch):
    video = write_video(tmp_path / "clip.mp4", 5)
    content = av.open
    monkeypatch.setattr("sys.platform", "linux")
    camera = FakeCamera(monkeypatch, video)
    opened_as_camera = camera.__call__
    monkeypatch.setattr(
        "ifc_hf.model.video_files.av.open",
        lambda name, mode="r", **options: (
            opened_as_camera(name, mode, **options)
            if str(name).startswith("/dev/")
            else content(name, mode, **options)
        ),
    )
    assert predict("0", "-o", tmp_path, "--model", model_folder, "--frames", ":8", "--save", ALL) == 0
    assert set(camera.opened) == {("/dev/video0", "v4l2")}
    folder = tmp_path / "camera0"
    assert len(list(read_frames(folder / "drawn.mp4"))) == len(os.listdir(folder / "masks")) == 8
    for name in ("drawn.gif", "sheet.jpg", "cutouts", "timeline.png"):
        assert (folder / name).exists()


@pytest.mark.slow
def test_several_processes_share_the_videos(model_folder, tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    videos = [write_video(tmp_path / f"{name}.mp4", 3) for name in "abc"]
    broken = tmp_path / "d.mp4"
    broken.write_text("no video")
    launch = [
        "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(port), "-m", "ifc_hf.cli.main",
    ]  # fmt: skip
    outputs = {}
    for name, launcher in (("one", ["-m", "ifc_hf.cli.main"]), ("two", launch)):
        options = ["--model", model_folder, "--threshold", "0", "--save", "results", "--device", "cpu"]
        command = [sys.executable, *launcher, "predict", *videos, broken, "-o", tmp_path / name, *options]
        result = subprocess.run(
            list(map(str, command)), env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
        )
        print(result.stdout[-2000:], result.stderr[-4000:])
        assert result.returncode == 1 and "d.mp4: not a readable video" in result.stderr
        outputs[name] = json.loads((tmp_path / name / "results.json").read_text())
        assert [video["id"] for video in json.loads((tmp_path / name / "videos.json").read_text())] == [1, 2, 3]
    assert outputs["one"] == outputs["two"] != []


@pytest.mark.slow
def test_8k_frames_need_bounded_memory(model_folder, tmp_path):
    video = tmp_path / "8k.mp4"
    with VideoWriter(video) as writer:
        for index in range(2):
            writer.write(np.full((4320, 7680, 3), 100 * index, np.uint8))
    # Not `ru_maxrss`: a process begins with that of the one that started it.
    code = (
        "import re, sys; from ifc_hf.cli.main import main; code = main(sys.argv[1:]); "
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]); sys.exit(code)"
    )
    options = ["-o", tmp_path, "--model", model_folder, "--threshold", "0", "--save", "video,masks", "--device", "cpu"]
    result = subprocess.run(
        list(map(str, [sys.executable, "-c", code, "predict", video, *options])),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    print(result.stdout[-2000:], result.stderr[-4000:])
    assert result.returncode == 0
    assert int(result.stdout.splitlines()[-1]) < 3.5 * 2**20, "KiB; seven masks of a frame alone are 0.2 GiB"


def test_sources(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "frames").mkdir()
    for file in ("videos/b.mp4", "videos/a.MOV", "videos/notes.txt", "frames/0.jpg", "frames/1.jpg", "7"):
        (tmp_path / file).touch()

    def found(place: object) -> list:
        return [source.place for source in find_sources([str(place)], (0, 5))]

    assert found(tmp_path / "videos") == [str(tmp_path / "videos" / name) for name in ("a.MOV", "b.mp4")]
    assert found(tmp_path / "frames") == [str(tmp_path / "frames")]
    assert found(tmp_path / "videos" / "*.mp4") == [str(tmp_path / "videos" / "b.mp4")]
    assert found(tmp_path / "frames" / "*.jpg") == [str(tmp_path / "frames" / "*.jpg")]
    assert found("https://a.b/c.mp4") == ["https://a.b/c.mp4"]
    assert found("0") == [0]
    assert found(tmp_path / "7") == [str(tmp_path / "7")]
    with pytest.raises(FileNotFoundError, match="no file matches"):
        found(tmp_path / "*.mkv")
    for place, name in (
        ("day/clip.mp4", "clip"),
        (3, "camera3"),
        ("https://a.b/c/clip.mp4?x=1.5", "clip"),
        ("rtsp://camera:554/", "camera_554"),
        (str(tmp_path / "frames"), "frames"),
        (str(tmp_path / "frames" / "*.jpg"), "frames"),
    ):
        assert VideoSource(place).name == name

"""The pipeline: every kind of video gives the segmenter's tracks, options are honoured, bad input is named."""

import gc
import io
import os
import tracemalloc
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from transformers import ViTConfig, ViTModel, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from fake_camera import FakeCamera
from ifc_hf import IfcImageProcessor, IfcVideoSegmenter, VideoInstanceSegmentationPipeline
from ifc_hf.model.pipeline_ifc import known_label_ids
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.video_writer import VideoWriter
from tiny_models import tiny_model

TASK = "video-instance-segmentation"
LABELS = {0: "cat", 1: "dog", 2: "bird"}
LENGTH, SIZE_HW = 6, (40, 56)


@pytest.fixture(scope="module")
def pipe() -> VideoInstanceSegmentationPipeline:
    processor = IfcImageProcessor(size={"shortest_edge": 32, "longest_edge": 64})
    return pipeline(
        TASK, model=tiny_model(id2label=LABELS), image_processor=processor, num_frames=3, threshold=0.1, device="cpu"
    )


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (LENGTH, *SIZE_HW, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def tracks(pipe, video) -> list[dict]:
    """What the pipeline should say of the video."""
    tracks = IfcVideoSegmenter(pipe.model, pipe.image_processor, num_frames=3, score_threshold=0.1, multi_label=False)(
        video
    )
    assert len(tracks) > 1
    return tracks


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, video: np.ndarray) -> Path:
    """`clip.mp4` (not lossless) and the exact frames as `frames/*.png`."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "frames").mkdir()
    with VideoWriter(folder / "clip.mp4", fps=10) as writer:
        for index, frame in enumerate(video):
            writer.write(frame)
            Image.fromarray(frame).save(folder / "frames" / f"{index:03}.png")
    return folder


@pytest.mark.parametrize(
    "source",
    [
        lambda video, files: video,
        lambda video, files: torch.from_numpy(video).permute(0, 3, 1, 2),
        lambda video, files: list(video),
        lambda video, files: [Image.fromarray(frame) for frame in video],
        lambda video, files: files / "frames",
        lambda video, files: str(files / "frames"),
        lambda video, files: str(files / "frames" / "*.png"),
    ],
    ids=["array", "tensor", "list of arrays", "list of PIL", "path of a folder", "folder", "pattern of pictures"],
)
def test_one_video(pipe, video, files, tracks, source):
    assert pipe(source(video, files)) == tracks


def test_video_file(pipe, files):
    frames = list(read_frames(files / "clip.mp4"))
    assert pipe(str(files / "clip.mp4")) == pipe(files / "clip.mp4") == pipe(frames)


def test_file_object_and_address(pipe, files):
    expected = pipe(files / "clip.mp4")
    with open(files / "clip.mp4", "rb") as file:
        assert pipe(file) == expected
    handler = partial(SimpleHTTPRequestHandler, directory=files)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert pipe(f"{address}/clip.mp4?of=today") == expected
        with pytest.raises(ValueError, match=r"nothing.mp4: not a readable video \(.*404"):
            pipe(f"{address}/nothing.mp4")
        server.shutdown()


def test_camera(pipe, files, monkeypatch):
    expected = pipe(files / "clip.mp4", frame_range=(1, 5))
    monkeypatch.setattr("sys.platform", "linux")
    camera = FakeCamera(monkeypatch, files / "clip.mp4")
    assert pipe(0, frame_range=(1, 5)) == expected
    assert camera.opened == [("/dev/video0", "v4l2")] and camera.closed
    stream = pipe.stream(2)
    assert [next(stream).frame_index for _ in range(20)] == list(range(20)), "longer than the file that is repeated"
    assert camera.opened[-1] == ("/dev/video2", "v4l2")
    monkeypatch.setattr("sys.platform", "darwin")
    pipe(1, frame_range=(0, 1))
    assert camera.opened[-1] == ("1", "avfoundation")


def test_camera_that_is_not_there_or_has_no_end(pipe):
    with pytest.raises(ValueError, match=r"camera 77: can't be opened \("):
        pipe.stream(77)
    with pytest.raises(ValueError, match=r"a camera has no end: give frame_range=\(0, number of frames\)"):
        pipe(0)


@pytest.mark.parametrize("kind", ["array", "pil", "path"])
def test_single_image(pipe, video, files, kind):
    image = {"array": video[0], "pil": Image.fromarray(video[0]), "path": files / "frames" / "000.png"}[kind]
    result = pipe(image)
    assert result == pipe(video[:1])
    assert len(result[0]["segmentations"]) == 1


def test_several_videos(pipe, video, files, tracks):
    pictures = [Image.fromarray(frame) for frame in video]
    short = pipe(video[:2])
    several = [files / "frames", pictures, video, str(files / "frames"), pictures[0], video[:2]]
    assert pipe(several, batch_size=2) == [tracks, tracks, tracks, tracks, pipe(pictures[0]), short]
    assert pipe([video[:2]]) == [short]
    assert pipe(np.stack([video, video])) == [tracks, tracks]


def test_generator_and_dataset_are_several_videos(pipe, video, files, tracks):
    assert list(pipe(path for path in [files / "frames", video])) == [tracks, tracks]
    assert list(pipe(KeyDataset([{"video": video}, {"video": video}], "video"))) == [tracks, tracks]


def test_pattern_of_videos(pipe, files):
    assert pipe(str(files / "*.mp4")) == [pipe(files / "clip.mp4")]


def test_brackets_in_a_name_are_no_pattern(pipe, video, tracks, tmp_path):
    folder = tmp_path / "take [1]"
    folder.mkdir()
    for index, frame in enumerate(video):
        Image.fromarray(frame).save(folder / f"{index}.png")
    assert pipe(str(folder)) == tracks


def test_options_reach_the_segmenter(pipe, video):
    options = {"num_frames": 2, "clip_stride": 2}
    segmenter = IfcVideoSegmenter(pipe.model, pipe.image_processor, **options, score_threshold=0.2)
    expected = segmenter(video)
    assert pipe(video, **options, threshold=0.2, multi_label=True) == expected
    assert (
        pipe(video, **options, threshold=0.2, multi_label=True) == expected
    )  # and once more, with the kept segmenter
    assert len({track["track_id"] for track in expected}) < len(expected)


def test_options_of_one_call_do_not_last(pipe, video, tracks):
    assert pipe(video, num_frames=2, top_k=1, mask_format=None) != tracks
    assert pipe(video) == tracks


def test_top_k_and_classes(pipe, video, tracks):
    assert pipe(video, top_k=1) == tracks[:1]
    label = tracks[0]["label"]
    assert pipe(video, classes=[label]) == [track for track in tracks if track["label"] == label]
    assert pipe(video, classes=sorted(set(LABELS.values()) - {track["label"] for track in tracks})) == []


def test_mask_formats(pipe, video, tracks):
    arrays, pictures, without = (pipe(video, mask_format=form) for form in ("numpy", "pil", None))
    for track, as_array, as_picture in zip(tracks, arrays, pictures, strict=True):
        for rle, array, picture in zip(
            track["segmentations"], as_array["segmentations"], as_picture["segmentations"], strict=True
        ):
            if rle is None:
                assert array is None and picture is None
                continue
            assert array.dtype == bool and array.shape == SIZE_HW
            np.testing.assert_array_equal(array, coco_mask.decode(rle).astype(bool))
            assert picture.mode == "1"
            np.testing.assert_array_equal(np.array(picture), array)
    assert without == [{name: track[name] for name in track if name != "segmentations"} for track in tracks]


def test_frame_range(pipe, video, files):
    expected = pipe(video[2:5])
    assert pipe(video, frame_range=(2, 5)) == expected
    assert pipe(files / "frames", frame_range=(2, 5)) == expected
    assert pipe(files / "frames", frame_range=(2, None)) == pipe(video[2:])


@pytest.mark.parametrize(
    ("fps", "kept"), [(100, [0, 1, 2, 3, 4, 5]), (10, [0, 1, 2, 3, 4, 5]), (5, [0, 2, 4]), (4, [0, 3, 5]), (1, [0])]
)
def test_frame_rate(pipe, files, fps, kept):
    frames = list(read_frames(files / "clip.mp4"))
    assert pipe(files / "clip.mp4", fps=fps) == pipe([frames[index] for index in kept])


def test_video_that_breaks_off(pipe, files, tmp_path, caplog):
    random = np.random.default_rng(0)
    whole, part = tmp_path / "whole.mp4", tmp_path / "part.mp4"
    with VideoWriter(whole, fps=10) as writer:
        for _ in range(30):
            writer.write(random.integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8))
    part.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with caplog.at_level("WARNING"):
        lengths = {len(track["segmentations"]) for track in pipe(part)}
    assert len(lengths) == 1 and 1 < lengths.pop() < 30
    assert "part.mp4: truncated" in caplog.text


def test_stream_equals_the_segmenters(pipe, video):
    segmenter = IfcVideoSegmenter(
        pipe.model, pipe.image_processor, num_frames=3, score_threshold=0.1, multi_label=False
    )
    stream = pipe.stream(iter(video))
    for expected in segmenter.stream(video):
        found = next(stream)
        pipe(video[:1])  # in between: the two must not share state
        assert (found.frame_index, found.track_ids) == (expected.frame_index, expected.track_ids)
        for name in ("masks", "scores", "labels"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    assert next(stream, None) is None


def test_stream_of_chosen_classes(pipe, video, tracks):
    label_id, label = tracks[0]["label_id"], tracks[0]["label"]
    results = list(pipe.stream(video, classes=[label], num_frames=6))
    assert len(results) == LENGTH
    for result in results:
        assert len(result.track_ids) == len(result.masks) == len(result.scores) > 0
        assert set(result.labels.tolist()) == {label_id}


def test_stream_reads_only_what_it_needs(pipe, video):
    read = []

    def camera():
        for index in range(1000):
            read.append(index)
            yield video[index % LENGTH]

    stream = pipe.stream(camera())
    assert [next(stream).frame_index for _ in range(5)] == list(range(5))
    assert len(read) <= 12


@pytest.mark.slow
def test_stream_does_not_grow(pipe, video):
    def held_bytes() -> int:
        gc.collect()
        tensors = sum(thing.nbytes for thing in gc.get_objects() if type(thing) is torch.Tensor)
        return tracemalloc.get_traced_memory()[0] + tensors

    tracemalloc.start()
    held = [
        held_bytes()
        for result in pipe.stream(video[index % LENGTH] for index in range(400))
        if result.frame_index in (100, 399)
    ]
    tracemalloc.stop()
    # CPython keeps some kilobytes of small objects for later use. One kept frame per frame would add 2,000,000 bytes.
    assert held[1] - held[0] < 100_000


def test_device_and_dtype(video):
    model = tiny_model(id2label=LABELS).to(torch.bfloat16)
    pipe = pipeline(TASK, model=model, image_processor=IfcImageProcessor(do_resize=False), device="cpu")
    assert pipe.device.type == "cpu"
    assert pipe(video, threshold=0.1, num_frames=3)[0]["label"] in LABELS.values()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_format": "png"}, "mask_format must be one of 'rle', 'numpy', 'pil', None, got 'png'"),
        ({"top_k": 0}, "top_k must be at least 1, or None, got 0"),
        ({"threshold": 1.5}, r"threshold must lie in \[0, 1\], got 1.5"),
        ({"num_frames": 0}, "num_frames must be at least 1, got 0"),
        ({"clip_stride": 0}, "clip_stride must be at least 1, got 0"),
        ({"batch_size": -1}, "batch_size must be at least 1, got -1"),
        ({"classes": ["cat", "cow"]}, "classes: unknown cow; the model knows bird, cat, dog"),
        ({"classes": "cat"}, "classes: expected a list of names, got the text 'cat'"),
        ({"frame_range": (3, 3)}, r"frame_range must be \(first, end\) with .* got \(3, 3\)"),
        ({"frame_range": (9, None)}, "The video has no frames"),
        ({"fps": 5}, "fps: only of a file it is known when frames are shown, got ndarray"),
        ({"fps": 0}, "fps must be positive, or None, got 0"),
    ],
)
def test_bad_option(pipe, video, options, message):
    with pytest.raises(ValueError, match=message):
        pipe(video, **options)


def test_unknown_option(pipe, video):
    with pytest.raises(TypeError, match="unknown option treshold; expected frame_range, fps, num_frames"):
        pipe(video, treshold=0.5)
    with pytest.raises(TypeError, match="stream: top_k is an option of whole videos"):
        pipe.stream(video, top_k=3)


@pytest.mark.parametrize("call", [lambda pipe, video: pipe(video), lambda pipe, video: pipe.stream(video)])
@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "clip.mp4: no such file or folder"),
        (b"no video at all", ValueError, "clip.mp4: not a readable video"),
        (b"", ValueError, r"clip.mp4: not a readable video \(the file is empty\)"),
    ],
)
def test_bad_file(pipe, tmp_path, call, content, error, message):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        call(pipe, path)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ([], ValueError, "expected a video or a list of videos, got an empty list"),
        ([[]], ValueError, "The video has no frames"),
        (3.5, ValueError, r"expected a video \(a path, frames or an array\), got float"),
        (b"bytes", ValueError, "expected a video .* got bytes"),
        (io.BytesIO(b"bytes"), ValueError, "BytesIO.*: not a readable video"),
        (np.zeros((4, 4)), ValueError, r"expected a video of shape \(L, H, W, 3\) or .* got shape \(4, 4\)"),
        ("nothing*.mp4", FileNotFoundError, "nothing.*mp4: no file matches"),
        ([Image.new("RGB", (40, 30)), Image.new("RGB", (30, 40))], ValueError, "frame 1 has"),
    ],
)
def test_bad_source(pipe, source, error, message):
    with pytest.raises(error, match=message):
        pipe(source)


def test_folder_without_pictures(pipe, tmp_path):
    with pytest.raises(ValueError, match="the folder holds 0 pictures"):
        pipe(tmp_path)


def test_other_model():
    model = ViTModel(ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(ValueError, match="expected a model of type 'ifc', got 'vit'"):
        VideoInstanceSegmentationPipeline(model, image_processor=IfcImageProcessor(), task=TASK)


def test_without_processor():
    with pytest.raises(ValueError, match="expected an image_processor, got None"):
        VideoInstanceSegmentationPipeline(tiny_model(), task=TASK)


def test_no_folder(tmp_path):
    with pytest.raises(OSError, match="nothing"):
        pipeline(TASK, model=os.fspath(tmp_path / "nothing"))


def test_class_names_in_any_case_and_what_may_have_been_meant():
    names = {0: "Cat", 1: "giant_panda", 2: "dog"}
    assert known_label_ids(names, ["CAT", "dog"]) == {0, 2} and known_label_ids(names, None) == {0, 1, 2}
    with pytest.raises(
        ValueError, match=r"unknown giant_pnada, x; the model knows Cat, dog, giant_panda; did you mean"
    ):
        known_label_ids(names, ["giant_pnada", "cat", "x"])


@pytest.mark.parametrize(("num_frames", "clip_stride"), [(1, 1), (2, 1), (3, 1), (3, 2), (4, 4)])
def test_a_live_source_is_answered_frame_by_frame(pipe, video, monkeypatch, num_frames, clip_stride):
    """Even where frames of files would go through the network in batches, as on a GPU."""
    monkeypatch.setattr("ifc_hf.model.video_segmenter.default_frames_per_batch", lambda model: 4)
    num_read, lags = 0, []

    def camera(*_):
        nonlocal num_read
        for num_read, frame in enumerate(np.concatenate([video, video]), start=1):  # noqa: B007
            yield frame
        num_read = None

    monkeypatch.setattr("ifc_hf.model.pipeline_ifc.open_frames", camera)
    for result in pipe.stream(0, num_frames=num_frames, clip_stride=clip_stride):
        if num_read is not None:
            lags.append(num_read - 1 - result.frame_index)
    assert min(lags) == num_frames - 1
    assert max(lags) == num_frames + clip_stride - 2

"""Reading and writing of videos: what goes in comes out, and every unusable input is named."""

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from ifc_hf.model.video_files import VideoError, read_frames, read_timed_frames, video_info
from ifc_hf.outputs.video_writer import VideoWriter


def gray_frames(num_frames: int, size_hw: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Frames of one gray level each, rising by 10 per frame."""
    return [np.full((*size_hw, 3), 20 + 10 * index, np.uint8) for index in range(num_frames)]


def write_video(path: Path, frames: list[np.ndarray], fps: float = 10) -> Path:
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def noise_video(path: Path, num_frames: int = 30) -> Path:
    random = np.random.default_rng(0)
    return write_video(path, [random.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(num_frames)])


def test_frames_survive_a_round_trip(tmp_path):
    path = write_video(tmp_path / "a.mp4", gray_frames(8))
    frames = list(read_frames(path))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 8
    assert frames[0].dtype == np.uint8
    np.testing.assert_allclose([frame.mean() for frame in frames], [20 + 10 * index for index in range(8)], atol=2)


def test_channels_are_rgb(tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    frame = next(read_frames(write_video(tmp_path / "a.mp4", [red])))
    np.testing.assert_allclose(frame.mean((0, 1)), [200, 0, 0], atol=6)


def test_info_and_times(tmp_path):
    path = write_video(tmp_path / "a.mp4", gray_frames(8), fps=12.5)
    info = video_info(path)
    assert (info.fps, info.size_hw, info.num_frames, info.rotation) == (Fraction(25, 2), (48, 64), 8, 0)
    np.testing.assert_allclose([time for time, _ in read_timed_frames(path)], np.arange(8) / 12.5, atol=1e-6)


def test_reading_is_lazy(tmp_path):
    frames = read_frames(noise_video(tmp_path / "a.mp4"))
    assert next(frames).shape == (48, 64, 3)
    frames.close()


@pytest.mark.parametrize("size_hw", [(47, 64), (48, 63), (47, 63), (1, 1)])
def test_odd_sizes_are_padded_to_even_ones(tmp_path, size_hw):
    path = write_video(tmp_path / "a.mp4", gray_frames(3, size_hw))
    assert video_info(path).size_hw == tuple(size + size % 2 for size in size_hw)


def test_written_video_is_what_browsers_play(tmp_path):
    path = write_video(tmp_path / "a.mp4", gray_frames(3))
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "the index must come first, so that playing starts at once"


def test_given_times_are_kept(tmp_path):
    times = [0, 0.1, 0.15, 0.4, 1.0]
    with VideoWriter(tmp_path / "a.mp4", fps=24) as writer:
        for time, frame in zip(times, gray_frames(5), strict=True):
            writer.write(frame, time)
    np.testing.assert_allclose([time for time, _ in read_timed_frames(tmp_path / "a.mp4")], times, atol=1e-4)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format"),
    [
        ("mkv", "ffv1", "yuv420p10le"),
        ("mkv", "ffv1", "gray"),
        ("mkv", "ffv1", "gray16le"),
        ("mov", "qtrle", "argb"),
        ("mp4", "libx264", "yuv444p"),
        ("mp4", "libx265", "yuv420p10le"),
    ],
)
def test_pixel_formats_other_than_8_bit_colour(tmp_path, suffix, codec, pixel_format):
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pixel_format
        for frame in gray_frames(4):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixel_format))
            )
        container.mux(stream.encode())
    frames = list(read_frames(path))
    assert [(frame.shape, frame.dtype) for frame in frames] == [((48, 64, 3), np.dtype("uint8"))] * 4
    np.testing.assert_allclose([frame.mean() for frame in frames], [20, 30, 40, 50], atol=4)


def test_rotation_of_the_file_is_applied(tmp_path):
    # PyAV can't set the display matrix of a track, so its header is patched.
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :32] = 255  # bright left half
    path = write_video(tmp_path / "a.mp4", [frame] * 2)
    content = bytearray(path.read_bytes())
    matrix_at = content.index(b"tkhd") + 4 + 40
    one = 1 << 16
    clockwise = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    content[matrix_at : matrix_at + len(clockwise)] = clockwise
    path.write_bytes(content)
    shown = next(read_frames(path))
    assert shown.shape == (64, 48, 3)
    assert shown[:30].mean() > 200 > 50 > shown[34:].mean(), "the left half must be on top after a clockwise turn"
    info = video_info(path)
    assert (info.size_hw, info.rotation) == ((64, 48), 270)


def test_folder_of_pictures_in_the_order_of_their_names(tmp_path):
    for index, name in enumerate(["10.jpg", "02.png", "03.jpeg"]):
        Image.fromarray(np.full((20, 30, 3), 50 * index, np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    levels = [frame.mean() for frame in read_frames(tmp_path)]
    np.testing.assert_allclose(levels, [50, 100, 0], atol=2)
    assert video_info(tmp_path).num_frames == 3


def test_gray_and_transparent_pictures_become_rgb(tmp_path):
    Image.fromarray(np.full((20, 30), 90, np.uint8)).save(tmp_path / "a.png")
    Image.new("RGBA", (30, 20), (90, 90, 90, 128)).save(tmp_path / "b.png")
    assert [frame.shape for frame in read_frames(tmp_path)] == [(20, 30, 3)] * 2


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4: no such file or folder"):
        read_frames("nowhere.mp4")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "the file is empty"), (b"no video at all" * 20, "Invalid data")]
)
def test_not_a_video(tmp_path, content, reason):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=rf"a\.mp4: not a readable video \(.*{reason}"):
        read_frames(path)


def test_no_video_stream(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match=r"sound\.wav: holds no video stream, only audio"):
        read_frames(path)


def test_truncated_file_says_how_much_was_readable(tmp_path):
    path = noise_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reading = read_timed_frames(path)
    num_frames = len(list(reading))
    assert 5 < num_frames < 30 and not reading.complete
    assert f"a.mp4: truncated, {num_frames} of 30 frames were readable (the file ends early" in reading.problem


def test_file_cut_before_its_first_frame(tmp_path):
    path = noise_video(tmp_path / "a.mp4")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 8])
    with pytest.raises(VideoError, match=r"a\.mp4: (the video has 0 frames|no frame can be decoded)"):
        list(read_frames(path))


def test_empty_folder(tmp_path):
    with pytest.raises(VideoError, match="the folder holds 0 pictures"):
        read_frames(tmp_path)


def test_pictures_of_mixed_sizes_are_scaled_with_a_warning(tmp_path, caplog):
    Image.new("RGB", (30, 20)).save(tmp_path / "1.png")
    Image.new("RGB", (30, 22)).save(tmp_path / "2.png")
    assert [frame.shape for frame in read_frames(tmp_path)] == [(20, 30, 3)] * 2
    assert "the frames' size changes to 22x30 (height x width)" in caplog.text


def test_unreadable_picture(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])
    reading = read_timed_frames(tmp_path)
    assert len(list(reading)) == 1
    assert reading.bad_packets == 1 and "2.png: frame 1 is not a readable picture" in reading.problem


def test_writer_leaves_nothing_behind_after_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(gray_frames(1)[0])
        raise RuntimeError("stop")
    assert os.listdir(tmp_path) == []


def test_writer_keeps_the_old_file_until_the_new_one_is_complete(tmp_path):
    path = write_video(tmp_path / "a.mp4", gray_frames(2))
    before = path.read_bytes()
    with VideoWriter(path) as writer:
        writer.write(gray_frames(5)[4])
        assert path.read_bytes() == before
    assert path.read_bytes() != before
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("frame", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))])
def test_writer_refuses_what_is_no_frame(tmp_path, frame):
    with (
        pytest.raises(VideoError, match=r"frame 0: expected a \(H, W, 3\) uint8 array"),
        VideoWriter(tmp_path / "a.mp4") as out,
    ):
        out.write(frame)


def test_writer_refuses_changing_sizes_no_frames_and_bad_arguments(tmp_path):
    with pytest.raises(VideoError, match=r"frame 1 has size \(10, 8\), the first one had \(8, 8\)"):
        write_video(tmp_path / "a.mp4", [np.zeros((8, 8, 3), np.uint8), np.zeros((10, 8, 3), np.uint8)])
    with pytest.raises(VideoError, match="no frame was written"):
        write_video(tmp_path / "a.mp4", [])
    with pytest.raises(ValueError, match="fps must be positive, got 0"):
        VideoWriter(tmp_path / "a.mp4", fps=0)
    with pytest.raises(VideoError, match=r"the folder .*missing does not exist"):
        VideoWriter(tmp_path / "missing" / "a.mp4")


def test_a_faster_preset_writes_the_same_frames_into_a_larger_file(tmp_path):
    time = np.arange(64)
    frames = [
        np.stack([120 + 100 * np.sin((time + 3 * t) / 7)] * 48)[..., None].repeat(3, 2).astype(np.uint8)
        for t in range(30)
    ]
    sizes = {}
    for preset in ("medium", "superfast", "ultrafast"):
        path = tmp_path / f"{preset}.mp4"
        with VideoWriter(path, preset=preset) as writer:
            for frame in frames:
                writer.write(frame)
        sizes[preset] = path.stat().st_size
        np.testing.assert_allclose(np.stack(list(read_frames(path))), frames, atol=16)
    assert sizes["medium"] < sizes["ultrafast"]
    assert sizes["superfast"] < sizes["ultrafast"]

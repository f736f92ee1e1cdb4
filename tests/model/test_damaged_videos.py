"""Damage of a video costs what is damaged and nothing else; what was lost is counted."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ifc_hf.model.decoding as decoding
from ifc_hf.model.video_files import VideoError, read_frames, read_timed_frames
from ifc_hf.model.video_inputs import open_reading
from video_makers import damage, make_video


def readable(path: Path) -> tuple[int, int]:
    """Frames that can be read, and packets that can't."""
    reading = read_timed_frames(path)
    num_frames = sum(1 for _ in reading)
    assert reading.complete == (reading.problem is None) == (reading.bad_packets == 0)
    return num_frames, reading.bad_packets


# Numbers of frames are those of the `ffmpeg` command. Frames behind a lost key frame are lost with it, but in HEVC and
# in codecs of which every frame is a key frame.
@pytest.mark.parametrize(
    ("codec", "suffix", "after_damaged_key"),
    [
        ("libx264", "mp4", (20, 1)),
        ("libx264", "mkv", (20, 1)),
        ("libx265", "mp4", (29, 1)),
        ("libvpx", "webm", (20, 10)),
        ("libvpx-vp9", "mp4", (20, 10)),
        ("mpeg4", "avi", (29, 1)),
        ("mjpeg", "avi", (29, 1)),
        ("libsvtav1", "mp4", (20, 10)),
    ],
)
def test_one_damaged_packet_costs_one_frame(tmp_path, codec, suffix, after_damaged_key):
    path = make_video(tmp_path / f"a.{suffix}", codec)
    content = path.read_bytes()
    assert readable(path) == (30, 0)
    assert readable(damage(path, [15])) == (29, 1)
    path.write_bytes(content)
    assert readable(damage(path, [0])) == after_damaged_key


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
@pytest.mark.parametrize("packets", [[29], [25], [25, 27]])
def test_many_threads_lose_no_frame_at_the_end(tmp_path, monkeypatch, codec, packets):
    find_stream = decoding.video_stream

    def threaded(*arguments):
        stream = find_stream(*arguments)
        stream.codec_context.thread_count = 8
        return stream

    monkeypatch.setattr(decoding, "video_stream", threaded)
    path = damage(make_video(tmp_path / ("a.mp4" if codec == "libx264" else "a.avi"), codec), packets)
    assert readable(path) == (30 - len(packets), len(packets))


def test_stream_without_its_first_key_frame(tmp_path):
    content = make_video(tmp_path / "a.h264").read_bytes()
    (tmp_path / "late.h264").write_bytes(content[content.index(b"\x00\x00\x01\x41") - 1 :])
    assert readable(tmp_path / "late.h264") == (20, 0)


def test_the_warning_says_what_was_lost(tmp_path, caplog):
    assert len(list(read_frames(damage(make_video(tmp_path / "a.mp4"), [3, 12])))) == 28
    assert "a.mp4: damaged, 2 of its packets could not be decoded (Invalid data" in caplog.text
    assert "28 frames were readable" in caplog.text


def test_no_packet_can_be_decoded(tmp_path):
    path = damage(make_video(tmp_path / "a.mp4", num_frames=3), [0, 1, 2])
    with pytest.raises(VideoError, match=r"a\.mp4: no frame can be decoded \(Invalid data"):
        read_frames(path)


@pytest.mark.parametrize(
    ("suffix", "codec", "movflags"),
    [
        ("mp4", "libx264", "faststart"),
        ("mp4", "libx264", "frag_keyframe+empty_moov"),
        ("mov", "libx264", "faststart"),
        ("mkv", "libx264", ""),
        ("webm", "libvpx", ""),
        ("avi", "mpeg4", ""),
    ],
)
@pytest.mark.parametrize("kept", [0.5, 0.8])
def test_cut_off_files_are_not_complete(tmp_path, suffix, codec, movflags, kept):
    path = make_video(tmp_path / f"a.{suffix}", codec, movflags=movflags)
    assert read_to_end(path).complete
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    reading = read_to_end(path)
    assert 0 < reading.report.num_frames < 30
    assert f"a.{suffix}: truncated, {reading.report.num_frames}" in reading.problem


def read_to_end(path: Path):
    """A reading after its last frame."""
    reading = read_timed_frames(path)
    for _ in reading:
        pass
    return reading


@pytest.mark.parametrize("bad", [b"", b"\xff\xd8\xff\xe0 no picture", None])
@pytest.mark.parametrize("place", [1, 4])
def test_bad_pictures_are_left_out_and_counted(tmp_path, bad, place):
    for index in range(5):
        Image.fromarray(np.full((20, 30, 3), 50 * index, np.uint8)).save(tmp_path / f"{index}.jpg")
    file = tmp_path / f"{place}.jpg"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if bad is None else bad)
    reading = read_timed_frames(tmp_path)
    times = [round(time * 25) for time, _ in reading]
    assert times == [index for index in range(5) if index != place]
    assert reading.bad_packets == 1 and f"{place}.jpg: frame {place} is not a readable picture" in reading.problem


def test_pictures_beyond_pillows_limit_are_one_clear_error(tmp_path, monkeypatch):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(VideoError, match=r"a\.png: frame 0 is not a readable picture: .*exceeds limit"):
        read_frames(tmp_path / "a.png")


class FailingFile(io.BytesIO):
    """A file object of which reading fails in the middle, with an error of its own."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 32_000:
            raise RuntimeError("connection lost")
        return super().read(size)


def test_errors_of_a_file_object_are_video_errors(tmp_path):
    content = make_video(tmp_path / "a.mkv", num_frames=90, size_hw=(96, 128)).read_bytes()
    reading = open_reading(FailingFile(content))
    with pytest.raises(VideoError, match=r"reading failed \(connection lost\)"):
        for _ in reading:
            pass
    assert reading.report.num_frames > 3

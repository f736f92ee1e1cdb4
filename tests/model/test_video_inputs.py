"""What may stand for a video: names, addresses, pipes, readers; and what is refused before it can do harm."""

import io
import os
import shutil
import struct
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ifc_hf.model import live_video
from ifc_hf.model.video_files import VideoError, read_timed_frames, video_info
from ifc_hf.model.video_inputs import matching_files, open_frames, open_reading
from ifc_hf.outputs.source import Reading, VideoSource
from ifc_hf.outputs.video_writer import VideoWriter
from loopback_video import VideoServer
from video_makers import make_video, moving_frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A whole video of 12 frames."""
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", num_frames=12, movflags="faststart")


def count(source, **options) -> int:
    return sum(1 for _ in open_reading(source, **options))


@pytest.mark.parametrize(
    "name",
    [
        "2024-05-01T12:30:00.mp4",
        "a:b.mp4",
        "%03d.mp4",
        "...mp4",
        "c[1].mp4",
        "what?.mp4",
        "subfile,,0.mp4",
        "é #1.mp4",
    ],
)
def test_local_names_are_paths(clip, tmp_path, monkeypatch, name):
    shutil.copy(clip, tmp_path / name)
    assert count(tmp_path / name) == 12
    monkeypatch.chdir(tmp_path)
    assert count(name) == count((tmp_path / name).as_uri()) == 12
    with VideoWriter(f"out:{name}") as writer:
        writer.write(np.zeros((8, 8, 3), np.uint8))
    assert count(f"out:{name}") == 1


def test_brackets_in_folders_are_no_pattern(clip, tmp_path):
    folder = tmp_path / "My Video [abc]"
    folder.mkdir()
    for index in (10, 9):
        shutil.copy(clip, folder / f"{index}.mp4")
    assert matching_files(str(folder / "*.mp4")) == [str(folder / "9.mp4"), str(folder / "10.mp4")]


PLAYLISTS = {
    "a.ffconcat": "ffconcat version 1.0\nfile {clip}\n",
    "a.mp4": "ffconcat version 1.0\nfile {clip}\n",
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
    "a.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "a.txt": "some text, which FFmpeg would draw\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlists_and_texts_are_refused(clip, tmp_path, name):
    content = PLAYLISTS[name].format(clip=clip.name)
    shutil.copy(clip, tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(VideoError, match=f"{name}: not a readable video"):
        open_reading(tmp_path / name)
    with pytest.raises(VideoError, match="not a readable video"):
        open_reading(io.BytesIO(content.encode()))


def test_pipes_devices_and_what_is_not_there(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for place in (tmp_path / "pipe.mp4", "/dev/zero"):
        with pytest.raises(VideoError, match="a pipe or a device, no regular file"):
            open_reading(place)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        open_reading(tmp_path / "clip.mp4" / "clip.mp4")
    with pytest.raises(VideoError, match=r"foo://x: unknown kind of address foo://, expected one of http, "):
        open_reading("foo://x")


def test_standard_input(clip, monkeypatch):
    reader, writer = os.pipe()
    threading.Thread(target=lambda: os.write(writer, clip.read_bytes()) and os.close(writer)).start()
    with os.fdopen(reader, "rb") as stream:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        assert count("-") == 12


class OldReader:
    """A sequence without `__iter__`, as decord's VideoReader."""

    def __init__(self, frames: list[np.ndarray]) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.frames[index]


def test_sequences_are_videos():
    frames = moving_frames(6)
    taken = list(open_frames(OldReader(frames), (1, 4), None))
    assert len(taken) == 3 and taken[0] is frames[1]


@pytest.mark.parametrize("movflags", ["", "faststart"])
def test_address_without_ranges(tmp_path, movflags):
    path = make_video(tmp_path / "a.mp4", num_frames=60, size_hw=(240, 320), movflags=movflags, qp="0")
    server = VideoServer(path.read_bytes())
    assert count(server.address) == 60
    server.shutdown()


def test_live_source_is_opened_again_until_it_stays_away(monkeypatch, caplog):
    monkeypatch.setattr(live_video, "WAITS_SECONDS", (0.01, 0.01))
    server = VideoServer(None, connections=3)
    reading = open_reading(server.address)
    times, levels = zip(*((time, frame.mean()) for time, frame in reading), strict=True)
    assert reading.info.is_live and reading.info.num_frames is None
    np.testing.assert_allclose(levels, np.arange(30) * 8, atol=2)
    np.testing.assert_allclose(times, np.arange(30) / 25, atol=1e-6)
    assert caplog.text.count("it is opened again in 0.01 s") == 4
    assert "truncated, 30 frames were readable (not a readable video (Server returned" in reading.problem
    server.shutdown()


def test_what_turns_out_to_be_live_is_not_read_twice():
    server = VideoServer(None)
    with pytest.raises(VideoError, match="tells no length, as what goes on for ever: add --live"):
        Reading(VideoSource(server.address))
    assert Reading(VideoSource(server.address, endless=True)).info.is_live
    server.shutdown()


# Of the display matrix: (a, b, c, d), and what it makes of a picture.
ORIENTATIONS = {
    (1, 0, 0, 1): lambda image: image,
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),
    (0, -1, 1, 0): lambda image: np.rot90(image, 1),
}


@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_all_eight_orientations(tmp_path, matrix):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :32, 0] = image[32:, :16, 1] = 240
    with VideoWriter(tmp_path / "a.mp4", crf=1) as writer:
        writer.write(image)
    stored = next(read_timed_frames(tmp_path / "a.mp4"))[1]
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "a.mp4").write_bytes(content)
    reading = read_timed_frames(tmp_path / "a.mp4")
    np.testing.assert_array_equal(next(reading)[1], ORIENTATIONS[matrix](stored))
    assert reading.info.mirrored == (matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0)


def test_sample_aspect_ratio_is_kept(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", sample_aspect_ratio=Fraction(64, 45)) as writer:
        writer.write(np.zeros((48, 60, 3), np.uint8))
    info = video_info(tmp_path / "a.mp4")
    assert (info.sample_aspect_ratio, info.size_hw) == (Fraction(64, 45), (48, 60))


@pytest.mark.parametrize("order", ["ab", "ba", "aba"])
def test_times_of_joined_streams_go_on(tmp_path, order):
    lengths = {"a": 12, "b": 20}
    for name, length in lengths.items():
        make_video(tmp_path / f"{name}.ts", num_frames=length)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join((tmp_path / f"{name}.ts").read_bytes() for name in order))
    times = [time for time, _ in read_timed_frames(joined)]
    np.testing.assert_allclose(times, np.arange(sum(map(lengths.get, order))) / 25, atol=1e-6)
    assert count(joined, fps=5) == -(-len(times) // 5)


def test_missing_times_are_filled_in(tmp_path):
    path = make_video(tmp_path / "a.h264", num_frames=12)
    np.testing.assert_allclose([time for time, _ in read_timed_frames(path)], np.arange(12) / 25, atol=1e-6)


def test_size_that_changes_in_mid_stream(tmp_path, caplog):
    for name, size_hw in (("a", (48, 64)), ("b", (96, 128))):
        make_video(tmp_path / f"{name}.ts", num_frames=8, size_hw=size_hw)
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    assert [frame.shape for _, frame in read_timed_frames(joined)] == [(48, 64, 3)] * 16
    assert caplog.text.count("the frames' size changes to 96x128") == 1

"""The sound of a drawn video: in step with the pictures of joined streams, and never worth losing the video."""

from pathlib import Path

import av
import pytest

from ifc_hf.model.video_files import read_timed_frames
from ifc_hf.outputs.sound import add_sound
from ifc_hf.outputs.video_writer import VideoWriter
from video_makers import make_video


def with_sound(source: Path) -> Path | None:
    """A copy of a video with its sound; None if that is left out."""
    silent, output = source.with_name("silent.mp4"), source.with_name("output.mp4")
    with VideoWriter(silent, fps=25) as writer:
        for time, frame in read_timed_frames(source):
            writer.write(frame, time)
    return output if add_sound(silent, str(source), output, 0.0, time + 0.04) else None


def sound_times(path: Path) -> list[float]:
    """When each packet of the sound begins."""
    with av.open(str(path)) as container:
        return [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("sound", ["aac", "mp2"])  # copied and encoded anew
def test_sound_of_joined_streams(tmp_path, sound):
    part = make_video(tmp_path / "part.ts", num_frames=25, sound=sound).read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part * 3)
    times = sound_times(with_sound(joined))
    steps = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert times[0] == pytest.approx(0, abs=0.05) and times[-1] == pytest.approx(3, abs=0.1)
    assert min(steps) > 0 and max(steps) < 0.1


def test_sound_of_an_unknown_codec_is_left_out_with_a_warning(tmp_path, caplog):
    path = make_video(tmp_path / "a.mp4", num_frames=5, sound="aac")
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"zzzz").replace(b"esds", b"free"))
    assert with_sound(path) is None
    assert "a.mp4: its sound is left out, for it can't be read (its codec is unknown" in caplog.text
    assert not (tmp_path / "output.mp4").exists()


def test_cover_picture_of_a_sound_file_is_no_video(tmp_path):
    from ifc_hf.model.video_files import VideoError

    path = tmp_path / "song.m4a"
    cover = make_video(tmp_path / "cover.mkv", "mjpeg", num_frames=1)
    with av.open(str(cover)) as picture, av.open(str(path), "w", format="mp4") as song:
        stream = song.add_stream_from_template(picture.streams.video[0])
        stream.disposition = av.stream.Disposition.attached_pic
        packet = next(picture.demux(video=0))
        packet.stream = stream
        song.mux(packet)
    with pytest.raises(VideoError, match=r"song\.m4a: holds no video stream, only .*cover picture"):
        read_timed_frames(path)

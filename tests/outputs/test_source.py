"""Videos as the command line names them: listings of folders, and names of results."""

import os

import pytest
from PIL import Image

from ifc_hf.outputs.source import Reading, VideoSource, distinct_names, find_sources
from video_makers import make_video


def listed(folder) -> list[str]:
    return [os.path.basename(str(source.place)) for source in find_sources([str(folder)])]


def test_folder_of_videos(tmp_path):
    names = ["2.MTS", "10.ogv", "a.vob", "b.MP4", "c.m2ts", "d.gif", "e.hevc"]
    for name in [*names, "._2.MTS", "notes.txt", "song.m4a", "song.mp3", "subtitles.srt"]:
        (tmp_path / name).touch()
    assert listed(tmp_path) == names
    Image.new("RGB", (4, 4)).save(tmp_path / "poster.jpg")
    assert listed(tmp_path) == names, "one picture doesn't make it a folder of pictures"


def test_folder_of_pictures_or_animations(tmp_path):
    for folder in ("pictures", "animations"):
        (tmp_path / folder).mkdir()
    for index in range(3):
        Image.new("RGB", (4, 4)).save(tmp_path / "pictures" / f"{index}.png")
        first, second = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "red")
        first.save(tmp_path / "animations" / f"{index}.webp", save_all=True, append_images=[second])
    (tmp_path / "pictures" / "preview.mp4").touch()
    assert listed(tmp_path / "pictures") == ["pictures"]
    assert listed(tmp_path / "animations") == ["0.webp", "1.webp", "2.webp"]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("...mp4", "...mp4"),
        ("day/2024-05-01T12:30:00.mp4", "2024-05-01T12:30:00"),
        ("https://user:secret@a.b/..", "a.b"),
        ("https://a.b/x/%2e%2e/clip.mp4?y=/../z", "clip"),
        ("srt://a.b:9000", "a.b_9000"),
        ("-", "stdin"),
        (3, "camera3"),
    ],
)
def test_names_lead_nowhere_else(place, name):
    assert VideoSource(place).name == name


def test_names_are_distinct():
    assert distinct_names([["data", "seq1", "img1"], ["data", "seq2", "img1"]]) == ["seq1_img1", "seq2_img1"]
    assert distinct_names([["a", "x", "img"], ["b", "x", "img"], ["c", "y"]]) == ["a_x_img", "b_x_img", "y"]
    assert distinct_names([["a", "clip"], ["a", "clip"]]) == ["a_clip_1", "a_clip_2"]


def test_one_source_named_twice_is_one(tmp_path):
    make_video(tmp_path / "a.mp4", num_frames=2)
    places = [str(tmp_path / "a.mp4"), (tmp_path / "a.mp4").as_uri(), str(tmp_path)]
    assert [source.name for source in find_sources(places)] == ["a"]


def test_a_reading_knows_what_is_asked_of_a_source(tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=10, sound="aac")
    reading = Reading(VideoSource(str(path), (2, 8), fps=12.5))
    assert (reading.info.has_sound, reading.info.is_live, reading.size_hw, reading.expected_frames) == (
        True, False, (48, 64), 3,
    )  # fmt: skip
    assert len(list(reading)) == 3
    assert reading.times == pytest.approx([0.08, 0.16, 0.24])

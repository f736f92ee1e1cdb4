"""Videos as the command line names them: listings of folders, and names of results."""

import os

import pytest
from PIL import Image

from ifc_hf.outputs.fingerprint import source_fingerprint
from ifc_hf.outputs.names import folder_names
from ifc_hf.outputs.source import Reading, VideoSource, find_sources
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


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["data/seq1/img1.mp4", "data/seq2/img1.mp4"], ["seq1_img1", "seq2_img1"]),
        (["a/x/img.mp4", "b/x/img.mp4", "c/y.mp4"], ["a_x_img", "b_x_img", "y"]),
        (["day/clip.mp4", "day/clip.avi", "day/clip_1.mp4"], ["clip_2", "clip_3", "clip_1"]),
        (["day/Clip.mp4", "day/b.mp4", "night/clip.mp4"], ["day_Clip", "b", "night_clip"]),
        (["ftp://a/" + "x" * 300, "ftp://b/" + "x" * 300], ["a_" + "x" * 198, "b_" + "x" * 198]),
        (["ftp://a/" + "x" * 201 + end for end in "ab"], ["x" * 200 + "_1", "x" * 200 + "_2"]),
        (["results.json.mp4", "Videos.JSON.mp4"], ["results.json_", "Videos.JSON_"]),
        (["a\\b\0c.mp4"], ["a_b_c"]),
        (["ftp://a/" + "ä" * 150], ["ä" * 100]),
        (["clip.v2.mp4", 3, "-"], ["clip.v2", "camera3", "stdin"]),
    ],
)
def test_names_of_folders_are_plain_and_distinct(places, names):
    assert folder_names(places) == names


def test_only_the_pictures_of_a_folder_count_for_its_fingerprint(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    before = source_fingerprint(str(tmp_path)), source_fingerprint(str(tmp_path / "*"))
    for name in (".DS_Store", "._0.png", "Thumbs.db", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert (source_fingerprint(str(tmp_path)), source_fingerprint(str(tmp_path / "*"))) == before
    Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    assert source_fingerprint(str(tmp_path)) != before[0] and source_fingerprint(str(tmp_path / "*")) != before[1]


def test_one_source_named_twice_is_one(tmp_path, monkeypatch):
    make_video(tmp_path / "a.mp4", num_frames=2)
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "pictures" / "0.png")
    monkeypatch.chdir(tmp_path)
    places = [
        *(
            "a.mp4",
            "./a.mp4",
            "pictures/../a.mp4",
            str(tmp_path / "a.mp4"),
            (tmp_path / "a.mp4").as_uri(),
            "*.mp4",
            ".",
        ),
        *("pictures", "pictures/", "./pictures", "0", "00", "-", "-"),
    ]
    found = find_sources(places, endless=True)
    assert [source.place for source in found] == ["a.mp4", "pictures", 0, "-"]
    assert [source.name for source in found] == ["a", "pictures", "camera0", "stdin"]


def test_a_reading_knows_what_is_asked_of_a_source(tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=10, sound="aac")
    reading = Reading(VideoSource(str(path), (2, 8), fps=12.5))
    assert (reading.info.has_sound, reading.info.is_live, reading.size_hw, reading.expected_frames) == (
        True, False, (48, 64), 3,
    )  # fmt: skip
    assert len(list(reading)) == 3
    assert reading.times == pytest.approx([0.08, 0.16, 0.24])

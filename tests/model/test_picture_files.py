"""Pictures as frames: order, hidden files, animations, and values of more than 8 bits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ifc_hf.model.picture_files import eight_bit, list_pictures
from ifc_hf.model.video_files import VideoError, read_timed_frames

RAMP = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
RAMP_16 = RAMP.astype(np.uint16) * 257


def names(folder: Path) -> list[str]:
    return [file.name for file in list_pictures(folder)]


@pytest.mark.parametrize(
    "order",
    [
        ["frame_1.png", "frame_2.png", "frame_10.png"],
        ["001.jpg", "002.jpg", "010.jpg"],
        ["2_9.png", "2_10.png", "10_1.png"],
        ["a.ppm", "b.PNG", "c.jfif", "d.webp", "e.TIFF"],
    ],
)
def test_natural_order(tmp_path, order):
    for name in reversed(order):
        (tmp_path / name).touch()
    assert names(tmp_path) == order


def test_hidden_files_and_what_is_no_file_are_left_out(tmp_path):
    for name in ("1.png", "._1.png", ".thumbnail.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "2.png").mkdir()
    assert names(tmp_path) == ["1.png"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("16.png", RAMP_16),
        ("16.tif", RAMP_16),
        ("16.pgm", RAMP_16),
        ("32_of_8.tif", RAMP.astype(np.int32)),
        ("float_of_1.tif", (RAMP / 255).astype(np.float32)),
        ("float_of_255.tif", RAMP.astype(np.float32)),
    ],
)
def test_values_come_to_8_bits(tmp_path, name, values):
    Image.fromarray(values).save(tmp_path / name)
    ((_, frame),) = read_timed_frames(tmp_path / name)
    np.testing.assert_array_equal(frame, np.dstack([RAMP] * 3))


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        (RAMP.astype(np.int32) * 257, "0 to 65535"),
        (RAMP.astype(np.int32) - 9, "-9 to 246"),
        (RAMP.astype(np.float32) * 3, "0 to 765"),
        (RAMP / np.float32(255) - np.float32(0.5), "-0.5 to 0.5"),
        (np.full((4, 4), np.nan, np.float32), "nan to nan"),
    ],
)
def test_values_of_unknown_scale_are_refused_with_their_range(tmp_path, values, seen):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(VideoError, match=rf"a\.tif: frame 0 .*expected values from 0 to 255.* got {seen}"):
        read_timed_frames(tmp_path / "a.tif")


def test_dark_floats_of_0_to_255_stay_dark():
    dark = np.zeros((4, 4), np.float32)
    dark[0] = 1
    assert np.asarray(eight_bit(Image.fromarray(dark))).max() == 1


@pytest.mark.parametrize(("suffix", "seconds"), [("webp", 0.1), ("png", 0.1), ("gif", 0.1), ("tif", 0.04)])
def test_animated_pictures_are_videos(tmp_path, suffix, seconds):
    first, *others = (Image.new("RGB", (48, 32), (20 * index,) * 3) for index in range(6))
    options = {"lossless": True} if suffix == "webp" else {}
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others, duration=100, **options)
    timed = [(time, frame.mean()) for time, frame in read_timed_frames(tmp_path / f"a.{suffix}")]
    np.testing.assert_allclose(timed, [(seconds * index, 20 * index) for index in range(6)], atol=1e-6)

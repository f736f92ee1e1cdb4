"""Pictures as frames: folders of pictures, animated pictures, and pictures of more than 8 bits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .reading import DEFAULT_FPS, Frame, Reading, Report, VideoError, VideoInfo, begun, one_line

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif"),
)
DEFAULT_FRAME_SECONDS = float(1 / DEFAULT_FPS)
FORMATS_OF_16_BIT = ("PNG", "PPM")  # that Pillow may give as 32-bit integers


def read_pictures(name: str, files: Sequence[Path]) -> Reading:
    """Reads picture files as the frames of one video, 25 a second.

    Raises:
        VideoError: If none of them can be read.
    """
    report = Report(expected=len(files), unit="pictures")
    return start_reading(name, timed_pictures(files, report), report, len(files))


def read_animation(file: Path) -> Reading:
    """Reads an animated picture (WebP, PNG), or a TIFF of several pages, as a video.

    Raises:
        VideoError: If no frame can be read.
    """
    with Image.open(file) as image:
        num_frames = frame_count(image) - bool(image.info.get("default_image"))
    report = Report(expected=num_frames, unit="frames")
    return start_reading(str(file), timed_animation(file, report), report, num_frames)


def start_reading(name: str, timed: Iterator[tuple[float, Frame]], report: Report, num_frames: int) -> Reading:
    """Reads the first picture, which tells the size."""
    first = next(timed, None)
    if first is None:
        raise VideoError(report.bad_reason or f"{name}: {report.end_reason or 'holds no picture'}")
    info = VideoInfo(DEFAULT_FPS, first[1].shape[:2], num_frames)
    return Reading(name, begun(first, timed), info, report)


def timed_pictures(files: Sequence[Path], report: Report) -> Iterator[tuple[float, Frame]]:
    """Reads pictures one by one; one that can't be read is left out, and the others keep their times."""
    for index, file in enumerate(files):
        try:
            with Image.open(file) as image:
                frame = picture_frame(image)
        except Exception as error:  # Pillow's classes share no ancestor: its plugins raise what they meet
            report.note_bad(f"{file}: frame {index} is not a readable picture: {one_line(error)}")
            continue
        report.num_frames += 1
        yield index * DEFAULT_FRAME_SECONDS, frame


def timed_animation(file: Path, report: Report) -> Iterator[tuple[float, Frame]]:
    """The frames of an animated picture at the times that it gives; 25 a second if it gives none."""
    time = 0.0
    with Image.open(file) as image:
        first = int(bool(image.info.get("default_image")))  # an APNG's picture for programs that know no animation
        for index in range(first, frame_count(image)):
            try:
                image.seek(index)
                frame = picture_frame(image)
            except Exception as error:
                report.end_reason = f"frame {index}: {one_line(error)}"
                return
            report.num_frames += 1
            yield time, frame
            time += image.info.get("duration", 0) / 1000 or DEFAULT_FRAME_SECONDS


def picture_frame(image: Image.Image) -> Frame:
    """A picture of any mode as (H, W, 3) uint8 RGB, turned upright as its EXIF data say.

    Raises:
        ValueError: If its values have no known scale.
    """
    upright = ImageOps.exif_transpose(image)
    upright.format = image.format  # a copy doesn't know it
    return np.array(eight_bit(upright).convert("RGB"))


def eight_bit(image: Image.Image) -> Image.Image:
    """A picture whose values are on the scale 0 to 255; Pillow would cut larger values off.

    16-bit gray is divided by 257. Floating-point values within 0 to 1 are multiplied by 255 (unless all are whole:
    then they are dark ones of 0 to 255), others within 0 to 255 are taken as they are; so are 32-bit integers.

    Raises:
        ValueError: If a value lies outside these ranges; says which range was seen.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format in FORMATS_OF_16_BIT)
    values = np.asarray(image, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if is_16_bit and low >= 0 and high <= 65535:
        values = values / 257
    elif image.mode == "F" and low >= 0 and high <= 1 and not (values == np.rint(values)).all():
        values = values * 255
    elif not (low >= 0 and high <= 255):  # also if one is NaN
        raise ValueError(f"expected values from 0 to 255, or of floats from 0 to 1, got {low:g} to {high:g}")
    return Image.fromarray(np.rint(values).astype(np.uint8))


def is_picture(path: str | Path) -> bool:
    """Whether a path has the name of a picture file."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def frame_count(image: Image.Image) -> int:
    """Frames of a picture; Pillow tells it of the kinds that may have several."""
    return getattr(image, "n_frames", 1)


def is_animated(file: Path) -> bool:
    """Whether a picture file has several frames."""
    try:
        with Image.open(file) as image:
            return frame_count(image) > 1
    except Exception:  # reading it says what is wrong
        return False


def list_pictures(folder: Path) -> list[Path]:
    """Picture files of a folder in natural order; hidden ones and what is no regular file are left out.

    Raises:
        VideoError: If there is none.
    """
    pictures = [file for file in folder.iterdir() if is_picture(file) and is_listed(file)]
    if not pictures:
        raise VideoError(f"{folder}: the folder holds 0 pictures ({', '.join(IMAGE_SUFFIXES)})")
    return sorted(pictures, key=natural_order)


def is_listed(file: Path) -> bool:
    """Whether a listing names a file: not hidden (as `._x`, which some systems add to x), and a regular file."""
    return not file.name.startswith(".") and file.is_file()


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Sorting key by which frame_2 comes before frame_10; 02 comes before 2."""
    parts = re.split(r"(\d+)", str(path))
    numbered = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
    return [*numbered, (1, 0, str(path))]

"""Frames and rabbits of the film Big Buck Bunny, which the documentation of moviepy holds."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from .packages import read_members
from .pictures import crop_to_alpha, shrink

FILM = "moviepy_10_minutes/resources/bbb.mp4"
FRAME_SIZE_WH = (960, 540)
# Frame -> box xyxy around the rabbit at 640x360. The shot of the sample clip, frames 1125 to 1300, is not among them.
RABBIT_BOXES = {
    1440: (160, 105, 522, 360),
    1980: (153, 75, 320, 330),
    2520: (186, 82, 560, 360),
    3780: (200, 8, 404, 301),
    4590: (225, 12, 440, 312),
    4680: (77, 0, 512, 360),
    5310: (202, 7, 431, 312),
    6570: (239, 60, 408, 352),
    8820: (154, 9, 430, 331),
}
BOX_SCALE = FRAME_SIZE_WH[0] / 640
RIM_PIXELS = 3  # taken off a cut-out, or it would bring a rim of its background
RABBIT = "rabbit-"

Pictures = Iterator[tuple[str, np.ndarray]]


def film(path: Path, pictures: str, names: list[str]) -> Pictures:
    """Frames of the film as backgrounds, and rabbits cut out of others.

    Args:
        path: The source archive of moviepy.
        pictures: Path of the zip file inside that holds the film.
        names: "frame-00090" for a frame, "rabbit-01440" for the rabbit in one.

    Yields:
        Name and frame (H, W, 3) uint8 or cut-out (h, w, 4) uint8.
    """
    wanted = {int(name[-5:]): name for name in names}
    ((_, content),) = read_members(path, {pictures})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "film.mp4"
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            file.write_bytes(archive.read(FILM))
        for index, frame in read_some_frames(file, sorted(wanted)):
            picture = np.array(Image.fromarray(frame).resize(FRAME_SIZE_WH, Image.Resampling.LANCZOS))
            name = wanted[index]
            yield name, cut_out(picture, RABBIT_BOXES[index]) if name.startswith(RABBIT) else picture


def read_some_frames(file: Path, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames (H, W, 3) uint8 of a video with a constant frame rate, by seeking: few of 14,000 are wanted."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        if stream.average_rate is None or stream.time_base is None:
            raise ValueError(f"{file}: expected a video that tells its frame rate")
        frame_duration = float(1 / (stream.average_rate * stream.time_base))  # in units of the time stamps
        for index in indices:
            container.seek(round(index * frame_duration), stream=stream)
            earliest = (index - 0.5) * frame_duration
            frame = next(frame for frame in container.decode(stream) if (frame.pts or 0) >= earliest)
            yield index, frame.to_ndarray(format="rgb24")


def cut_out(frame: np.ndarray, box_xyxy: tuple[int, int, int, int]) -> np.ndarray:
    """Cuts what fills a box out of a frame, with GrabCut that starts from the box and an ellipse in its middle.

    Args:
        frame: (H, W, 3) RGB uint8.
        box_xyxy: In pixels of a frame of 640x360.

    Returns:
        (h, w, 4) uint8.
    """
    x0, y0, x1, y1 = (round(BOX_SCALE * side) for side in box_xyxy)
    state = np.full(frame.shape[:2], cv2.GC_BGD, np.uint8)
    state[y0:y1, x0:x1] = cv2.GC_PR_FGD
    center = ((x0 + x1) // 2, int(y0 + 0.6 * (y1 - y0)))
    axes = (int(0.15 * (x1 - x0)), int(0.22 * (y1 - y0)))
    cv2.ellipse(state, center, axes, 0, 0, 360, cv2.GC_FGD, thickness=-1)
    cv2.setRNGSeed(0)
    cv2.grabCut(frame[..., ::-1].copy(), state, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    mask = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask)
    mask = (parts == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    mask = cv2.erode(mask, np.ones((RIM_PIXELS, RIM_PIXELS), np.uint8))
    alpha = cv2.GaussianBlur(mask * np.uint8(255), (3, 3), 0)
    return shrink(crop_to_alpha(np.dstack([frame, alpha]), "rabbit"))

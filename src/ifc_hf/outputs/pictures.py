"""Pictures of a video's tracks: id maps, cut-outs, a contact sheet, an animation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..files import whole_folder, write_picture
from .shots import Shot, ShotWriter

SHEET_COLUMNS, SHEET_ROWS, SHEET_CELL_WIDTH = 4, 3, 320  # pixels
GIF_LONGEST_EDGE, GIF_FPS, GIF_MOST_FRAMES = 400, 10, 200  # some ten megabytes at most
GIF_COLORS = 256
MOST_LETTERS = 40  # of a class in the name of a file


class IdMaps(ShotWriter):
    """A folder of 16-bit PNGs, one a frame: 0 is background, k + 1 is the track with the number k.

    Where masks overlap, the track of the higher score wins.
    """

    whole = staticmethod(whole_folder)

    def add(self, shot: Shot) -> None:
        """Writes a frame's map."""
        ids = np.zeros(shot.frame.shape[:2], np.uint16)
        for track_id, mask in reversed(list(zip(shot.track_ids, shot.masks, strict=True))):
            ids[mask] = track_id + 1
        write_picture(Image.fromarray(ids), self.temporary / f"{shot.index:06}.png")


class Cutouts(ShotWriter):
    """A folder with a PNG for every track: the object where it is largest, everything else transparent."""

    whole = staticmethod(whole_folder)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.largest: dict[int, tuple[int, str, Image.Image]] = {}  # track -> pixels, label, picture

    def add(self, shot: Shot) -> None:
        """Keeps the objects that are larger than before."""
        for track_id, label, mask in zip(shot.track_ids, shot.labels, shot.masks, strict=True):
            num_pixels = int(mask.sum())
            if num_pixels > self.largest.get(track_id, (0, "", None))[0]:
                self.largest[track_id] = (num_pixels, label, cut_out(shot.frame, mask))

    def finish(self) -> None:
        """Writes the pictures."""
        for track_id, (_, label, picture) in self.largest.items():
            write_picture(picture, self.temporary / f"track_{track_id:03}_{file_name_part(label)}.png")


class ContactSheet(ShotWriter):
    """A JPEG with twelve drawn frames of the video, evenly spread, and their times.

    Args:
        path: Name of the result.
        num_frames: Length of the video.
    """

    def __init__(self, path: Path, num_frames: int) -> None:
        super().__init__(path)
        number = min(SHEET_COLUMNS * SHEET_ROWS, num_frames)
        self.chosen = {round(position) for position in np.linspace(0, num_frames - 1, number)}
        self.cells: list[Image.Image] = []

    def add(self, shot: Shot) -> None:
        """Keeps a small copy if the frame is one of the chosen."""
        if shot.index in self.chosen:
            height, width = shot.drawn.shape[:2]
            size = (SHEET_CELL_WIDTH, max(1, round(height * SHEET_CELL_WIDTH / width)))
            cell = Image.fromarray(shot.drawn).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
            font = ImageFont.load_default(14)
            ImageDraw.Draw(cell).text(
                (6, size[1] - 4), f"{shot.time:.2f} s", "white", font, "ls", stroke_width=2, stroke_fill="black"
            )
            self.cells.append(cell)

    def finish(self) -> None:
        """Writes the sheet."""
        columns = min(SHEET_COLUMNS, len(self.cells))
        width, height = self.cells[0].size
        sheet = Image.new("RGB", (columns * width, math.ceil(len(self.cells) / columns) * height))
        for position, cell in enumerate(self.cells):
            sheet.paste(cell, (position % columns * width, position // columns * height))
        write_picture(sheet, self.temporary, quality=88)


class Animation(ShotWriter):
    """A small GIF of the drawn video, of ten frames per second or fewer.

    Args:
        path: Name of the result.
        num_frames: Length of the video.
        fps: Its frames per second.
    """

    def __init__(self, path: Path, num_frames: int, fps: float) -> None:
        super().__init__(path)
        self.step = max(1, round(fps / GIF_FPS), math.ceil(num_frames / GIF_MOST_FRAMES))
        self.pictures: list[Image.Image] = []
        self.times: list[float] = []
        self.end = 0.0
        self.seconds_per_frame = 1 / fps

    def add(self, shot: Shot) -> None:
        """Keeps a small copy of every so many frames."""
        self.end = shot.time + self.seconds_per_frame
        if shot.index % self.step == 0:
            picture = Image.fromarray(shot.drawn)
            picture.thumbnail((GIF_LONGEST_EDGE, GIF_LONGEST_EDGE), reducing_gap=3.0)
            self.pictures.append(picture.quantize(GIF_COLORS, Image.Quantize.FASTOCTREE))
            self.times.append(shot.time)

    def finish(self) -> None:
        """Writes the animation."""
        # Whole hundredths of a second are all that the format knows, and browsers slow down what is below two.
        durations = [max(20, round(1000 * seconds)) for seconds in np.diff([*self.times, self.end])]
        first, *others = self.pictures
        write_picture(first, self.temporary, save_all=True, append_images=others, duration=durations, loop=0)


def cut_out(frame: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The part of a frame (H, W, 3) within a mask (H, W), cropped to it, as RGBA."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    alpha = np.where(mask[box], 255, 0).astype(np.uint8)
    return Image.fromarray(np.dstack([frame[box], alpha]))


def file_name_part(label: str) -> str:
    """A class name without what file systems don't take, and not too long for them."""
    return "".join(letter if letter.isalnum() else "_" for letter in label[:MOST_LETTERS])

"""Text on frames: labels that don't cover each other, and the list of what is visible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..model.video_files import Frame

DARK_RGB, LIGHT_RGB = (20, 20, 20), (255, 255, 255)  # of text, whichever is readable on its background
LEGEND_OPACITY = 0.6
LEGEND_LINES, LEAST_LINES = 8, 2  # a list that names fewer tracks than there are, and one alone, tells nothing
MOST_COVERED = 0.1  # of the frame, by labels and list together; the list takes half of it at most
FRAME_PER_LETTER = 36  # edges of a frame are so many times as long as its letters are high
SMALLEST_FONT = 9  # pixels; smaller letters can't be read
MOST_LETTERS = 60  # of a label

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Area:
    """A rectangle in pixels; `right` and `bottom` are one past the last."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def num_pixels(self) -> int:
        """Width times height."""
        return (self.right - self.left) * (self.bottom - self.top)

    def meets(self, other: Area) -> bool:
        """Whether the two share a pixel."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def draw_labels(
    frame: Frame,
    boxes_xyxy: NDArray[np.float32],
    texts: Sequence[str],
    colors_rgb: Sequence[Color],
    taken: Sequence[Area] = (),
) -> list[Area]:
    """Writes a text beside every object, on a bar of its colour.

    Labels cover neither each other nor what is taken already; together with that they take a tenth of the frame at
    most. Of a text only what stands before its first space is written (a number) where there is no room for more, or
    the numbers of others would find none.

    Args:
        frame: (H, W, 3) uint8; drawn on.
        boxes_xyxy: (n, 4) of the objects, the most important first.
        texts: n texts.
        colors_rgb: n colours, in the order of the frame's channels.
        taken: Where no label may lie.

    Returns:
        Where the labels lie.
    """
    font_size = font_size_for(frame.shape)
    placed: list[Area] = []
    room = room_for_text(frame.shape) - sum(area.num_pixels for area in taken)
    numbers = [text.partition(" ")[0] for text in texts]
    bars_of_numbers = [
        text_bar(printable(text), color, font_size) for text, color in zip(numbers, colors_rgb, strict=True)
    ]
    kept = sum(bar[..., 0].size for bar in bars_of_numbers)  # for the numbers of those that are still to come
    for box, text, number, color in zip(boxes_xyxy.tolist(), texts, bars_of_numbers, colors_rgb, strict=True):
        kept -= number[..., 0].size
        for bar, spare in ((text_bar(printable(text), color, font_size), room - kept), (number, room)):
            area = find_place(bar.shape, box, frame.shape, (*taken, *placed)) if text else None
            if area is not None and area.num_pixels <= spare:
                frame[area.top : area.bottom, area.left : area.right] = bar
                placed.append(area)
                room -= area.num_pixels
                break
    return placed


def find_place(
    bar_shape: tuple[int, ...], box_xyxy: Sequence[float], frame_shape: tuple[int, ...], taken: Sequence[Area]
) -> Area | None:
    """Where a label of some height and width fits best beside an object; None if there is no free place."""
    height, width = bar_shape[:2]
    if height > frame_shape[0] or width > frame_shape[1]:
        return None
    box = [round(edge) for edge in box_xyxy]
    beside_others = [place for other in taken for place in ((box[0], other.bottom), (other.right, box[1]))]
    near = Area(box[0] - width, box[1] - 2 * height, box[2] + width, box[3] + 2 * height)
    for left, top in (*candidates(height, width, box), *beside_others):
        left = min(max(0, left), frame_shape[1] - width)
        top = min(max(0, top), frame_shape[0] - height)
        area = Area(left, top, left + width, top + height)
        if area.meets(near) and not any(area.meets(other) for other in taken):
            return area
    return None


def candidates(height: int, width: int, box_xyxy: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Left and top of possible places of a label beside a box, the best first."""
    x0, y0, x1, y1 = box_xyxy
    yield x0, y0 - height
    yield x1 - width, y0 - height
    yield x0, y0
    yield x0, y1
    yield x1 - width, y1
    yield x1, y0
    yield x0 - width, y0
    for top in range(y0 + height, y1 - height, height):  # down along the object
        yield x0, top
        yield x1, top
        yield x0 - width, top


def draw_legend(frame: Frame, legend: Mapping[int, str], colors_rgb: Mapping[int, Color]) -> Area | None:
    """Adds a list of tracks in the upper left corner.

    It takes no more than a twentieth of the frame, half of its height, and eight lines: a last line counts the others.

    Args:
        frame: (H, W, 3) uint8; drawn on.
        legend: Text for every track.
        colors_rgb: Colour of every track, in the order of the frame's channels.

    Returns:
        Where the list lies; None if there is no room or nothing to list.
    """
    font_size = font_size_for(frame.shape)
    step = round(1.4 * font_size)
    least = max(1, min(LEAST_LINES, len(legend)))
    for num_lines in range(min(LEGEND_LINES, len(legend)), least - 1, -1):
        texts = tuple(printable(text) for text in list(legend.values())[:num_lines])
        rest = len(legend) - num_lines
        lines = (*texts, f"and {rest} more") if rest else texts
        colors = tuple(colors_rgb[track] for track in list(legend)[:num_lines])
        height = step * len(lines) + step // 2
        width = legend_width(lines, font_size, step)
        fits = width <= frame.shape[1] and height <= frame.shape[0] // 2
        if fits and height * width <= room_for_text(frame.shape) / 2:
            panel, opacity = legend_panel(lines, colors, font_size, step, height, width)
            corner = frame[:height, :width].astype(np.float32)
            frame[:height, :width] = np.round(corner + (panel - corner) * opacity).astype(np.uint8)
            return Area(0, 0, width, height)
    return None


@lru_cache(maxsize=64)
def legend_panel(
    lines: tuple[str, ...], colors: tuple[Color, ...], font_size: int, step: int, height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The list as a picture (height, width, 3), and how opaque each of its pixels is (height, width, 1)."""
    swatch = round(0.8 * font_size)
    picture = Image.new("RGB", (width, height), DARK_RGB)
    opacity = Image.new("L", (width, height), round(255 * LEGEND_OPACITY))
    pens = ((ImageDraw.Draw(picture), None), (ImageDraw.Draw(opacity), 255))
    font = ImageFont.load_default(font_size)
    for row, text in enumerate(lines):
        top = step // 4 + row * step
        box = (step // 2, top + (step - swatch) // 2, step // 2 + swatch, top + (step + swatch) // 2)
        for pen, full in pens:
            if row < len(colors):
                pen.rectangle(box, fill=colors[row] if full is None else full)
            pen.text((step + swatch, top + step // 2), text, LIGHT_RGB if full is None else full, font, "lm")
    return np.asarray(picture, np.float32), np.asarray(opacity, np.float32)[..., None] / np.float32(255)


@lru_cache(maxsize=512)
def legend_width(lines: tuple[str, ...], font_size: int, step: int) -> int:
    """Width of the list in pixels."""
    font = ImageFont.load_default(font_size)
    return round(max(font.getlength(line) for line in lines)) + round(0.8 * font_size) + 3 * step // 2


@lru_cache(maxsize=512)
def text_bar(text: str, color: Color, font_size: int) -> Frame:
    """A text (height, width, 3) on a bar of a colour."""
    font = ImageFont.load_default(font_size)
    margin = max(2, font_size // 4)
    bar = Image.new("RGB", (round(font.getlength(text)) + 2 * margin, round(1.25 * font_size)), color)
    ink = LIGHT_RGB if luminance(color) < 0.4 else DARK_RGB
    ImageDraw.Draw(bar).text((margin, bar.height // 2), text, ink, font, "lm")
    return np.asarray(bar)


def room_for_text(frame_shape: tuple[int, ...]) -> float:
    """How many pixels of a frame may be covered by text."""
    return MOST_COVERED * frame_shape[0] * frame_shape[1]


def font_size_for(frame_shape: tuple[int, ...]) -> int:
    """Height of letters in pixels that suits a frame."""
    return max(SMALLEST_FONT, min(frame_shape[:2]) // FRAME_PER_LETTER)


def printable(text: str) -> str:
    """A text in one line, without characters that move a cursor or can't be drawn, and not too long."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text)
    return line if len(line) <= MOST_LETTERS else line[: MOST_LETTERS - 3] + "..."


def luminance(color: Color) -> float:
    """Perceived brightness of an RGB colour in [0, 1]. Source: ITU-R BT.601."""
    return float(np.dot(color, (0.299, 0.587, 0.114)) / 255)

"""Draws frames of six videos of 120 to 1080 lines, on light and dark ground, to look at: docs/drawing.jpg.

python scripts/draw_style_sheet.py docs/drawing.jpg
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from ifc_hf.outputs.drawing import DrawingStyle, TrackDrawer

LINES = (120, 180, 240, 360, 720, 1080)
NUM_FRAMES = 45
LABELS = ("rabbit", "owl", "giant_panda", "person", "skateboard", "cat", "dog", "earless_seal", "boat", "zebra")
TILE_WIDTH = 640


def ground(height: int, width: int, is_light: bool) -> np.ndarray:
    """A frame (height, width, 3) of a soft gradient with some grain."""
    random = np.random.default_rng(height)
    low, high = (190, 250) if is_light else (5, 60)
    slope = np.linspace(low, high, width)[None, :, None] + random.normal(0, 1.5, (height, width, 3))
    return slope.clip(0, 255).astype(np.uint8)


def masks_at(time: float, height: int, width: int) -> np.ndarray:
    """Ellipses (10, height, width) that move, meet, and lie below the list and at the edges."""
    y, x = np.mgrid[:height, :width] / (height, width)[0]
    ratio = width / height
    masks = []
    for number in range(len(LABELS)):
        phase = 2 * np.pi * number / len(LABELS)
        center_x = ratio * (0.5 + 0.42 * np.cos(phase + 1.5 * time))
        center_y = 0.5 + 0.4 * np.sin(phase + 1.2 * time + 0.3 * number)
        radius = 0.07 + 0.02 * (number % 4)
        masks.append(((x - center_x) / 1.3) ** 2 + (y - center_y) ** 2 < radius**2)
    return np.stack(masks)


def last_frame(height: int, is_light: bool) -> Image.Image:
    """The last drawn frame of a video."""
    width = round(height * 16 / 9)
    drawer = TrackDrawer(DrawingStyle())
    captions = [f"#{number} {label} {0.97 - 0.06 * number:.2f}" for number, label in enumerate(LABELS)]
    frame = ground(height, width, is_light)
    for index in range(NUM_FRAMES):
        masks = masks_at(index / NUM_FRAMES, height, width)
        drawn = drawer.draw(frame, masks, range(len(LABELS)), captions, dict(enumerate(captions)))
    return Image.fromarray(drawn)


def main() -> None:
    """Writes the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--full-size", type=Path, help="folder for the frames in their own size")
    args = parser.parse_args()
    tiles = []
    for position, height in enumerate(LINES):
        picture = last_frame(height, is_light=position % 2 == 0)
        if args.full_size:
            args.full_size.mkdir(parents=True, exist_ok=True)
            picture.save(args.full_size / f"{height}.png")
        resample = Image.Resampling.NEAREST if picture.width < TILE_WIDTH else Image.Resampling.LANCZOS
        tiles.append(picture.resize((TILE_WIDTH, TILE_WIDTH * 9 // 16), resample))
    sheet = Image.new("RGB", (2 * TILE_WIDTH, 3 * tiles[0].height))
    for position, tile in enumerate(tiles):
        sheet.paste(tile, (position % 2 * TILE_WIDTH, position // 2 * tile.height))
    sheet.save(args.output, quality=75)


if __name__ == "__main__":
    main()

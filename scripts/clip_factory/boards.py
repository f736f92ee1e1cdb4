"""Boards, drawn from parameters: emoji of boards show their riders, so there is nothing to cut out."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

BOARDS = ("skateboard", "snowboard", "surfboard")
# Hues of the patterns (shares of the colour circle) are disjoint, as no object may be in two splits.
HUES = {"train": (0.0, 0.58), "val-style": (0.62, 0.78), "val-photo": (0.82, 0.98)}
LENGTH = 360  # pixels of a board's picture
OVERSAMPLING = 2
BOARD_LICENCE = "Apache-2.0"
# Length of a board over the height of its rider.
LENGTH_PER_RIDER = {"skateboard": 0.5, "snowboard": 0.9, "surfboard": 1.15}


def draw_board(rng: np.random.Generator, label: str, split: str, is_ridden: bool) -> NDArray[np.uint8]:
    """Draws a board.

    Args:
        rng: Source of all randomness.
        label: One of `BOARDS`.
        split: Decides on the colours.
        is_ridden: Lying flat, seen from the side; else seen from above at full width.

    Returns:
        (h, w, 4) uint8 RGBA, lying horizontally.
    """
    length = LENGTH * OVERSAMPLING
    if label == "skateboard" and is_ridden:
        picture = skateboard_from_the_side(rng, split, length)
    else:
        width_share = {"skateboard": 0.26, "snowboard": 0.2, "surfboard": 0.3}[label] * rng.uniform(0.85, 1.1)
        picture = deck(rng, split, length, outline(label, length, width_share))
        if is_ridden:
            picture = cv2.resize(picture, None, fx=1, fy=rng.uniform(0.3, 0.6), interpolation=cv2.INTER_AREA)
    return cv2.resize(picture, None, fx=1 / OVERSAMPLING, fy=1 / OVERSAMPLING, interpolation=cv2.INTER_AREA)


def draw_color(rng: np.random.Generator, split: str) -> tuple[int, int, int]:
    """A colour of the split's palette, RGB."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(*HUES[split]), rng.uniform(0.15, 0.95), rng.uniform(0.25, 1))
    return round(255 * red), round(255 * green), round(255 * blue)


def outline(label: str, length: int, width_share: float) -> NDArray[np.int32]:
    """Corners (P, 2) xy of a board's outline seen from above, within its bounding box."""
    along = np.linspace(0, 1, 80)
    if label == "surfboard":  # pointed at the nose, widest behind the middle
        half = np.sin(np.pi * along**1.25) ** 0.75
    else:  # round ends; the waist of a snowboard is narrower than its ends
        half = (1 - np.clip(np.abs(2 * along - 1) * 1.25 - 0.25, 0, 1) ** 2.6) ** 0.5
        half *= 1 - (0.16 if label == "snowboard" else 0.02) * np.cos(np.pi * (along - 0.5)) ** 2
    half = half / half.max() * width_share * length / 2
    margin = 2 * OVERSAMPLING
    middle = half.max() + margin
    x = margin + along * (length - 2 * margin)
    sides = (np.column_stack([x, middle - half]), np.column_stack([x, middle + half])[::-1])
    return np.concatenate(sides).round().astype(np.int32)


def deck(rng: np.random.Generator, split: str, length: int, corners: NDArray[np.int32]) -> NDArray[np.uint8]:
    """A patterned board with this outline."""
    height = int(corners[:, 1].max()) + 2 * OVERSAMPLING
    color = np.empty((height, length, 3), np.uint8)
    color[:] = draw_color(rng, split)
    patterns: tuple[Callable[..., None], ...] = (add_stripes, add_chevrons, add_dots)
    for _ in range(rng.integers(1, 3)):
        patterns[rng.integers(len(patterns))](rng, split, color)
    alpha = np.zeros((height, length), np.uint8)
    cv2.fillPoly(alpha, [corners], 255, cv2.LINE_AA)
    rim = tuple(int(0.5 * value) for value in draw_color(rng, split))
    cv2.polylines(color, [corners], True, rim, 4 * OVERSAMPLING, cv2.LINE_AA)
    return np.dstack([color, alpha])


def add_stripes(rng: np.random.Generator, split: str, color: NDArray[np.uint8]) -> None:
    """Stripes along the board."""
    for _ in range(rng.integers(1, 4)):
        middle, half = rng.uniform(0, 1) * color.shape[0], rng.uniform(0.03, 0.12) * color.shape[0]
        color[int(max(middle - half, 0)) : int(middle + half) + 1] = draw_color(rng, split)


def add_chevrons(rng: np.random.Generator, split: str, color: NDArray[np.uint8]) -> None:
    """Slanted bands across the board."""
    height, length = color.shape[:2]
    for _ in range(rng.integers(1, 5)):
        x, width, slant = rng.uniform(0, 1) * length, rng.uniform(0.02, 0.15) * length, rng.uniform(-1, 1) * height
        band = np.array([[x, 0], [x + width, 0], [x + width + slant, height], [x + slant, height]])
        cv2.fillPoly(color, [band.round().astype(np.int32)], draw_color(rng, split), cv2.LINE_AA)


def add_dots(rng: np.random.Generator, split: str, color: NDArray[np.uint8]) -> None:
    """Discs."""
    for _ in range(rng.integers(2, 7)):
        center = (int(rng.uniform(0, color.shape[1])), int(rng.uniform(0, color.shape[0])))
        cv2.circle(
            color, center, int(rng.uniform(0.08, 0.35) * color.shape[0]), draw_color(rng, split), -1, cv2.LINE_AA
        )


def skateboard_from_the_side(rng: np.random.Generator, split: str, length: int) -> NDArray[np.uint8]:
    """A deck with raised ends, axles and wheels."""
    height = round(0.26 * length)
    picture = np.zeros((height, length, 4), np.uint8)
    along = np.linspace(0.02, 0.98, 60)
    lift = 0.32 * np.clip(np.abs(2 * along - 1) - 0.6, 0, None) ** 1.3
    top = (0.3 - lift) * height + 0.1 * height
    thickness = rng.uniform(0.12, 0.2) * height
    below = np.column_stack([along * length, top + thickness])[::-1]
    corners = np.concatenate([np.column_stack([along * length, top]), below]).round().astype(np.int32)
    metal, wheel = (150, 150, 155, 255), (*draw_color(rng, split), 255)
    radius = int(rng.uniform(0.17, 0.23) * height)
    for x in (0.22, 0.78):
        center = (int(x * length), height - radius - 2)
        cv2.line(picture, center, (center[0], int(0.45 * height)), metal, round(0.12 * height), cv2.LINE_AA)
        cv2.circle(picture, center, radius, wheel, -1, cv2.LINE_AA)
        cv2.circle(picture, center, radius // 3, metal, -1, cv2.LINE_AA)
    cv2.fillPoly(picture, [corners], (*draw_color(rng, split), 255), cv2.LINE_AA)
    cv2.polylines(picture, [corners[:60]], False, (35, 35, 38, 255), max(2, int(0.35 * thickness)), cv2.LINE_AA)
    return picture

"""Cut-outs ready to be drawn, and drawing them through a homography and a slow bend, inside their box only."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PADDING = 2  # transparent pixels around a cut-out, so that its edge fades out when it is interpolated

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the frame, the last two exclusive
Patch = NDArray[np.float32]  # (h, w, 4): RGB times alpha in [0, 255], alpha in [0, 1]


@dataclass(frozen=True)
class Bend:
    """A sinusoidal warp: amplitudes as shares of the cut-out's longest side, waves over its height and width."""

    sideways: float = 0.0
    upwards: float = 0.0
    waves: float = 1.0


@dataclass(frozen=True)
class Cutout:
    """A cut-out with its halved versions.

    Attributes:
        levels: (h, w, 4) uint8, RGB multiplied with alpha; level n is 2**n times smaller.
        size_hw: Size of the first level.
    """

    levels: tuple[NDArray[np.uint8], ...]
    size_hw: tuple[int, int]

    @classmethod
    def from_rgba(cls, rgba: NDArray[np.uint8]) -> Cutout:
        """Makes one of (h, w, 4) uint8 RGBA with straight alpha."""
        alpha = rgba[..., 3:]
        premultiplied = (rgba[..., :3].astype(np.uint16) * alpha + 127) // 255
        picture = np.dstack([premultiplied.astype(np.uint8), alpha])
        picture = cv2.copyMakeBorder(picture, *(PADDING,) * 4, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
        levels = [picture]
        while min(levels[-1].shape[:2]) >= 16:
            rows, columns = levels[-1].shape[:2]
            half_wh = (-(-columns // 2), -(-rows // 2))
            levels.append(cv2.resize(levels[-1], half_wh, interpolation=cv2.INTER_AREA))
        return cls(tuple(levels), picture.shape[:2])


def box_of(cutout: Cutout, matrix: NDArray[np.float64], bend: Bend, size_hw: tuple[int, int]) -> Box | None:
    """The part of the frame that a cut-out can touch; None if there is none.

    Args:
        cutout: What is drawn.
        matrix: (3, 3) from pixels of the cut-out to pixels of the frame.
        bend: Widens the box.
        size_hw: (H, W) of the frame.
    """
    rows, columns = cutout.size_hw
    margin = max(abs(bend.sideways), abs(bend.upwards)) * max(rows, columns) + 1
    x0, y0, x1, y1 = -margin, -margin, columns - 1 + margin, rows - 1 + margin
    corners = matrix @ np.array([[x0, x1, x1, x0], [y0, y0, y1, y1], [1, 1, 1, 1]])
    x, y = corners[:2] / corners[2]
    left, top = max(int(np.floor(x.min())), 0), max(int(np.floor(y.min())), 0)
    right, bottom = min(int(np.ceil(x.max())) + 1, size_hw[1]), min(int(np.ceil(y.max())) + 1, size_hw[0])
    return (left, top, right, bottom) if left < right and top < bottom else None


def warp(cutout: Cutout, matrix: NDArray[np.float64], bend: Bend, wave: float, box: Box) -> NDArray[np.uint8]:
    """Draws a cut-out into a box of the frame.

    Args:
        cutout: What is drawn.
        matrix: (3, 3) from pixels of the cut-out to pixels of the frame.
        bend: The non-rigid part.
        wave: Its phase, radians.
        box: What part of the frame to draw.

    Returns:
        (h, w, 4) uint8, RGB multiplied with alpha.
    """
    x0, y0, x1, y1 = box
    rows, columns = cutout.size_hw
    inverse = np.linalg.inv(matrix)
    x = np.arange(x0, x1, dtype=np.float32)[None]
    y = np.arange(y0, y1, dtype=np.float32)[:, None]
    a, b, c = (inverse[row].astype(np.float32) for row in range(3))
    depth = c[0] * x + (c[1] * y + c[2])
    u = (a[0] * x + (a[1] * y + a[2])) / depth
    v = (b[0] * x + (b[1] * y + b[2])) / depth
    if bend.sideways or bend.upwards:
        longest, turn = max(rows, columns), np.float32(2 * np.pi * bend.waves)
        shift_u = np.float32(bend.sideways * longest) * np.sin(v * (turn / rows) + np.float32(wave))
        v = v + np.float32(bend.upwards * longest) * np.sin(u * (turn / columns) + np.float32(0.7 * wave))
        u = u + shift_u
    # Of the sizes, that which is at least as large as what is drawn, so that nothing flickers between frames.
    center = matrix @ np.array([columns / 2, rows / 2, 1])
    scale = np.sqrt(abs(np.linalg.det(matrix)) / abs(center[2]) ** 3)
    level = int(np.clip(np.floor(-np.log2(max(scale, 1e-6))), 0, len(cutout.levels) - 1))
    if level:
        factor = np.float32(0.5**level)
        u, v = (u + 0.5) * factor - np.float32(0.5), (v + 0.5) * factor - np.float32(0.5)
    return cv2.remap(cutout.levels[level], u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def shutter_average(
    cutout: Cutout, matrices: list[NDArray[np.float64]], bend: Bend, waves: list[float], size_hw: tuple[int, int]
) -> tuple[Box, Patch, NDArray[np.bool_]] | None:
    """Draws a cut-out as a shutter sees it that is open for several moments.

    Args:
        cutout: What is drawn.
        matrices: One (3, 3) per moment; an odd number of them.
        bend: The non-rigid part.
        waves: Its phase per moment.
        size_hw: (H, W) of the frame.

    Returns:
        The box that was drawn, its patch averaged over the moments, and where alpha is above a half at the middle
        moment, (h, w); None if the cut-out is outside the frame.
    """
    boxes = [box for matrix in matrices if (box := box_of(cutout, matrix, bend, size_hw)) is not None]
    if not boxes:
        return None
    x0, y0 = (min(values) for values in list(zip(*boxes, strict=True))[:2])
    x1, y1 = (max(values) for values in list(zip(*boxes, strict=True))[2:])
    box = (x0, y0, x1, y1)
    total = np.zeros((y1 - y0, x1 - x0, 4), np.float32)
    for moment, (matrix, wave) in enumerate(zip(matrices, waves, strict=True)):
        drawn = warp(cutout, matrix, bend, wave, box)
        total += drawn
        if moment == len(matrices) // 2:
            mask = drawn[..., 3] > 127
    total *= 1 / len(matrices)
    total[..., 3] *= 1 / 255
    return box, total, mask

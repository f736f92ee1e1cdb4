"""Cuts: frames with which another shot begins."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from ..model.video_files import Frame

SAMPLED_PIXELS = 4096  # of a frame, about as many
LEVELS = 6  # of each colour: 216 bins
LEAST_CHANGE = 0.5  # share of the pixels whose colours are others than before
LEAST_DIFFERENCE = 10.0  # of 255, the mean of all pixels: slow fades cross the borders of bins, too
OUTSTANDING = 3.0  # times the change of the frames before, so that fast motion is no cut
LONGEST_FLASH = 3  # frames


class CutDetector:
    """Finds the cuts of a video while its frames pass: where the distribution of colours changes at once.

    A flash is no cut: what comes after it looks like what came before. Dissolves are not found.

    Attributes:
        cuts: Indices of the frames with which another shot begins.
    """

    def __init__(self) -> None:
        self.cuts: list[int] = []
        self.num_frames = 0
        self.recent: deque[NDArray[np.float64]] = deque(maxlen=LONGEST_FLASH + 2)
        self.changes: deque[float] = deque([0.0], maxlen=8)
        self.last_pixels = np.zeros((0, 3), np.int16)

    def add(self, frame: Frame) -> None:
        """Looks at the next frame, (H, W, 3) uint8."""
        pixels = sampled_pixels(frame)
        histogram = color_histogram(pixels)
        if self.recent:
            change = difference(self.recent[-1], histogram)
            is_outstanding = change > max(LEAST_CHANGE, OUTSTANDING * float(np.median(self.changes)))
            if is_outstanding and np.abs(pixels - self.last_pixels).mean() > LEAST_DIFFERENCE:
                self.note_cut(histogram)
            else:
                self.changes.append(change)
        self.recent.append(histogram)
        self.last_pixels = pixels
        self.num_frames += 1

    def note_cut(self, histogram: NDArray[np.float64]) -> None:
        """Notes a cut before this frame; or, if it ends a flash, takes back the one with which that began."""
        flash_frames = self.num_frames - self.cuts[-1] if self.cuts else LONGEST_FLASH + 1
        is_flash = flash_frames <= LONGEST_FLASH and len(self.recent) > flash_frames
        if is_flash and difference(self.recent[-flash_frames - 1], histogram) < LEAST_CHANGE / 2:
            self.cuts.pop()
        else:
            self.cuts.append(self.num_frames)


def sampled_pixels(frame: Frame) -> NDArray[np.int16]:
    """A regular sample (n, 3) of a frame's pixels."""
    step = max(1, int((frame.shape[0] * frame.shape[1] / SAMPLED_PIXELS) ** 0.5))
    return frame[step // 2 :: step, step // 2 :: step].reshape(-1, 3).astype(np.int16)


def color_histogram(pixels: NDArray[np.int16]) -> NDArray[np.float64]:
    """Shares (216,) of the colours of pixels (n, 3)."""
    levels = pixels.astype(np.int64) * LEVELS // 256
    bins = np.bincount(levels @ (LEVELS**2, LEVELS, 1), minlength=LEVELS**3)
    return bins / max(1, bins.sum())


def difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Share of the pixels that would have to change colour, in [0, 1]."""
    return float(np.abs(first - second).sum() / 2)

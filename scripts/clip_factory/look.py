"""How things look: cut-outs that take on the light of their scene, and what a camera does to a finished frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera import Drift, draw_drift

Frame = NDArray[np.uint8]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
GRAIN_ROOM = 64  # pixels
RELIEF_BLUR = 0.06  # of a cut-out's longest side: how far from its edge a body still curves


@dataclass(frozen=True)
class Look:
    """How one object differs from its cut-out.

    Attributes:
        mirrored: Left and right swapped.
        match: Share by which brightness and tint follow the surroundings.
        haze: Share of the surroundings' colour that lies over the object.
        saturation: 0 is gray, 1 as it is.
        contrast: About its mean.
        tint: (3,) RGB gains of its own.
        relief: Strength of the shading that makes it look round.
        gradient: Strength of the shading from one side to the other.
        texture: Strength of the fur, dirt or grain over it.
    """

    mirrored: bool
    match: float
    haze: float
    saturation: float
    contrast: float
    tint: NDArray[np.float32]
    relief: float
    gradient: float
    texture: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        """A random look."""
        return cls(
            mirrored=bool(rng.random() < 0.5),
            match=rng.uniform(0.3, 0.7),
            haze=rng.uniform(0, 0.14),
            saturation=rng.uniform(0.3, 1.0),
            contrast=rng.uniform(0.7, 1.05),
            tint=(rng.uniform(0.8, 1.15) * rng.uniform(0.92, 1.08, 3)).astype(np.float32),
            relief=rng.uniform(0.15, 0.7),
            gradient=rng.uniform(0, 0.4),
            texture=rng.choice((0.3, 1.0)) * rng.uniform(0.1, 0.35),
        )


def detail_of(picture: Frame) -> NDArray[np.float32]:
    """What a picture has of fine structure: its brightness over that of its surroundings, minus 1; (h, w) float32."""
    luma = picture.astype(np.float32) @ LUMA + 8
    return np.clip(luma / cv2.GaussianBlur(luma, (0, 0), 6) - 1, -0.8, 0.8)


def apply_look(
    rgba: Frame, look: Look, surroundings: NDArray[np.float32], light: float, detail: NDArray[np.float32]
) -> Frame:
    """Gives a cut-out its look.

    Args:
        rgba: (h, w, 4) uint8, straight alpha.
        look: What to change.
        surroundings: (3,) mean RGB of the background where the object stands.
        light: Direction that the light comes from, radians; 0 is from the right, pi / 2 from below.
        detail: (h', w') from `detail_of`, repeated over the object.

    Returns:
        (h, w, 4) uint8; alpha is not changed.
    """
    if look.mirrored:
        rgba = rgba[:, ::-1]
    rows, columns = rgba.shape[:2]
    alpha = rgba[..., 3].astype(np.float32) / 255
    color = rgba[..., :3].astype(np.float32)
    weight = float(alpha.sum()) + 1e-6
    mean = np.einsum("hw,hwc->c", alpha, color) / weight
    color = mean + (color - mean) * look.contrast
    gray = (color @ LUMA)[..., None]
    color = gray + (color - gray) * look.saturation

    own, around = float(mean @ LUMA) + 10, float(surroundings @ LUMA) + 10
    gain = np.clip((around / own) ** look.match, 0.35, 1.5)
    hue = (surroundings + 10) / around
    color *= gain * hue ** (0.6 * look.match) * look.tint

    toward = np.array([np.cos(light), np.sin(light)], np.float32)
    x = np.linspace(-0.5, 0.5, columns, dtype=np.float32)[None]
    y = np.linspace(-0.5, 0.5, rows, dtype=np.float32)[:, None]
    shading = 1 + look.gradient * (toward[0] * x + toward[1] * y)
    # A body curves away towards its silhouette: the slope of the blurred alpha is what is left of its normal.
    height = cv2.GaussianBlur(alpha, (0, 0), RELIEF_BLUR * max(rows, columns), borderType=cv2.BORDER_CONSTANT)
    slope_y, slope_x = np.gradient(height)
    facing = -(slope_x * toward[0] + slope_y * toward[1]) * RELIEF_BLUR * max(rows, columns) * 2.5
    shading = shading * (1 + look.relief * facing)
    tiles = (-(-rows // detail.shape[0]), -(-columns // detail.shape[1]))
    shading = shading * (1 + look.texture * np.tile(detail, tiles)[:rows, :columns])
    color = color * shading[..., None]
    color = color * (1 - look.haze) + surroundings * look.haze
    return np.dstack([color.clip(0, 255).astype(np.uint8), rgba[..., 3]])


@dataclass(frozen=True)
class Film:
    """What the camera does to the frames of one clip.

    Attributes:
        exposure: Gain over time.
        warmth: Red against blue over time.
        white_balance: (3,) RGB gains of the clip.
        gamma: Of the clip.
        blur: Sigma of lens and scaling in pixels.
        noise: Sigma of the sensor's noise at half brightness, in gray levels.
        vignette: Loss of light in the corners.
        quality: Of the JPEG files, 75 to 95.
    """

    exposure: Drift
    warmth: Drift
    white_balance: NDArray[np.float32]
    gamma: float
    blur: float
    noise: float
    vignette: float
    quality: int

    @classmethod
    def draw(cls, rng: np.random.Generator, num_frames: int, size_hw: tuple[int, int]) -> Film:
        """A random camera; its blur is in proportion to the frames' size."""
        return cls(
            exposure=draw_drift(rng, num_frames, rng.uniform(0.75, 1.2), 0.12, rng.uniform(0, 0.05), 0.004),
            warmth=draw_drift(rng, num_frames, 0.0, 0.04, rng.uniform(0, 0.02), 0),
            white_balance=rng.uniform(0.93, 1.07, 3).astype(np.float32),
            gamma=rng.uniform(0.85, 1.2),
            blur=rng.uniform(0.2, 1.1) * size_hw[0] / 360,
            noise=float(rng.choice((1.0, 3.0))) * rng.uniform(0.5, 3),
            vignette=float(rng.choice((0.0, 1.0))) * rng.uniform(0, 0.35),
            quality=int(rng.integers(75, 96)),
        )

    def grain(self, rng: np.random.Generator, size_hw: tuple[int, int]) -> NDArray[np.float32]:
        """Noise for all frames of a clip, `GRAIN_ROOM` pixels larger than one, in gray levels; float32 (h, w, 3)."""
        height, width = (side + GRAIN_ROOM for side in size_hw)
        gray = rng.standard_normal((height, width, 1), np.float32)
        coarse = rng.standard_normal((height // 2, width // 2, 3), np.float32)  # colour noise is coarser
        return np.float32(self.noise) * (gray + np.float32(0.6) * cv2.resize(coarse, (width, height)))

    def expose(
        self, canvas: NDArray[np.float32], t: float, grain: NDArray[np.float32], rng: np.random.Generator
    ) -> Frame:
        """Turns the light that comes in into a frame.

        Args:
            canvas: (H, W, 3) in [0, 255].
            t: Time in frames.
            grain: Of the clip; every frame takes another part of it, which is much faster than noise of its own.
            rng: Says which part.

        Returns:
            (H, W, 3) uint8.
        """
        height, width = canvas.shape[:2]
        warmth = np.array([1 + self.warmth(t), 1, 1 - self.warmth(t)])
        gains = max(self.exposure(t), 0.3) * self.white_balance * warmth
        canvas = cv2.multiply(canvas, (*gains.tolist(), 1.0))
        if self.blur > 0.3:
            canvas = cv2.GaussianBlur(canvas, (0, 0), self.blur)
        if self.vignette:
            x = np.linspace(-1, 1, width, dtype=np.float32)[None]
            y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
            canvas *= (1 - 0.5 * self.vignette * (x * x + y * y))[..., None]
        top, left = rng.integers(GRAIN_ROOM, size=2)
        exposed = cv2.add(canvas, grain[top : top + height, left : left + width], dtype=cv2.CV_8U)
        curve = (255 * (np.arange(256) / 255) ** self.gamma).round().astype(np.uint8)
        return cv2.LUT(exposed, curve)

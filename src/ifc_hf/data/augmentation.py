"""Random changes of training frames and their masks: crop, scale, flip, colour, rotation.

Letters: N instances, (H, W) size of one frame in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from transformers.image_utils import SizeDict

from ..model.annotations import FrameView
from ..model.frames import resized_size_hw

BoolArray = NDArray[np.bool_]

# Upper bound of the longer side in training and test alike.
MAX_LONGER_SIDE = 1333

# How far a frame is restyled: bits left of each channel's 8, exponent of the tones, radius of the blur in pixels and
# the contrast of edges in percent.
TONE_BITS = (2, 4)
GAMMA_RANGE = (0.5, 2.0)
BLUR_RANGE = (0.5, 1.5)
SHARPENING_RANGE = (100, 300)

# Brightness and two axes of colour out of red, green and blue (YIQ, NTSC standard): there a hue is an angle.
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])

# Where in a crop around an object its middle may lie, as shares of the crop's side.
MIDDLE_IN_CROP = (0.35, 0.65)


@dataclass(frozen=True)
class Augmentation:
    """What is drawn at random for the frames of a clip.

    The geometry (crop, scale, flip) is one decision for all frames of a video clip, and one per copy in a pseudo clip;
    colour and rotation are decided per frame.

    Attributes:
        shorter_sides: The shorter side of the frame becomes one of these, in pixels.
        flip_probability: Probability of a horizontal flip.
        crop_range: Smallest and largest side of the random crop in pixels; None: no crop.
        object_crop_range: Instead of that, a square around a random object, its side so many times the longer side of
            the object's box: big objects in small pictures, which teach classes sooner. A frame without objects is
            treated as if this were None.
        object_crop_keeps_shape: The window around the object has the shape of the frame in place of a square.
        color_range: Range of the brightness, contrast and saturation factors; None: colours stay.
        color_mixing: Up to this share of every channel is mixed into every other one, or taken from it: the same
            objects in other colours. 0: none.
        restyling: Probability of each of these, one by one: all hues turned by one angle, tones inverted, few tones,
            darker or lighter mid-tones, edges blurred or sharpened. For objects in styles that the data lack.
        rotation_degrees: The frame is turned by up to this angle, either way; what comes in at the corners is black.
    """

    shorter_sides: Sequence[int]
    flip_probability: float = 0.5
    crop_range: tuple[int, int] | None = None
    object_crop_range: tuple[float, float] | None = None
    object_crop_keeps_shape: bool = False
    color_range: tuple[float, float] | None = None
    color_mixing: float = 0.0
    restyling: float = 0.0
    rotation_degrees: float = 0.0

    def draw_view(
        self, frame_hw: tuple[int, int], rng: np.random.Generator, segmentations: Sequence[Any] = ()
    ) -> FrameView:
        """Decide crop, scale and flip for frames of one size.

        Args:
            frame_hw: H, W.
            rng: Source of randomness.
            segmentations: Of the objects of the first frame, for crops around one of them.
        """
        masks = None
        if self.object_crop_range is not None:
            masks = FrameView.of_whole_frame(frame_hw, frame_hw).masks(segmentations)
        if self.object_crop_range is not None and masks is not None and masks.any():
            shape_hw = frame_hw if self.object_crop_keeps_shape else (1, 1)
            crop_xyxy = draw_crop_around_object(masks, self.object_crop_range, rng, shape_hw)
        else:
            crop_xyxy = draw_crop(frame_hw, self.crop_range, rng)
        left, top, right, bottom = crop_xyxy
        crop_hw = (bottom - top, right - left)
        shorter_side = int(rng.choice(self.shorter_sides))
        return FrameView(
            frame_hw=frame_hw,
            crop_xyxy=crop_xyxy,
            size_hw=resized_size_hw(crop_hw, SizeDict(shortest_edge=shorter_side, longest_edge=MAX_LONGER_SIDE)),
            flip=bool(rng.random() < self.flip_probability),
        )

    def draw_appearance(self, rng: np.random.Generator) -> Appearance:
        """Decide colour and rotation of one frame."""
        low, high = self.color_range or (1.0, 1.0)
        brightness, contrast, saturation = rng.uniform(low, high, 3).tolist()
        angle = float(rng.uniform(-self.rotation_degrees, self.rotation_degrees))
        mixing = draw_color_mixing(self.color_mixing, rng) if self.color_mixing else None
        style = draw_style(self.restyling, rng) if self.restyling else None
        return Appearance(brightness, contrast, saturation, angle, mixing, style)


# YouTube-VIS clips and COCO pseudo clips as the authors trained on them.
VIDEO_AUGMENTATION = Augmentation(shorter_sides=(360, 480))
IMAGE_AUGMENTATION = Augmentation(shorter_sides=tuple(range(480, 801, 32)), crop_range=(384, 600))


def draw_color_mixing(limit: float, rng: np.random.Generator) -> tuple[tuple[float, ...], ...]:
    """How much of the old red, green and blue (columns) makes the new ones (rows); gray stays gray."""
    weights = rng.uniform(-limit, limit, (3, 3))
    np.fill_diagonal(weights, 0.0)
    np.fill_diagonal(weights, 1.0 - weights.sum(axis=1))
    return tuple(map(tuple, weights.tolist()))


def draw_style(probability: float, rng: np.random.Generator) -> Style:
    """Decide each part of a style with the same probability."""
    hue, inverted, few_tones, gamma, edges = rng.random(5) < probability
    blur = bool(rng.random() < 0.5)
    return Style(
        hue=float(rng.uniform(0, 2 * math.pi)) if hue else 0.0,
        inverted=bool(inverted),
        tone_bits=int(rng.integers(TONE_BITS[0], TONE_BITS[1] + 1)) if few_tones else 8,
        gamma=float(np.exp(rng.uniform(*np.log(GAMMA_RANGE)))) if gamma else 1.0,
        blur=float(rng.uniform(*BLUR_RANGE)) if edges and blur else 0.0,
        sharpening=int(rng.integers(*SHARPENING_RANGE)) if edges and not blur else 0,
    )


def draw_crop(
    size_hw: tuple[int, int], side_range: tuple[int, int] | None, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A crop anywhere in the frame, xyxy in pixels; both sides in the range as far as the frame allows. None: all."""
    height, width = crop_hw = size_hw
    if side_range is not None:
        smallest, largest = side_range
        crop_hw = (
            int(rng.integers(min(height, smallest), min(height, largest) + 1)),
            int(rng.integers(min(width, smallest), min(width, largest) + 1)),
        )
    top = int(rng.integers(height - crop_hw[0] + 1))
    left = int(rng.integers(width - crop_hw[1] + 1))
    return left, top, left + crop_hw[1], top + crop_hw[0]


def draw_crop_around_object(
    masks: BoolArray, side_range: tuple[float, float], rng: np.random.Generator, shape_hw: tuple[int, int] = (1, 1)
) -> tuple[int, int, int, int]:
    """A window inside the frame, xyxy in pixels, that holds the middle of a random object somewhere near its own.

    Args:
        masks: (N, H, W), at least one of them not empty.
        side_range: Smallest and largest side, as multiples of that of the smallest window that holds the object.
        rng: Source of randomness.
        shape_hw: Any height and width in the proportion that the window's should have.
    """
    mask = rng.choice(masks[masks.any(axis=(1, 2))])
    places = [np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))]
    object_hw = [place[-1] - place[0] + 1 for place in places]
    unit = max(side / share for side, share in zip(object_hw, shape_hw, strict=True)) * rng.uniform(*side_range)
    unit = min(unit, *(side / share for side, share in zip(mask.shape, shape_hw, strict=True)))
    crop_hw = [max(1, round(unit * share)) for share in shape_hw]
    top, left = (
        int(np.clip(round((place[0] + place[-1] + 1) / 2 - side * rng.uniform(*MIDDLE_IN_CROP)), 0, length - side))
        for place, side, length in zip(places, crop_hw, mask.shape, strict=True)
    )
    return left, top, left + crop_hw[1], top + crop_hw[0]


def show_frame(frame: Image.Image, view: FrameView) -> Image.Image:
    """What a view shows of a frame, scaled by Pillow's bilinear filter."""
    height, width = view.size_hw
    shown = frame.crop(view.crop_xyxy).resize((width, height), Image.Resampling.BILINEAR)
    return shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view.flip else shown


@dataclass(frozen=True)
class Appearance:
    """Colour factors (1 = unchanged), counter-clockwise angle in degrees, (3, 3) shares of the old channels, style."""

    brightness: float
    contrast: float
    saturation: float
    angle: float
    mixing: tuple[tuple[float, ...], ...] | None = None
    style: Style | None = None

    def apply(self, frame: Image.Image, masks: BoolArray) -> tuple[Image.Image, BoolArray]:
        """Changes a frame and turns its masks (N, H, W) with it."""
        enhancers = (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        )
        for enhancer, factor in enhancers:
            if factor != 1.0:
                frame = enhancer(frame).enhance(factor)
        if self.mixing is not None:
            frame = mix_channels(frame, self.mixing)
        if self.style is not None:
            frame = self.style.apply(frame)
        if self.angle:
            frame = frame.rotate(self.angle, Image.Resampling.BILINEAR)
            turned = [Image.fromarray(mask.astype(np.uint8)).rotate(self.angle) for mask in masks]
            masks = np.stack([np.asarray(mask, dtype=bool) for mask in turned]) if turned else masks
        return frame, masks


@dataclass(frozen=True)
class Style:
    """Another look of the same picture; the defaults leave it as it is.

    Attributes:
        hue: Angle by which all hues are turned, in radians.
        inverted: Dark for light.
        tone_bits: Bits that are kept of each channel's 8.
        gamma: Exponent of the tones: above 1 darker.
        blur: Radius in pixels.
        sharpening: Added contrast of edges in percent.
    """

    hue: float = 0.0
    inverted: bool = False
    tone_bits: int = 8
    gamma: float = 1.0
    blur: float = 0.0
    sharpening: int = 0

    def apply(self, frame: Image.Image) -> Image.Image:
        """Changes an RGB frame."""
        if self.hue:
            cosine, sine = math.cos(self.hue), math.sin(self.hue)
            turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
            frame = mix_channels(frame, (np.linalg.inv(YIQ) @ turn @ YIQ).tolist())
        if self.inverted:
            frame = ImageOps.invert(frame)
        if self.tone_bits < 8:
            frame = ImageOps.posterize(frame, self.tone_bits)
        if self.gamma != 1.0:
            frame = frame.point([round(255 * (tone / 255) ** self.gamma) for tone in range(256)] * 3)
        if self.blur:
            frame = frame.filter(ImageFilter.GaussianBlur(self.blur))
        if self.sharpening:
            frame = frame.filter(ImageFilter.UnsharpMask(percent=self.sharpening))
        return frame


def mix_channels(frame: Image.Image, weights: Sequence[Sequence[float]]) -> Image.Image:
    """An RGB frame of new red, green and blue (rows) made of the old ones (columns)."""
    return frame.convert("RGB", tuple(number for row in weights for number in (*row, 0.0)))

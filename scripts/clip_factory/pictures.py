"""Decoding the pictures of a package: icons and raster files as cut-outs, photographs and panoramas as backgrounds."""

from __future__ import annotations

import base64
import colorsys
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from .packages import read_members

CUTOUT_PIXELS = 384  # longest side: as large as an object gets in a frame of 360x640
BACKGROUND_PIXELS = 1600  # longest side: room for the camera to zoom in on half of a photograph
SVG_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
SUN = 1000.0  # scene light is this bright in the sun and in bare lamps only
HALF_MAX = 65504.0  # the largest number that OpenEXR's half floats hold
VISIBLE_ALPHA = 8  # of 255: fainter pixels are not worth a larger box
GLYPH_GAP = 8  # pixels: narrower gaps between the lines of a glyph belong to its body

Pictures = Iterator[tuple[str, np.ndarray]]


def iconify(path: Path, pictures: str, names: list[str]) -> Pictures:
    """SVG icons of an Iconify package, which holds all of them in one JSON file.

    Args:
        path: The package.
        pictures: Path of the JSON file inside.
        names: Icons.

    Yields:
        Name and cut-out (h, w, 4) uint8.

    Raises:
        ModuleNotFoundError: If resvg_py is not installed.
        ValueError: If there is no icon of that name.
    """
    for name, drawing in _drawings(path, pictures, names):
        yield name, crop_to_alpha(drawing, f"{path}: {name}")


def iconify_glyph(path: Path, pictures: str, names: list[str]) -> Pictures:
    """SVG icons of one colour, read like those of `iconify`, painted in two: lines, and what they enclose.

    The colours follow from the names of package and icon.
    """
    for name, drawing in _drawings(path, pictures, names):
        body, line = glyph_colours(f"{path.name}/{name}")
        yield name, crop_to_alpha(paint_glyph(drawing[..., 3], body, line), f"{path}: {name}")


def glyph_colours(name: str) -> np.ndarray:
    """Colours of body and lines (2, 3) in 0..255 by a hash of the name: one is light, the other dark."""
    numbers = np.frombuffer(hashlib.sha256(name.encode()).digest(), np.uint8)[:7] / 255
    light = colorsys.hls_to_rgb(numbers[0], 0.6 + 0.32 * numbers[1], numbers[2])
    dark = colorsys.hls_to_rgb(numbers[3], 0.05 + 0.28 * numbers[4], numbers[5])
    return 255 * np.array([light, dark] if numbers[6] < 0.5 else [dark, light])


def paint_glyph(lines: np.ndarray, body: np.ndarray, line: np.ndarray) -> np.ndarray:
    """A glyph as a sticker.

    Args:
        lines: Alpha (h, w) of the glyph, uint8.
        body: Colour (3,) in 0..255 of what the lines enclose.
        line: Colour (3,) in 0..255 of the lines.

    Returns:
        Picture (h, w, 4) uint8; outside of the body it is as opaque as the lines.
    """
    near = ndimage.distance_transform_edt(np.pad(lines <= 128, GLYPH_GAP, constant_values=True)) <= GLYPH_GAP / 2
    closed = ndimage.distance_transform_edt(np.pad(near, 1))[1:-1, 1:-1] > GLYPH_GAP / 2
    filled = ndimage.binary_fill_holes(closed)[GLYPH_GAP:-GLYPH_GAP, GLYPH_GAP:-GLYPH_GAP] | (lines > 128)
    # Along the outer edge the lines keep their soft alpha, so that the body does not shine through.
    inside = ndimage.binary_erosion(filled, np.ones((3, 3)), border_value=1)
    share = np.where(inside, lines / 255, 1)[..., None]
    alpha = np.where(inside, 255, lines)[..., None]
    return np.round(np.concatenate([share * line + (1 - share) * body, alpha], axis=-1)).astype(np.uint8)


def raster(path: Path, pictures: str, names: list[str]) -> Pictures:
    """Raster files with alpha as cut-outs (h, w, 4) uint8, never enlarged."""
    for name, content in _named_members(path, pictures, names):
        picture = Image.open(io.BytesIO(content)).convert("RGBA")
        picture.thumbnail((2 * CUTOUT_PIXELS, 2 * CUTOUT_PIXELS), Image.Resampling.LANCZOS)
        yield name, shrink(crop_to_alpha(np.array(picture), f"{path}: {name}"))


def photo(path: Path, pictures: str, names: list[str]) -> Pictures:
    """Photographs as backgrounds (H, W, 3) uint8."""
    for name, content in _named_members(path, pictures, names):
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        picture.thumbnail((BACKGROUND_PIXELS, BACKGROUND_PIXELS), Image.Resampling.LANCZOS)
        yield name, np.array(picture)


def panorama(path: Path, pictures: str, names: list[str]) -> Pictures:
    """OpenEXR panoramas, tone mapped, that are stored as base64 in JavaScript files.

    Yields:
        Name and panorama (H, W, 3) uint8; its left and right edges meet.

    Raises:
        ModuleNotFoundError: If OpenEXR is not installed.
    """
    import OpenEXR

    for name, content in _named_members(path, pictures, names):
        found = re.search(rb"base64,([A-Za-z0-9+/=]+)", content)
        if found is None:
            raise ValueError(f"{path}: {name} holds no base64 data")
        with OpenEXR.File(io.BytesIO(base64.b64decode(found[1])), separate_channels=True) as file:
            channels = file.channels()
            light = np.stack([channels[colour].pixels for colour in "RGB"], axis=-1)
        yield name, tone_map(light)


def tone_map(light: np.ndarray) -> np.ndarray:
    """Scene light (H, W, 3) to sRGB uint8: exposed for its middle, highlights rolled off.

    Source: Reinhard et al., "Photographic Tone Reproduction for Digital Images", 2002, equations 1 to 4.
    """
    light = np.nan_to_num(light.astype(np.float64), nan=HALF_MAX, posinf=HALF_MAX, neginf=0)
    # Of some files' sun only the blue survived the compression.
    brightest = ndimage.maximum_filter(light.max(axis=-1, keepdims=True), (7, 7, 1), mode="wrap")
    light = np.where(brightest > SUN, brightest, light)
    # The files' lossy compression (DWA) rings around lamps and the sun, down to negative light: black specks.
    light = np.maximum(light, 0.4 * np.maximum(ndimage.median_filter(light, (5, 5, 1), mode="wrap"), 0))
    luminance = light @ np.array([0.2126, 0.7152, 0.0722])
    key = 0.3 / np.exp(np.log(luminance + 1e-4).mean())
    white = np.quantile(luminance, 0.98) * key
    scaled = luminance * key
    shown = scaled * (1 + scaled / max(white, 1.0) ** 2) / (1 + scaled)
    linear = np.clip(light * (shown / np.maximum(luminance, 1e-6))[..., None], 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(srgb * 255).astype(np.uint8)


def crop_to_alpha(rgba: np.ndarray, name: str) -> np.ndarray:
    """The part of (h, w, 4) that is visible.

    Raises:
        ValueError: If nothing is.
    """
    visible = rgba[..., 3] >= VISIBLE_ALPHA
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        raise ValueError(f"{name}: every pixel is transparent")
    return np.ascontiguousarray(rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def shrink(rgba: np.ndarray) -> np.ndarray:
    """A cut-out (h, w, 4) whose longest side is at most CUTOUT_PIXELS."""
    picture = Image.fromarray(rgba)
    picture.thumbnail((CUTOUT_PIXELS, CUTOUT_PIXELS), Image.Resampling.LANCZOS)
    return np.array(picture)


def largest_part(rgba: np.ndarray) -> np.ndarray:
    """The largest connected part of a cut-out (h, w, 4), cropped; the others become transparent."""
    parts, number = ndimage.label(rgba[..., 3] >= VISIBLE_ALPHA)
    sizes = np.bincount(parts.ravel(), minlength=number + 1)
    kept = rgba * (parts == 1 + sizes[1:].argmax())[..., None]
    return crop_to_alpha(kept.astype(np.uint8), "largest part")


def _drawings(path: Path, pictures: str, names: list[str]) -> Pictures:
    """Name and drawing (h, w, 4) uint8 of icons of an Iconify package, with the empty border that they come with."""
    import resvg_py

    ((_, content),) = read_members(path, {pictures})
    table = json.loads(content)
    for name in names:
        icon = table["icons"].get(name)
        if icon is None:
            raise ValueError(f"{path}: has no icon {name!r}")
        width, height = (icon.get(side, table.get(side, 16)) for side in ("width", "height"))
        svg = f'<svg {SVG_NAMESPACES} viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        scale = CUTOUT_PIXELS / max(width, height)
        png = resvg_py.svg_to_bytes(svg_string=svg, width=round(width * scale), height=round(height * scale))
        yield name, np.array(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))


def _named_members(path: Path, pictures: str, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the pictures whose path inside the package is `pictures.format(name)`."""
    by_path = {pictures.format(name): name for name in names}
    for member, content in read_members(path, set(by_path)):
        yield by_path[member], content

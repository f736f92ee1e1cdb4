"""Synthetic training clips for the small demo checkpoint: cut-outs that move over pictures, with exact masks.

Every asset may be redistributed in rendered form (see NOTICE). They come from packages, put into one folder with

    npm pack @lobehub/fluent-emoji-3d@1.1.0 @iconify-json/noto@1.2.9
    pip download --no-deps --no-binary :all: moviepy==2.2.1          # its documentation holds the film Big Buck Bunny

Rabbits of the film are cut out (GrabCut) of shots other than the one in the sample clip, which stays unseen.
Clips depend only on (seed, index, size): any clip can be made again without those before it.
"""

import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import resvg_py
import skimage.data
from PIL import Image

from ifc_hf.video_io import read_frames

cv2.setNumThreads(1)  # its threads cost more than they gain at these sizes

LABELS = ("rabbit", "cat", "dog", "bear", "fish", "duck", "sedan", "person")
CLASS_PROBABILITIES = (0.44, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08)  # rabbits prominent: the sample clip shows one
FILM_RABBIT_PROBABILITY = 0.65  # of the rabbits; the others are emoji

PACKAGES_SHA256 = {
    "lobehub-fluent-emoji-3d-1.1.0.tgz": "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "iconify-json-noto-1.2.9.tgz": "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    "moviepy-2.2.1.tar.gz": "c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1",
}
FLUENT_3D = {  # Unicode code points
    "rabbit": ("1f430", "1f407"),
    "cat": ("1f431", "1f408"),
    "dog": ("1f436", "1f415", "1f429", "1f9ae"),
    "bear": ("1f43b",),
    "fish": ("1f41f", "1f420"),
    "duck": ("1f986",),
    "sedan": ("1f697", "1f698", "1f695"),
    "person": ("1f9cd", "1f6b6", "1f3c3", "1f57a", "1f483"),
}
NOTO = {
    "rabbit": ("rabbit", "rabbit-face"),
    "cat": ("cat", "cat-face"),
    "dog": ("dog", "dog-face", "poodle"),
    "bear": ("bear",),
    "fish": ("fish", "tropical-fish"),
    "duck": ("duck",),
    "sedan": ("automobile", "oncoming-automobile", "taxi"),
    "person": ("person-standing", "person-walking", "person-running"),
}
# Scenery that is pasted without a label, so that "something was pasted here" does not mean "an object".
SCENERY = ("rock", "deciduous-tree", "evergreen-tree", "sunflower", "mushroom", "house", "cactus", "package", "cloud")

FILM_PATH = "docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip"
FILM_SIZE_WH = (640, 360)
# Frame of the film -> box xyxy around the rabbit at FILM_SIZE_WH. The sample clip's shot is frames 1125 to 1300.
FILM_RABBIT_BOXES = {
    1440: (160, 105, 522, 360),
    1980: (153, 75, 320, 330),
    2070: (112, 63, 313, 328),
    2520: (186, 82, 560, 360),
    3780: (200, 8, 404, 301),
    4320: (207, 47, 503, 360),
    4590: (225, 12, 440, 312),
    4680: (77, 0, 512, 360),
    5310: (202, 7, 431, 312),
    6570: (239, 60, 408, 352),
    8820: (154, 9, 430, 331),
}
FILM_BACKGROUNDS = (90, 180, 270, 720, 1350, 5130, 5400, 6840, 7740, 9000)  # frames without an animal
PHOTO_BACKGROUNDS = ("grass.png", "gravel.png", "brick.png", "coffee.png", "rocket.jpg")

MAX_SCENERY = 3
CUTOUT_HEIGHT = 160  # pixels; training frames are not larger
BLEED_PIXELS = 2  # cut-outs of film frames are eroded by this much, or they would bring a rim of their background


@dataclass
class Assets:
    """Decoded assets: `cutouts[label]` and `scenery` are RGBA uint8 (H, W, 4), `backgrounds` RGB uint8 (H, W, 3)."""

    cutouts: dict[str, list[np.ndarray]]
    film_rabbits: list[np.ndarray]
    scenery: list[np.ndarray]
    backgrounds: list[np.ndarray]


@dataclass
class Motion:
    """An object's path in a clip: position and size as shares of the frame, angle in degrees, speeds per frame."""

    x: float
    y: float
    height: float
    angle: float
    speed_x: float
    speed_y: float
    growth: float
    spin: float


def load_assets(folder: Path, cache: Path) -> Assets:
    """Read every asset; the frames of the film are extracted once into `cache`.

    Args:
        folder: Holds the three packages of the module's docstring.
        cache: Folder for the extracted film and its frames.

    Raises:
        FileNotFoundError: If a package is missing: names it.
        ValueError: If a package is not the expected file (sha256).
    """
    fluent, noto, moviepy = (checked_package(folder, name) for name in PACKAGES_SHA256)
    icons = read_noto_icons(noto)
    cutouts = {
        label: [*read_fluent(fluent, FLUENT_3D[label]), *(render_noto(icons, name) for name in NOTO[label])]
        for label in LABELS
    }
    film = extract_film_frames(moviepy, cache)
    rabbits = [cut_out_film_rabbit(film[index], box) for index, box in FILM_RABBIT_BOXES.items()]
    photos = Path(skimage.data.__file__).parent
    backgrounds = [film[index] for index in FILM_BACKGROUNDS]
    backgrounds += [
        np.array(Image.open(photos / name).convert("RGB").resize(FILM_SIZE_WH)) for name in PHOTO_BACKGROUNDS
    ]
    return Assets(cutouts, rabbits, [render_noto(icons, name) for name in SCENERY], backgrounds)


def checked_package(folder: Path, name: str) -> Path:
    """Path of a package file whose content is the expected one."""
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; the docstring of {Path(__file__).name} says how to get it")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != PACKAGES_SHA256[name]:
        raise ValueError(f"{path}: expected sha256 {PACKAGES_SHA256[name]}, got {digest}")
    return path


def read_fluent(package: Path, code_points: tuple[str, ...]) -> list[np.ndarray]:
    """Rendered 3D emoji, RGBA."""
    with tarfile.open(package) as archive:
        files = (archive.extractfile(f"package/assets/{code}.webp") for code in code_points)
        return [trim(np.array(Image.open(file).convert("RGBA"))) for file in files if file is not None]


def read_noto_icons(package: Path) -> dict[str, dict]:
    """The icon table of the Noto package: name -> {"body": SVG elements}."""
    with tarfile.open(package) as archive:
        file = archive.extractfile("package/icons.json")
        assert file is not None
        return json.load(file)["icons"]


def render_noto(icons: dict[str, dict], name: str, size: int = 256) -> np.ndarray:
    """One Noto emoji as RGBA."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 128">{icons[name]["body"]}</svg>'
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)
    return trim(np.array(Image.open(io.BytesIO(bytes(png))).convert("RGBA")))


def trim(rgba: np.ndarray) -> np.ndarray:
    """Crop to the visible part and scale to CUTOUT_HEIGHT."""
    rows, columns = np.any(rgba[..., 3] > 127, axis=1).nonzero()[0], np.any(rgba[..., 3] > 127, axis=0).nonzero()[0]
    rgba = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    width = round(rgba.shape[1] * CUTOUT_HEIGHT / rgba.shape[0])
    return cv2.resize(rgba, (width, CUTOUT_HEIGHT), interpolation=cv2.INTER_AREA)


def extract_film_frames(package: Path, cache: Path) -> dict[int, np.ndarray]:
    """The needed frames of the film at FILM_SIZE_WH, as index -> RGB; decoded on the first call only."""
    cache.mkdir(parents=True, exist_ok=True)
    wanted = sorted({*FILM_RABBIT_BOXES, *FILM_BACKGROUNDS})
    files = {index: cache / f"film_{index:05d}.png" for index in wanted}
    if not all(file.exists() for file in files.values()):
        film = cache / "bbb.mp4"
        with tarfile.open(package) as archive:
            inner = archive.extractfile(f"{package.name.removesuffix('.tar.gz')}/{FILM_PATH}")
            assert inner is not None
            with zipfile.ZipFile(io.BytesIO(inner.read())) as zipped:
                film.write_bytes(zipped.read("moviepy_10_minutes/resources/bbb.mp4"))
        for index, frame in enumerate(read_frames(film)):
            if index in files:
                Image.fromarray(frame).resize(FILM_SIZE_WH).save(files[index])
            if index == wanted[-1]:
                break
    return {index: np.array(Image.open(file)) for index, file in files.items()}


def cut_out_film_rabbit(frame: np.ndarray, box_xyxy: tuple[int, int, int, int]) -> np.ndarray:
    """Cut the rabbit out of a film frame with GrabCut, seeded by its box and an ellipse in the body.

    Args:
        frame: (H, W, 3) RGB uint8.
        box_xyxy: Pixels.

    Returns:
        RGBA uint8, trimmed.
    """
    x0, y0, x1, y1 = box_xyxy
    state = np.full(frame.shape[:2], cv2.GC_BGD, np.uint8)
    state[y0:y1, x0:x1] = cv2.GC_PR_FGD
    center = ((x0 + x1) // 2, int(y0 + 0.6 * (y1 - y0)))
    axes = (int(0.15 * (x1 - x0)), int(0.22 * (y1 - y0)))
    cv2.ellipse(state, center, axes, 0, 0, 360, cv2.GC_FGD, thickness=-1)
    cv2.setRNGSeed(0)
    cv2.grabCut(frame[..., ::-1].copy(), state, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    mask = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask)
    mask = (parts == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    mask = cv2.erode(mask, np.ones((BLEED_PIXELS, BLEED_PIXELS), np.uint8))
    alpha = cv2.GaussianBlur(mask * np.uint8(255), (3, 3), 0)
    return trim(np.dstack([frame, alpha]))


def make_clip(
    assets: Assets, seed: int, index: int, num_frames: int, size_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compose clip number `index`.

    Args:
        assets: From `load_assets`.
        seed: Together with index it determines the clip.
        index: Number of the clip.
        num_frames: T.
        size_hw: (H, W) pixels.

    Returns:
        frames (T, H, W, 3) uint8; class indices (N,) int64; masks (N, T, H, W) bool of the visible parts. Objects that
        are never visible are left out.
    """
    random = np.random.default_rng((seed, index))
    height, width = size_hw
    labels = random.choice(len(LABELS), size=random.choice([1, 2, 3], p=[0.5, 0.35, 0.15]), p=CLASS_PROBABILITIES)
    scenery = random.integers(len(assets.scenery), size=random.integers(MAX_SCENERY + 1))
    layers = [(-1, varied(assets.scenery[choice], random)) for choice in scenery]
    for number, label in enumerate(labels):
        layers.append((number, varied(draw_cutout(assets, LABELS[label], random), random)))
    motions = [draw_motion(random, is_scenery=number < 0) for number, _ in layers]
    background, views = draw_background(assets, random), background_views(random, num_frames, size_hw)

    frames = np.empty((num_frames, height, width, 3), np.uint8)
    masks = np.zeros((len(labels), num_frames, height, width), bool)
    light, noise = random.uniform(0.75, 1.2), random.uniform(0, 5)
    blur = random.random() < 0.3
    for t in range(num_frames):
        view = cv2.warpAffine(background, views[t], (width, height), borderMode=cv2.BORDER_REFLECT)
        canvas = view.astype(np.float32)
        for (number, cutout), motion in zip(layers, motions, strict=True):
            layer = cv2.warpAffine(cutout, placement(cutout, motion, t, size_hw), (width, height))
            alpha = layer[..., 3:].astype(np.float32) / 255
            canvas = canvas * (1 - alpha) + layer[..., :3] * alpha
            masks[:, t] &= alpha[..., 0] < 0.5
            if number >= 0:
                masks[number, t] = alpha[..., 0] >= 0.5
        if blur:
            canvas = cv2.GaussianBlur(canvas, (3, 3), 0)
        canvas = canvas * light + random.normal(0, noise, size=(height, width, 1)).astype(np.float32)
        frames[t] = canvas.clip(0, 255)
    visible = masks.any(axis=(1, 2, 3))
    return frames, labels[visible].astype(np.int64), masks[visible]


def draw_cutout(assets: Assets, label: str, random: np.random.Generator) -> np.ndarray:
    """A cut-out of the class."""
    film = label == "rabbit" and random.random() < FILM_RABBIT_PROBABILITY
    choices = assets.film_rabbits if film else assets.cutouts[label]
    return choices[random.integers(len(choices))]


def varied(rgba: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Mirror, stretch and recolour a cut-out."""
    if random.random() < 0.5:
        rgba = rgba[:, ::-1]
    stretch = random.uniform(0.85, 1.18)
    rgba = cv2.resize(np.ascontiguousarray(rgba), None, fx=stretch, fy=1.0, interpolation=cv2.INTER_LINEAR)
    colour = rgba[..., :3].astype(np.float32)
    gray = colour.mean(axis=2, keepdims=True)
    colour = gray + (colour - gray) * random.uniform(0.2, 1.2)  # down to nearly gray, so that shape has to count
    colour = colour * random.uniform(0.65, 1.1) * random.uniform(0.92, 1.08, size=3).astype(np.float32)
    return np.dstack([colour.clip(0, 255).astype(np.uint8), rgba[..., 3]])


def draw_motion(random: np.random.Generator, is_scenery: bool) -> Motion:
    """A path; scenery stands still."""
    pace = 0.0 if is_scenery else 1.0
    return Motion(
        x=random.uniform(0.1, 0.9),
        y=random.uniform(0.3, 0.8),
        height=random.uniform(0.25, 0.95),
        angle=random.normal(0, 8),
        speed_x=pace * random.normal(0, 0.03),
        speed_y=pace * random.normal(0, 0.015),
        growth=1 + pace * random.normal(0, 0.02),
        spin=pace * random.normal(0, 3),
    )


def placement(cutout: np.ndarray, motion: Motion, t: int, size_hw: tuple[int, int]) -> np.ndarray:
    """The (2, 3) matrix that puts the cut-out's centre at its place in frame t."""
    height, width = size_hw
    rows, columns = cutout.shape[:2]
    scale = motion.height * motion.growth**t * height / rows
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), motion.angle + motion.spin * t, scale)
    matrix[:, 2] += [
        (motion.x + motion.speed_x * t) * width - columns / 2,
        (motion.y + motion.speed_y * t) * height - rows / 2,
    ]
    return matrix


def draw_background(assets: Assets, random: np.random.Generator) -> np.ndarray:
    """A film frame or photo, or else a colour gradient."""
    if random.random() < 0.85:
        picture = assets.backgrounds[random.integers(len(assets.backgrounds))]
        return picture[:, ::-1].copy() if random.random() < 0.5 else picture
    corners = random.uniform(0, 255, size=(2, 2, 3)).astype(np.float32)
    return cv2.resize(corners, FILM_SIZE_WH, interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def background_views(random: np.random.Generator, num_frames: int, size_hw: tuple[int, int]) -> list[np.ndarray]:
    """Matrices (2, 3) of a camera that pans and zooms slowly over a picture of FILM_SIZE_WH."""
    height, width = size_hw
    zoom = random.uniform(1.0, 2.0) * max(width / FILM_SIZE_WH[0], height / FILM_SIZE_WH[1])
    room = np.maximum(0, np.array(FILM_SIZE_WH) * zoom - (width, height))
    offset, pan, growth = random.uniform(0, 1, size=2) * room, random.normal(0, 2, size=2), random.normal(0, 0.005)
    views = []
    for t in range(num_frames):
        scale = zoom * (1 + growth * t)
        shift = -np.clip(offset + pan * t, 0, room)
        views.append(np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32))
    return views

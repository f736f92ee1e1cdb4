"""What a clip shows: which objects, where and how they move, in front of what, in which light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .boards import BOARD_LICENCE, BOARDS, LENGTH_PER_RIDER, draw_board
from .camera import Camera, make_camera
from .library import Asset, AssetLibrary
from .look import Film, Look, detail_of
from .motion import CarriedPath, Path, draw_path
from .warp import Bend

MAX_OBJECTS = 5
NUM_OBJECTS_PROBABILITIES = (0.3, 0.3, 0.2, 0.12, 0.08)
MAX_SCENERY = 3
HEIGHT_RANGE = (0.12, 0.85)  # of the frame's height
SCENERY_HEIGHT_RANGE = (0.1, 0.5)  # smaller, or it would hide the objects of many clips
MAX_WIDTH, MIN_WIDTH = 0.9, 0.1  # of the frame's width, for what is much longer than high, such as a snake
PERSON_WEIGHT = 4.0  # against 1 of the other classes; real videos are mostly of people, too
REPEAT_PROBABILITY = 0.3  # of one more object of the same class, as real videos show herds
RIDDEN_PROBABILITY = 0.65
DRAWN_BOARD_PROBABILITY = 0.7  # where a picture of one could be had
RIGID = frozenset((*BOARDS, "sedan", "train", "motorbike", "airplane", "truck", "boat", "tennis_racket"))
FLYING = frozenset(("parrot", "hand", "fish", "airplane", "shark", "eagle", "tennis_racket"))  # or swimming, or held


@dataclass(frozen=True)
class Layer:
    """Something that is drawn over the background.

    Attributes:
        asset_id: Which picture it is.
        label: Its class; None for scenery.
        licence: Of its picture.
        picture: (view, phase) -> (h, w, 4) uint8 RGBA.
        num_views: Directions there are pictures of, around it.
        num_phases: Steps of its animation.
        view_start: View at t = 0, in views.
        view_rate: Views per frame.
        phase_rate: Steps of the animation per frame.
        path: t -> pose.
        is_anchored: Whether it moves with the background, or the camera follows it.
        depth: Larger is nearer.
        look: Its colours.
        bend: Its bending.
        has_shadow: Whether it stands on the ground.
    """

    asset_id: str
    label: str | None
    licence: str
    picture: Callable[[int, int], NDArray[np.uint8]]
    num_views: int
    num_phases: int
    view_start: float
    view_rate: float
    phase_rate: float
    path: Path | CarriedPath
    is_anchored: bool
    depth: float
    look: Look
    bend: Bend
    has_shadow: bool

    def state(self, t: float) -> tuple[int, int]:
        """View and phase at time t."""
        view = round(self.view_start + self.view_rate * t) % self.num_views
        return view, int(self.phase_rate * (t + 1)) % self.num_phases


@dataclass(frozen=True)
class Scene:
    """Everything that a clip is computed from.

    Attributes:
        camera: Looks at the background.
        layers: Back to front.
        light: Direction that the light comes from, radians; pi / 2 is from below.
        shadow: Strength of shadows.
        shadow_squash: Height of a shadow over that of its object; below 0 it falls towards the viewer.
        shutter: Share of a frame's time that the shutter is open.
        detail: Fine structure for the surfaces of objects, see `look.detail_of`.
        film: What the camera does to the frames.
        licences: Of everything in it.
    """

    camera: Camera
    layers: tuple[Layer, ...]
    light: float
    shadow: float
    shadow_squash: float
    shutter: float
    detail: NDArray[np.float32]
    film: Film
    licences: tuple[str, ...]


def draw_scene(
    library: AssetLibrary, split: str, rng: np.random.Generator, num_frames: int, size_hw: tuple[int, int]
) -> Scene:
    """Draws a random scene.

    Args:
        library: Pictures of the split.
        split: Decides on the colours of boards.
        rng: Source of all randomness.
        num_frames: T.
        size_hw: (H, W) of the frames.

    Raises:
        ValueError: If the library has no background or no object.
    """
    if not library.backgrounds or not any(library.objects.values()):
        raise ValueError(f"split {split!r} needs backgrounds and objects; the asset folder has none for it")
    camera, detail, licences = draw_background(library, rng, num_frames, size_hw)
    wanted = 1 + int(rng.choice(MAX_OBJECTS, p=NUM_OBJECTS_PROBABILITIES))
    layers: list[Layer] = []
    sketch = Sketch(rng, num_frames, size_hw)
    asset: Asset | None = None
    label = ""
    while len(layers) < wanted:
        if not layers or rng.random() >= REPEAT_PROBABILITY:
            label = draw_label(library, rng)
            asset = None
        may_be_absent = bool(layers)  # the first is always there, or a clip might show nothing
        choices = library.objects[label]
        if label in BOARDS and (not choices or rng.random() < DRAWN_BOARD_PROBABILITY):
            riders = library.objects["person"] if len(layers) + 2 <= MAX_OBJECTS else ()
            layers += board_layers(library, riders, label, split, sketch, may_be_absent)
            continue
        if asset is None or rng.random() < 0.5:
            asset = choices[rng.integers(len(choices))]
        layers.append(sketch.layer(library, asset, may_be_absent))
    for _ in range(rng.integers(MAX_SCENERY + 1) if library.scenery else 0):
        layers.append(sketch.layer(library, library.scenery[rng.integers(len(library.scenery))], False))
    layers.sort(key=lambda layer: layer.depth)
    return Scene(
        camera=camera,
        layers=tuple(layers),
        light=rng.uniform(np.pi, 2 * np.pi),  # from above
        shadow=rng.uniform(0.25, 0.75),
        shadow_squash=rng.uniform(-0.15, 0.3),
        shutter=rng.uniform(0.15, 0.7),
        detail=detail,
        film=Film.draw(rng, num_frames, size_hw),
        licences=tuple(sorted({*licences, *(layer.licence for layer in layers)})),
    )


def draw_background(
    library: AssetLibrary, rng: np.random.Generator, num_frames: int, size_hw: tuple[int, int]
) -> tuple[Camera, NDArray[np.float32], list[str]]:
    """A camera before a background, fine structure of some background, and the licences of both."""
    place = library.backgrounds[rng.integers(len(library.backgrounds))]
    photos = [background for background in library.backgrounds if background.kind == "photo"] or [place]
    source = photos[rng.integers(len(photos))]
    photo = library.background(source)
    shrink = min(1.0, 1024 / max(photo.shape[:2]))
    photo = cv2.resize(photo, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    detail = detail_of(photo)
    picture = library.background(place)
    if rng.random() < 0.35:  # the places are few; their colours and light may be many
        tint = rng.uniform(0.7, 1.2, 3) * rng.uniform(0.7, 1.1)
        picture = (picture * tint.astype(np.float32)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.25:  # out of focus
        sigma = rng.uniform(0.001, 0.004) * max(picture.shape)
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    return make_camera(place.kind, picture, rng, num_frames, size_hw), detail, [place.licence, source.licence]


def draw_label(library: AssetLibrary, rng: np.random.Generator) -> str:
    """A class that there are pictures of."""
    labels = [label for label in library.labels if library.objects.get(label) or label in BOARDS]
    weights = np.array([PERSON_WEIGHT if label == "person" else 1.0 for label in labels])
    return labels[rng.choice(len(labels), p=weights / weights.sum())]


@dataclass(frozen=True)
class Sketch:
    """Draws layers for clips of one length and size."""

    rng: np.random.Generator
    num_frames: int
    size_hw: tuple[int, int]

    def scale_of(self, cutout_hw: tuple[int, int], height_range: tuple[float, float]) -> float:
        """A random size: pixels of the frame per pixel of the cut-out."""
        height, width = self.size_hw
        share = float(np.exp(self.rng.uniform(*np.log(height_range))))
        scale = share * height / cutout_hw[0]
        return float(np.clip(scale, MIN_WIDTH * width / cutout_hw[1], MAX_WIDTH * width / cutout_hw[1]))

    def center_of(self, height_px: float, is_flying: bool) -> tuple[tuple[float, float], float]:
        """A random place for something that high; and its depth: who stands lower in the picture is nearer."""
        height, width = self.size_hw
        x = self.rng.uniform(0.1, 0.9) * width
        share = height_px / height
        foot = 0.52 + 0.42 * share + self.rng.normal(0, 0.1)
        if is_flying:
            return (x, self.rng.uniform(0.15, 0.8) * height), foot + self.rng.normal(0, 0.15)
        return (x, float(np.clip(foot, 0.4, 1.15)) * height - height_px / 2), foot

    def layer(self, library: AssetLibrary, asset: Asset, may_be_absent: bool) -> Layer:
        """An asset somewhere, moving somehow; scenery stands still in the scene."""
        rng = self.rng
        view_start = rng.uniform(0, asset.num_views)
        first = library.cutout(asset, int(view_start), 0)
        cutout_hw = (first.shape[0], first.shape[1])
        scale = self.scale_of(cutout_hw, SCENERY_HEIGHT_RANGE if asset.label is None else HEIGHT_RANGE)
        is_flying = asset.label in FLYING
        center_xy, depth = self.center_of(scale * cutout_hw[0], is_flying)
        path = draw_path(
            rng,
            center_xy,
            scale,
            cutout_hw,
            self.num_frames,
            self.size_hw,
            may_be_absent=may_be_absent,
            is_flying=is_flying,
        )
        is_soft = asset.label is not None and asset.label not in RIGID
        if asset.label is None:
            path = stand_still(path, (self.num_frames - 1) / 2)
        return Layer(
            asset_id=asset.asset_id,
            label=asset.label,
            licence=asset.licence,
            picture=lambda view, phase: library.cutout(asset, view, phase),
            num_views=asset.num_views,
            num_phases=asset.num_phases,
            view_start=view_start,
            view_rate=rng.choice((0.0, 1.0)) * rng.normal(0, 0.02) * asset.num_views,
            phase_rate=rng.uniform(0.03, 0.12) * asset.num_phases,
            path=path,
            is_anchored=asset.label is None or bool(rng.random() < 0.5),
            depth=depth,
            look=Look.draw(rng),
            bend=self.bend() if is_soft else Bend(),
            has_shadow=not is_flying,
        )

    def bend(self) -> Bend:
        """A random bend; every third object has none."""
        strength = self.rng.choice((0.0, 1.0, 1.0))
        sideways, upwards = strength * self.rng.uniform(0, 0.035), strength * self.rng.uniform(0, 0.02)
        return Bend(sideways, upwards, self.rng.uniform(0.4, 1.1))


def stand_still(path: Path, t: float) -> Path:
    """The path of something that stays where `path` is at time t."""
    values = np.repeat(path.curve(t)[None], len(path.curve.x), axis=0)
    return replace(path, curve=type(path.curve)(path.curve.x, values), bob=0.0, rock=0.0)


def draw_rider(library: AssetLibrary, riders: tuple[Asset, ...], rng: np.random.Generator) -> Asset:
    """A person with legs if a few draws find one; many pictures are of heads."""
    for _ in range(12):
        rider = riders[rng.integers(len(riders))]
        rows, columns = library.cutout(rider).shape[:2]
        if rows >= 1.4 * columns:
            break
    return rider


def board_layers(
    library: AssetLibrary,
    riders: tuple[Asset, ...],
    label: str,
    split: str,
    sketch: Sketch,
    may_be_absent: bool,
) -> list[Layer]:
    """A board, and in most cases a person who stands on it and moves with it.

    Args:
        library: Pictures of the split.
        riders: People to choose from; empty for a board alone.
        label: Which board.
        split: Decides on its colours.
        sketch: Draws paths and places.
        may_be_absent: Whether it may enter late or leave early.
    """
    rng = sketch.rng
    is_ridden = bool(riders) and bool(rng.random() < RIDDEN_PROBABILITY)
    picture = draw_board(rng, label, split, is_ridden)
    cutout_hw = (picture.shape[0], picture.shape[1])
    rider_px = float(np.exp(rng.uniform(*np.log(HEIGHT_RANGE)))) * sketch.size_hw[0]
    length_px = max(rider_px * LENGTH_PER_RIDER[label] * rng.uniform(0.85, 1.2), MIN_WIDTH * sketch.size_hw[1])
    scale = length_px / cutout_hw[1]
    (x, y), depth = sketch.center_of(rider_px, is_flying=not is_ridden)
    center_xy = (x, y + rider_px / 2) if is_ridden else (x, y)
    path = draw_path(
        rng,
        center_xy,
        scale,
        cutout_hw,
        sketch.num_frames,
        sketch.size_hw,
        may_be_absent=may_be_absent,
        is_flying=not is_ridden,
        max_angle=0.15 if is_ridden else 1.2,
    )
    board = Layer(
        asset_id=f"board/{label}",
        label=label,
        licence=BOARD_LICENCE,
        picture=lambda view, phase: picture,
        num_views=1,
        num_phases=1,
        view_start=0.0,
        view_rate=0.0,
        phase_rate=0.0,
        path=path,
        is_anchored=bool(rng.random() < 0.4),
        depth=depth,
        look=replace(Look.draw(rng), relief=0.1, haze=0.03),
        bend=Bend(),
        has_shadow=is_ridden,
    )
    if not is_ridden:
        return [board]
    rider = sketch.layer(library, draw_rider(library, riders, rng), False)
    view, phase = rider.state(0)
    rider_hw = rider.picture(view, phase).shape[:2]
    rider_scale = rider_px / rider_hw[0]
    sink = rng.uniform(-0.2, 0.2) * cutout_hw[0]  # of the feet below the middle of the board
    offset_xy = (rng.normal(0, 0.06) * cutout_hw[1], sink - 0.5 * rider_px / scale)
    if label == "skateboard":
        offset_xy = (offset_xy[0], -0.18 * cutout_hw[0] - 0.5 * rider_px / scale)
    carried = CarriedPath(path, offset_xy, rider_scale / scale, rng.normal(0, 0.08))
    together = replace(rider, path=carried, is_anchored=board.is_anchored, depth=depth + 1e-6, has_shadow=False)
    return [board, together]

"""From a scene to frames and exact masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .look import apply_look
from .motion import placement
from .scene import Layer, Scene
from .warp import Bend, Cutout, box_of, shutter_average, warp

cv2.setNumThreads(1)  # clips are computed in parallel instead

PIXELS_PER_MOMENT = (
    3.0  # of movement while the shutter is open: the eye sees single pictures if they are farther apart
)
MAX_MOMENTS = 9  # what moves faster is exposed for a shorter time
SHADOW_STEP = 4  # pixels: shadows are soft, so they are computed at this much lower resolution
MIN_VISIBLE_SHARE = 1e-3  # of the frame's pixels, in an instance's best frame: 15 x 15 of 360 x 640
MIN_VISIBLE_PIXELS = 8


@dataclass
class Clip:
    """A finished clip.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        masks: (N, T, H, W) bool, what is visible of every object.
        labels: N classes.
        asset_ids: N pictures.
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    labels: list[str]
    asset_ids: list[str]


def render_clip(scene: Scene, rng: np.random.Generator, num_frames: int, size_hw: tuple[int, int]) -> Clip:
    """Computes all frames of a scene.

    A mask is what has alpha above a half in the middle of the exposure and is not covered by alpha above a half of a
    layer in front. Objects that are never visible are left out.

    Args:
        scene: What to show.
        rng: Source of the sensor's noise.
        num_frames: T.
        size_hw: (H, W).

    Returns:
        The clip.
    """
    middle = (num_frames - 1) / 2
    view = scene.camera.view(middle)
    actors = [Actor(layer, scene, view, middle) for layer in scene.layers]
    objects = [index for index, actor in enumerate(actors) if actor.layer.label is not None]
    frames = np.empty((num_frames, *size_hw, 3), np.uint8)
    masks = np.zeros((len(objects), num_frames, *size_hw), bool)
    grain = scene.film.grain(rng, size_hw)
    for t in range(num_frames):
        canvas = background_at(scene, t, size_hw)
        for index, actor in enumerate(actors):
            drawn = actor.draw(canvas, scene, t)
            if drawn is None:
                continue
            (x0, y0, x1, y1), mask = drawn
            masks[:, t, y0:y1, x0:x1] &= ~mask
            if index in objects:
                masks[objects.index(index), t, y0:y1, x0:x1] = mask
        frames[t] = scene.film.expose(canvas, t, grain, rng)
    threshold = max(MIN_VISIBLE_PIXELS, MIN_VISIBLE_SHARE * size_hw[0] * size_hw[1])
    seen = masks.sum(axis=(2, 3)).max(axis=1) >= threshold
    shown = [actors[index].layer for index, is_seen in zip(objects, seen, strict=True) if is_seen]
    return Clip(frames, masks[seen], [str(layer.label) for layer in shown], [layer.asset_id for layer in shown])


def moments(t: float, shutter: float, movement_px: float) -> list[float]:
    """Times within the exposure of frame t: an odd number, the more the more pixels something moves in it."""
    if movement_px < PIXELS_PER_MOMENT / 2:
        return [t]
    count = 3 + 2 * int(movement_px / PIXELS_PER_MOMENT / 2)
    if count > MAX_MOMENTS:
        count, shutter = MAX_MOMENTS, shutter * MAX_MOMENTS * PIXELS_PER_MOMENT / movement_px
    return [float(time) for time in t + shutter * np.linspace(-0.5, 0.5, count)]


def background_at(scene: Scene, t: float, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """The background as the shutter sees it in frame t, (H, W, 3) float32."""
    center = np.array([size_hw[1] / 2, size_hw[0] / 2, 1])
    ends = [scene.camera.displacement(t + sign * scene.shutter / 2) @ center for sign in (-1, 1)]
    times = moments(t, scene.shutter, float(np.linalg.norm((ends[1] - ends[0])[:2])))
    total = scene.camera.view(times[0]).astype(np.float32)
    for time in times[1:]:
        total += scene.camera.view(time)
    return total * (1 / len(times))


class Actor:
    """A layer with its pictures in the light of the scene.

    Args:
        layer: What it is.
        scene: Gives the light.
        view: Background in the middle of the clip, (H, W, 3) uint8.
        middle: Time of that.
    """

    def __init__(self, layer: Layer, scene: Scene, view: NDArray[np.uint8], middle: float) -> None:
        self.layer = layer
        self.size_hw = (view.shape[0], view.shape[1])
        self.cutouts: dict[tuple[int, int], Cutout] = {}
        pose = layer.path(middle)
        radius = int(max(0.15 * self.size_hw[0], 8))
        x = int(np.clip(pose.x, radius, self.size_hw[1] - radius))
        y = int(np.clip(pose.y, radius, self.size_hw[0] - radius))
        near = view[y - radius : y + radius, x - radius : x + radius]
        # Light comes from everywhere, but most from near by.
        mean = 0.6 * near.mean(axis=(0, 1)) + 0.4 * view.mean(axis=(0, 1))
        self.surroundings = mean.astype(np.float32)
        self.scene = scene

    def cutout(self, t: float) -> Cutout:
        """Its picture at time t."""
        state = self.layer.state(t)
        if state not in self.cutouts:
            rgba = self.layer.picture(*state)
            lit = apply_look(rgba, self.layer.look, self.surroundings, self.scene.light, self.scene.detail)
            self.cutouts[state] = Cutout.from_rgba(lit)
        return self.cutouts[state]

    def matrix(self, cutout: Cutout, t: float) -> NDArray[np.float64]:
        """Where it is at time t: (3, 3) from pixels of the cut-out to pixels of the frame."""
        matrix = placement(self.layer.path(t), cutout.size_hw)
        return self.scene.camera.displacement(t) @ matrix if self.layer.is_anchored else matrix

    def draw(
        self, canvas: NDArray[np.float32], scene: Scene, t: float
    ) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]] | None:
        """Draws shadow and object into the canvas.

        Args:
            canvas: (H, W, 3) in [0, 255]; is changed.
            scene: Gives shutter and shadows.
            t: Frame.

        Returns:
            A box x0, y0, x1, y1 and the object's mask in it, (h, w); None if it is outside the frame.
        """
        cutout = self.cutout(t)
        ends = [self.matrix(cutout, t + sign * scene.shutter / 2) for sign in (-1, 1)]
        rows, columns = cutout.size_hw
        corners = np.array([[0, columns, columns, 0], [0, 0, rows, rows], [1, 1, 1, 1]])
        start, end = (matrix @ corners for matrix in ends)
        movement = np.linalg.norm(end[:2] / end[2] - start[:2] / start[2], axis=0).max()
        times = moments(t, scene.shutter, float(movement))
        matrices = [self.matrix(cutout, time) for time in times]
        if self.layer.has_shadow:
            draw_shadow(canvas, cutout, matrices[len(times) // 2], scene)
        waves = [self.layer.path(time).wave for time in times]
        drawn = shutter_average(cutout, matrices, self.layer.bend, waves, self.size_hw)
        if drawn is None:
            return None
        (x0, y0, x1, y1), patch, mask = drawn
        region = canvas[y0:y1, x0:x1]
        region *= 1 - patch[..., 3:]
        region += patch[..., :3]
        return (x0, y0, x1, y1), mask


def draw_shadow(canvas: NDArray[np.float32], cutout: Cutout, matrix: NDArray[np.float64], scene: Scene) -> None:
    """Darken the ground under and beside an object: its silhouette lain down at its foot, and a soft spot there."""
    height, width = canvas.shape[:2]
    rows, columns = cutout.size_hw
    left, right, top = (
        matrix @ point for point in np.array([[0, rows - 2, 1], [columns, rows - 2, 1], [columns / 2, 0, 1]])
    )
    left, right, top = left[:2] / left[2], right[:2] / right[2], top[:2] / top[2]
    foot, half_width = (left + right) / 2, float(np.linalg.norm(right - left)) / 2
    object_height = float(np.linalg.norm(foot - top))
    if foot[1] > height + 0.1 * object_height or foot[1] < 0:
        return
    # Light from the upper left throws the shadow to the right; from behind, towards the viewer as well.
    squash, shear = scene.shadow_squash, -np.cos(scene.light) * 0.7
    lain = np.array([[1, -shear, shear * foot[1]], [0, squash, foot[1] * (1 - squash)], [0, 0, 1]])
    small = np.diag([1 / SHADOW_STEP, 1 / SHADOW_STEP, 1])
    small_hw = (-(-height // SHADOW_STEP), -(-width // SHADOW_STEP))
    shadow = np.zeros(small_hw, np.float32)
    cast = small @ lain @ matrix
    box = box_of(cutout, cast, Bend(), small_hw)
    if box is not None:
        x0, y0, x1, y1 = box
        shadow[y0:y1, x0:x1] = warp(cutout, cast, Bend(), 0.0, box)[..., 3] * (0.45 / 255)
    sigma = max(0.03 * object_height / SHADOW_STEP, 0.4)
    spot = np.zeros(small_hw, np.float32)
    axes = (max(int(0.85 * half_width / SHADOW_STEP), 1), max(int(0.16 * half_width / SHADOW_STEP), 1))
    below = foot - (0, 0.03 * object_height)  # feet stand on the spot, not above it
    cv2.ellipse(spot, tuple((below / SHADOW_STEP).round().astype(int).tolist()), axes, 0, 0, 360, 1.0, -1)
    shadow = np.maximum(cv2.GaussianBlur(shadow, (0, 0), 1.5 * sigma), cv2.GaussianBlur(spot, (0, 0), sigma))
    occupied = np.flatnonzero(shadow.max(axis=1) > 0.004)
    if not len(occupied):
        return
    full = cv2.resize(shadow, (small_hw[1] * SHADOW_STEP, small_hw[0] * SHADOW_STEP))[:height, :width]
    first, last = occupied[0] * SHADOW_STEP, min((occupied[-1] + 1) * SHADOW_STEP, height)
    canvas[first:last] *= 1 - scene.shadow * full[first:last, :, None]

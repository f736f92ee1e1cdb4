"""How an object moves: a smooth path of poses, and the matrix that puts a cut-out there.

Time t is in frames and continuous, because motion blur needs poses between frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

KNOT_SPACING = 5.0  # frames between the points that a path goes through
# How far the viewer of an out-of-plane rotation is, in lengths of the cut-out: near enough to see lines converge.
VIEW_DISTANCE = 2.5
KINDS, KIND_PROBABILITIES = ("stay", "glide", "wander", "gait"), (0.15, 0.25, 0.25, 0.35)
ENTER_PROBABILITY = LEAVE_PROBABILITY = 0.18
MEDIAN_SPEED = 0.012  # shares of the frame's width per frame; YouTube-VIS keeps every fifth frame of a video
MAX_SPEED = 0.06


@dataclass(frozen=True)
class Pose:
    """Where a cut-out is: centre (x, y) in pixels of the frame, pixels per pixel of the cut-out, angles in radians.

    `yaw` and `pitch` turn it out of the picture's plane; `wave` is the phase of its bending.
    """

    x: float
    y: float
    scale: float
    angle: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    wave: float = 0.0


@dataclass(frozen=True)
class Path:
    """A smooth path.

    Attributes:
        curve: t -> (x, y, logarithm of the scale, angle, yaw, pitch).
        bob: Height of the steps in pixels; 0 for what does not walk.
        rock: Sway of the steps in radians.
        rate: Steps per frame.
        phase: Of the steps at t = 0, radians.
        wave_rate: Bends per frame.
    """

    curve: CubicSpline
    bob: float = 0.0
    rock: float = 0.0
    rate: float = 0.0
    phase: float = 0.0
    wave_rate: float = 0.0

    def __call__(self, t: float) -> Pose:
        """The pose at time t."""
        x, y, log_scale, angle, yaw, pitch = (float(value) for value in self.curve(t))
        step = np.pi * self.rate * t + self.phase
        return Pose(
            x=x,
            y=y - self.bob * abs(float(np.sin(step))),
            scale=float(np.exp(log_scale)),
            angle=angle + self.rock * float(np.cos(step)),
            yaw=yaw,
            pitch=pitch,
            wave=2 * np.pi * self.wave_rate * t + self.phase,
        )


@dataclass(frozen=True)
class CarriedPath:
    """The path of what stands on something else, such as the rider of a board.

    Attributes:
        carrier: Path of what carries.
        offset_xy: From the carrier's centre to the rider's, in pixels of the carrier's cut-out, turning with it.
        scale_ratio: The rider's scale over the carrier's.
        lean: Angle of the rider against the carrier, radians.
    """

    carrier: Path
    offset_xy: tuple[float, float]
    scale_ratio: float
    lean: float = 0.0

    def __call__(self, t: float) -> Pose:
        """The pose at time t."""
        pose = self.carrier(t)
        cos, sin = np.cos(pose.angle), np.sin(pose.angle)
        dx, dy = self.offset_xy
        return replace(
            pose,
            x=pose.x + pose.scale * float(cos * dx - sin * dy),
            y=pose.y + pose.scale * float(sin * dx + cos * dy),
            scale=pose.scale * self.scale_ratio,
            angle=pose.angle + self.lean,
            yaw=0.5 * pose.yaw,
            pitch=0.0,
        )


def draw_path(
    rng: np.random.Generator,
    center_xy: tuple[float, float],
    scale: float,
    cutout_hw: tuple[int, int],
    num_frames: int,
    size_hw: tuple[int, int],
    *,
    may_be_absent: bool,
    is_flying: bool = False,
    max_angle: float = 0.15,
) -> Path:
    """Draws the path of an object.

    Args:
        rng: Source of all randomness.
        center_xy: Where it is about in the middle of the clip, pixels.
        scale: Pixels of the frame per pixel of the cut-out, about in the middle of the clip.
        cutout_hw: Size of the cut-out.
        num_frames: T.
        size_hw: (H, W) of the frame.
        may_be_absent: Whether it may enter late or leave early.
        is_flying: It moves up and down as freely as sideways.
        max_angle: Spread of the in-plane angle, radians.

    Returns:
        A path for times -1 to T.
    """
    kind = KINDS[rng.choice(len(KINDS), p=KIND_PROBABILITIES)]
    count = max(4, round(num_frames / KNOT_SPACING) + 2)
    times = np.linspace(-1, num_frames, count)
    height, width = size_hw
    extent_px = scale * max(cutout_hw)

    speed = min(MEDIAN_SPEED * float(rng.lognormal(0, 0.8)), MAX_SPEED) * width * (0 if kind == "stay" else 1)
    heading = rng.uniform(0, 2 * np.pi)
    rise = 0.7 if is_flying else 0.2
    velocity = speed * np.array([np.cos(heading), rise * np.sin(heading)])
    momentum = 0.5 if kind == "wander" else 0.97
    steps = np.empty((count, 2))
    for knot in range(count):
        kick = rng.normal(0, 1, 2) * (1, rise)
        velocity = momentum * velocity + (1 - momentum) * speed * 1.6 * kick
        steps[knot] = velocity * (times[1] - times[0])
    position = np.cumsum(steps, axis=0)
    position += np.asarray(center_xy) - position[count // 2]
    position += rng.normal(0, 0.004 * height, (count, 2))  # nothing alive stands perfectly still
    if kind == "wander":
        position = fold(position, np.array([0.05 * width, 0.1 * height]), np.array([0.95 * width, 0.95 * height]))

    progress = np.linspace(0, 1, count)
    if may_be_absent:
        for is_leaving, probability in ((False, ENTER_PROBABILITY), (True, LEAVE_PROBABILITY)):
            if rng.random() < probability:
                side = rng.choice((-1.0, 1.0))
                inside_from = rng.uniform(0.3, 0.75)
                ramp = np.clip(1 - (1 - progress if is_leaving else progress) / inside_from, 0, None)
                edge = (width if side > 0 else 0) - position[-1 if is_leaving else 0, 0]
                position[:, 0] += ramp * (edge + side * (0.55 * extent_px + rng.uniform(0.02, 0.4) * width))

    log_scale = np.log(scale) + rng.normal(0, 0.25) * (progress - 0.5) + smooth(rng, count, 0.04)
    angle = rng.normal(0, max_angle) + smooth(rng, count, rng.uniform(0, max_angle))
    if rng.random() < (0.15 if is_flying else 0.03):
        angle = angle + rng.normal(0, 0.12) * times  # it tumbles
    yaw = rng.normal(0, 0.2) + smooth(rng, count, rng.uniform(0, 0.5))
    pitch = smooth(rng, count, rng.uniform(0, 0.2))
    values = np.column_stack([position, log_scale, angle, yaw.clip(-0.9, 0.9), pitch.clip(-0.5, 0.5)])
    walks = kind == "gait"
    return Path(
        CubicSpline(times, values),
        bob=walks * rng.uniform(0.01, 0.07) * scale * cutout_hw[0],
        rock=walks * rng.uniform(0, 0.09),
        rate=rng.uniform(0.15, 0.6),
        phase=rng.uniform(0, 2 * np.pi),
        wave_rate=rng.uniform(0.03, 0.14),
    )


def fold(values: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reflect values into [low, high], as a ball bounces between walls."""
    span = high - low
    turned = (values - low) % (2 * span)
    return low + np.minimum(turned, 2 * span - turned)


def smooth(rng: np.random.Generator, count: int, amplitude: float) -> NDArray[np.float64]:
    """A random walk of `count` knots that wanders about `amplitude` around 0."""
    walk = np.cumsum(rng.normal(0, 1, count))
    return amplitude * (walk - walk.mean()) / max(float(walk.std()), 1e-6)


def placement(pose: Pose, cutout_hw: tuple[int, int]) -> NDArray[np.float64]:
    """The (3, 3) homography from pixels of a cut-out to pixels of the frame."""
    rows, columns = cutout_hw
    distance = VIEW_DISTANCE * max(rows, columns)
    cos_yaw, sin_yaw = np.cos(pose.yaw), np.sin(pose.yaw)
    cos_pitch, sin_pitch = np.cos(pose.pitch), np.sin(pose.pitch)
    centered = np.array([[1, 0, -(columns - 1) / 2], [0, 1, -(rows - 1) / 2], [0, 0, 1]])
    # Rotation about the vertical, then the horizontal axis of a point in the plane z = 0, seen from `distance`.
    turned = np.array([
        [distance * cos_yaw, distance * sin_yaw * sin_pitch, 0],
        [0, distance * cos_pitch, 0],
        [-sin_yaw, cos_yaw * sin_pitch, distance],
    ])  # fmt: skip
    cos, sin = pose.scale * np.cos(pose.angle), pose.scale * np.sin(pose.angle)
    placed = np.array([[cos, -sin, pose.x], [sin, cos, pose.y], [0, 0, 1]])
    matrix: NDArray[np.float64] = placed @ turned @ centered
    return matrix / matrix[2, 2]

"""The camera: how it looks at a background over time, and where that moves what stands in the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .motion import smooth

Frame = NDArray[np.uint8]
Matrix = NDArray[np.float64]

MAP_STEP = 8  # pixels: rays of a panorama are computed on a grid and interpolated, they change slowly
PANORAMA_WIDTH = 2048  # pixels: small panoramas are enlarged smoothly, or linear interpolation would show facets
MAX_PICTURE_SIDE = 2000


class Camera(Protocol):
    """What the compositor asks a camera."""

    def view(self, t: float) -> Frame:
        """The background at time t, (H, W, 3) uint8 RGB."""
        ...

    def displacement(self, t: float) -> Matrix:
        """(3, 3): where a point of the scene that is at (x, y) in the middle of the clip is at time t, in pixels."""
        ...


@dataclass(frozen=True)
class Drift:
    """A slow change with the tremble of a hand: value(t) for the times 0 ... T-1 and between."""

    times: NDArray[np.float64]
    values: NDArray[np.float64]

    def __call__(self, t: float) -> float:
        """The value at time t."""
        return float(np.interp(t, self.times, self.values))


def draw_drift(
    rng: np.random.Generator, num_frames: int, center: float, total: float, wobble: float, shake: float
) -> Drift:
    """Draws a drift of normal(0, total) over the clip around `center`, plus slow `wobble` and fast `shake`."""
    times = np.arange(-1, num_frames + 1, 0.5)
    progress = (times - (num_frames - 1) / 2) / max(num_frames, 8)
    knots = max(3, num_frames // 5 + 2)
    slow = np.interp(np.linspace(0, 1, len(times)), np.linspace(0, 1, knots), smooth(rng, knots, wobble))
    fast = np.convolve(rng.normal(0, shake, len(times)), (0.25, 0.5, 0.25), mode="same")
    return Drift(times, center + rng.normal(0, total) * progress + slow + fast)


class PhotoCamera:
    """Pan, zoom and slight roll over a photo.

    Args:
        picture: (h, w, 3) uint8 RGB.
        rng: Source of all randomness.
        num_frames: T.
        size_hw: (H, W) of the frames.
    """

    def __init__(self, picture: Frame, rng: np.random.Generator, num_frames: int, size_hw: tuple[int, int]) -> None:
        self.size_hw = height, width = size_hw
        self.middle = (num_frames - 1) / 2
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
        zoom = float(rng.uniform(1.1, 2.2))
        fit = zoom * max(height / picture.shape[0], width / picture.shape[1])
        fit = min(fit, MAX_PICTURE_SIDE / max(picture.shape[:2]))
        shape_wh = (round(picture.shape[1] * fit), round(picture.shape[0] * fit))
        self.picture = cv2.resize(
            np.ascontiguousarray(picture), shape_wh, interpolation=cv2.INTER_AREA if fit < 1 else cv2.INTER_CUBIC
        )
        pace = rng.choice((0.0, 0.4, 1.0), p=(0.25, 0.35, 0.4))  # a tripod, a calm hand, a moving camera
        shake = float(rng.choice((0.0, 0.0012))) * height
        room_x, room_y = max(shape_wh[0] - width, 0), max(shape_wh[1] - height, 0)
        self.x = draw_drift(
            rng, num_frames, width / 2 + rng.uniform(0, room_x), pace * 0.35 * width, pace * 0.03 * width, shake
        )
        self.y = draw_drift(
            rng, num_frames, height / 2 + rng.uniform(0, room_y), pace * 0.08 * height, pace * 0.02 * height, shake
        )
        self.log_zoom = draw_drift(rng, num_frames, 0.0, pace * 0.15, pace * 0.02, 0)
        self.roll = draw_drift(rng, num_frames, 0.0, pace * 0.06, pace * 0.02, 0)

    def matrix(self, t: float) -> Matrix:
        """(3, 3) from pixels of the picture to pixels of the frame."""
        height, width = self.size_hw
        zoom = float(np.exp(self.log_zoom(t)))
        cos, sin = zoom * np.cos(self.roll(t)), zoom * np.sin(self.roll(t))
        x = np.clip(self.x(t), width / 2, max(width / 2, self.picture.shape[1] - width / 2))
        y = np.clip(self.y(t), height / 2, max(height / 2, self.picture.shape[0] - height / 2))
        turn = np.array([[cos, -sin, width / 2], [sin, cos, height / 2], [0, 0, 1]])
        return turn @ np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])

    def view(self, t: float) -> Frame:
        """See `Camera`."""
        height, width = self.size_hw
        return cv2.warpAffine(self.picture, self.matrix(t)[:2], (width, height), borderMode=cv2.BORDER_REFLECT_101)

    def displacement(self, t: float) -> Matrix:
        """See `Camera`."""
        return self.matrix(t) @ np.linalg.inv(self.matrix(self.middle))


class PanoramaCamera:
    """A camera that turns inside an equirectangular panorama.

    Args:
        picture: (h, 2h, 3) uint8 RGB; wraps around horizontally.
        rng: Source of all randomness.
        num_frames: T.
        size_hw: (H, W) of the frames.
    """

    def __init__(self, picture: Frame, rng: np.random.Generator, num_frames: int, size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self.middle = (num_frames - 1) / 2
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
        enlarge = max(1, PANORAMA_WIDTH // picture.shape[1])
        wrapped = np.concatenate([picture[:, -2:], picture, picture[:, :2]], axis=1)
        wrapped = cv2.resize(wrapped, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC)
        self.picture = np.ascontiguousarray(wrapped[:, 2 * enlarge : wrapped.shape[1] - 2 * enlarge])
        self.focal = size_hw[1] / 2 / np.tan(np.radians(rng.uniform(50, 85)) / 2)
        pace = rng.choice((0.0, 0.4, 1.0), p=(0.2, 0.4, 0.4))
        shake = float(rng.choice((0.0, 0.0012)))
        self.yaw = draw_drift(rng, num_frames, rng.uniform(-np.pi, np.pi), pace * 0.5, pace * 0.03, shake)
        self.pitch = draw_drift(rng, num_frames, rng.uniform(-0.25, 0.1), pace * 0.06, pace * 0.02, shake)
        self.roll = draw_drift(rng, num_frames, 0.0, pace * 0.05, pace * 0.02, 0)

    def view(self, t: float) -> Frame:
        """See `Camera`."""
        height, width = self.size_hw
        rows, columns = -(-height // MAP_STEP), -(-width // MAP_STEP)
        # One step more on every side, because cv2.resize repeats the outermost values.
        x = (np.arange(-1, columns + 1) + 0.5) * MAP_STEP - 0.5 - (width - 1) / 2
        y = (np.arange(-1, rows + 1) + 0.5) * MAP_STEP - 0.5 - (height - 1) / 2
        x, y = np.meshgrid(x, y)
        cos, sin = np.cos(self.roll(t)), np.sin(self.roll(t))
        x, y = cos * x + sin * y, cos * y - sin * x
        cos, sin = np.cos(self.pitch(t)), np.sin(self.pitch(t))
        y, z = cos * y - sin * self.focal, sin * y + cos * self.focal  # y points down: a positive pitch looks up
        longitude, latitude = np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))
        picture_height, picture_width = self.picture.shape[:2]
        turn = self.yaw(t) / (2 * np.pi) % 1
        u = (longitude / (2 * np.pi) + turn) * picture_width
        v = np.clip((latitude / np.pi + 0.5) * picture_height, 0, picture_height - 1.01)
        full_wh = ((columns + 2) * MAP_STEP, (rows + 2) * MAP_STEP)
        inner = (slice(MAP_STEP, MAP_STEP + height), slice(MAP_STEP, MAP_STEP + width))
        maps = [np.ascontiguousarray(cv2.resize(m.astype(np.float32), full_wh)[inner]) for m in (u, v)]
        return cv2.remap(self.picture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)

    def displacement(self, t: float) -> Matrix:
        """See `Camera`; exact at the frame's centre."""
        height, width = self.size_hw
        roll = self.roll(t) - self.roll(self.middle)
        cos, sin = np.cos(roll), np.sin(roll)
        dx = -self.focal * (self.yaw(t) - self.yaw(self.middle))
        dy = self.focal * (self.pitch(t) - self.pitch(self.middle))
        center_x, center_y = (width - 1) / 2, (height - 1) / 2
        return np.array([
            [cos, -sin, center_x + dx - cos * center_x + sin * center_y],
            [sin, cos, center_y + dy - sin * center_x - cos * center_y],
            [0, 0, 1],
        ])  # fmt: skip


def make_camera(
    kind: str, picture: Frame, rng: np.random.Generator, num_frames: int, size_hw: tuple[int, int]
) -> Camera:
    """The camera for a background of this kind ("photo" or "panorama")."""
    cameras: dict[str, type[PhotoCamera] | type[PanoramaCamera]] = {"photo": PhotoCamera, "panorama": PanoramaCamera}
    return cameras[kind](picture, rng, num_frames, size_hw)

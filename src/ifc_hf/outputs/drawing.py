"""Drawing of a whole video's tracks: what `instances` draws on a frame, and trails and a list of what is visible."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .instances import Frame, Masks, cv2, paint_masks, require_supervision, tight_boxes, track_color
from .labels import draw_labels, draw_legend

TRAIL_FRAMES = 40
FADING_FRAMES = 30  # of these, the oldest
FRAME_PER_TRAIL = 120  # edges of a frame are so many times as long as a trail is wide
MOST_TRAILS = 0.1  # of the frame, covered by all of them


@dataclass(frozen=True)
class DrawingStyle:
    """What is drawn besides masks and outlines.

    Attributes:
        labels: Number, label and score at every object.
        trails: The way that the middle of every object went in the last frames.
        legend: A list of the visible tracks in their colours.
        boxes: Boxes around the objects.
        min_frames: A track that is visible in fewer frames of a shot, and not in all of them, is not drawn.
        hide_duplicates: Draw near copies of a better track once.
        split_at_cuts: Let no track live across a cut.
    """

    labels: bool = True
    trails: bool = True
    legend: bool = True
    boxes: bool = False
    min_frames: int = 1
    hide_duplicates: bool = False
    split_at_cuts: bool = False


class TrackDrawer:
    """Draws the frames of one video, one after the other: trails need the frames before.

    Args:
        style: What to draw.

    Raises:
        ImportError: If supervision is not installed.
    """

    def __init__(self, style: DrawingStyle) -> None:
        require_supervision()
        self.style = style
        self.trails: dict[int, deque[tuple[int, int, int]]] = {}  # track -> frame, x and y of its middle
        self.num_frames = 0

    def draw(
        self,
        frame: Frame,
        masks: Masks,
        track_ids: Sequence[int],
        captions: Sequence[str],
        legend: Mapping[int, str],
    ) -> Frame:
        """Draws the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB; not changed.
            masks: N masks (H, W), the most important first.
            track_ids: N numbers that choose the colours.
            captions: N texts.
            legend: Text for every track that the list shall name, best first.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        canvas = np.array(frame)
        boxes_xyxy = tight_boxes(masks)
        shown = [place for place in range(len(masks)) if boxes_xyxy[place].any()]
        paint_masks(canvas, masks, boxes_xyxy, track_ids, self.style.boxes)
        if self.style.trails:
            self.draw_trails(canvas, boxes_xyxy[shown], [track_ids[place] for place in shown])
        taken = []
        if self.style.legend and legend:
            area = draw_legend(canvas, legend, {track: track_color(track) for track in legend})
            taken = [area] if area else []
        if self.style.labels:
            colors = [track_color(track_ids[place]) for place in shown]
            draw_labels(canvas, boxes_xyxy[shown], [captions[place] for place in shown], colors, taken)
        self.num_frames += 1
        return canvas

    def draw_trails(self, canvas: Frame, boxes_xyxy: NDArray[np.float32], track_ids: Sequence[int]) -> None:
        """Adds where the visible objects came from; the older, the fainter. Without room, the last have no trail."""
        room = round(MOST_TRAILS * canvas.shape[0] * canvas.shape[1])
        middles = np.round((boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2).astype(int).tolist()
        for (x, y), track_id in zip(middles, track_ids, strict=True):
            trail = self.trails.setdefault(track_id, deque())
            trail.append((self.num_frames, x, y))
            while trail[0][0] <= self.num_frames - TRAIL_FRAMES:
                trail.popleft()
            points = [(self.num_frames - frame, (x, y)) for frame, x, y in trail]
            room -= draw_fading_line(canvas, points, track_id, room)


def draw_fading_line(
    canvas: Frame, points: Sequence[tuple[int, tuple[int, int]]], track_id: int, most_pixels: int
) -> int:
    """Draws a line through points that fades with their age.

    Args:
        canvas: (H, W, 3) uint8 RGB; drawn on.
        points: Age in frames and (x, y) of each, the oldest first.
        track_id: Chooses the colour.
        most_pixels: A line that covers more is not drawn.

    Returns:
        How many pixels it covers.
    """
    thickness = max(1, round(min(canvas.shape[:2]) / FRAME_PER_TRAIL))
    places = np.array([place for _, place in points])
    left, top = np.maximum(places.min(axis=0) - thickness, 0).tolist()
    right, bottom = (places.max(axis=0) + thickness + 1).tolist()
    region = canvas[top:bottom, left:right]
    opacity = np.zeros(region.shape[:2], np.uint8)
    for (age, start), (_, end) in zip(points, points[1:], strict=False):
        strength = min(255, 255 * (TRAIL_FRAMES - age) // FADING_FRAMES)
        cv2.line(opacity, (start[0] - left, start[1] - top), (end[0] - left, end[1] - top), strength, thickness)
    num_pixels = cv2.countNonZero(opacity)
    if num_pixels > most_pixels:
        return 0
    covered = np.nonzero(opacity)
    weight = opacity[covered][:, None].astype(np.float32) / 255
    below = region[covered].astype(np.float32)
    region[covered] = np.round(below + (np.array(track_color(track_id), np.float32) - below) * weight).astype(np.uint8)
    return num_pixels

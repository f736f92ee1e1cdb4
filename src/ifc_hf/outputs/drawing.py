"""Drawing of a whole video's tracks: what `visualization` draws on a frame, and trails and a legend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..model.masks import masks_to_boxes_xyxy
from .instances import (
    DARK_RGB,
    LIGHT_RGB,
    PALETTE_RGB,
    Frame,
    draw_instances,
    line_width,
    palette,
    require_supervision,
    sv,
    track_color,
)

TRAIL_FRAMES = 40
LEGEND_LINES = 8


@dataclass(frozen=True)
class DrawingStyle:
    """What is drawn besides masks and outlines.

    Attributes:
        labels: Number, label and score at every object.
        trails: The way that the middle of every object went in the last frames.
        legend: A list of the tracks in their colours.
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
        self.trail_annotator: Any = None

    def draw(
        self,
        frame: Frame,
        masks: NDArray[np.bool_],
        track_ids: Sequence[int],
        captions: Sequence[str],
        legend: Mapping[int, str],
    ) -> Frame:
        """Draw the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB; not changed.
            masks: (N, H, W) bool.
            track_ids: N numbers that choose the colours.
            captions: N texts.
            legend: Text for every track that the legend shall name, best first.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        texts = captions if self.style.labels else None
        drawn = draw_instances(frame, masks, track_ids, texts, boxes=self.style.boxes)
        if self.style.trails:
            drawn = self.draw_trails(drawn, masks, track_ids)
        return draw_legend(drawn, legend) if self.style.legend and legend else drawn

    def draw_trails(self, frame: Frame, masks: NDArray[np.bool_], track_ids: Sequence[int]) -> Frame:
        """Add where the visible objects came from; the frame is drawn on."""
        if self.trail_annotator is None:
            self.trail_annotator = sv.TraceAnnotator(
                color=palette(PALETTE_RGB),
                color_lookup=sv.ColorLookup.TRACK,
                trace_length=TRAIL_FRAMES,
                thickness=2 * line_width(frame.shape),
            )
        shown = masks.any(axis=(1, 2))
        if not shown.any():
            return frame
        detections = sv.Detections(
            xyxy=masks_to_boxes_xyxy(masks[shown]).numpy(),
            class_id=np.zeros(shown.sum(), int),
            tracker_id=np.array(track_ids)[shown],
        )
        canvas = self.trail_annotator.annotate(np.ascontiguousarray(frame[..., ::-1]), detections)
        return np.ascontiguousarray(canvas[..., ::-1])


def draw_legend(frame: Frame, legend: Mapping[int, str]) -> Frame:
    """Add a list of tracks in the upper left corner.

    Args:
        frame: (H, W, 3) uint8 RGB; drawn on.
        legend: Text for every track; those beyond the first 8, or beyond half of a low frame, are counted.

    Returns:
        The frame.
    """
    font_size = max(9, min(frame.shape[:2]) // 28)
    font = ImageFont.load_default(font_size)
    step, swatch = round(1.4 * font_size), round(0.8 * font_size)
    rows = (frame.shape[0] - step) // (2 * step) - 1  # the last says how many are missing
    lines = list(legend.items())[: max(1, min(LEGEND_LINES, rows))]
    texts = [text for _, text in lines]
    if len(legend) > len(lines):
        texts.append(f"and {len(legend) - len(lines)} more")
    width = min(frame.shape[1], round(max(font.getlength(text) for text in texts)) + swatch + 3 * step // 2)
    height = min(frame.shape[0], step * len(texts) + step // 2)
    corner = Image.blend(Image.fromarray(frame[:height, :width]), Image.new("RGB", (width, height), DARK_RGB), 0.6)
    pen = ImageDraw.Draw(corner)
    for row, text in enumerate(texts):
        top = step // 4 + row * step
        if row < len(lines):
            box = (step // 2, top + (step - swatch) // 2, step // 2 + swatch, top + (step + swatch) // 2)
            pen.rectangle(box, fill=track_color(lines[row][0]))
        pen.text((step + swatch, top + step // 2), text, fill=LIGHT_RGB, font=font, anchor="lm")
    frame[:height, :width] = np.asarray(corner)
    return frame

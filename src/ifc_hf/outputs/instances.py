"""Drawing of tracks on frames: masks, outlines, boxes, captions, in one colour per track for the whole video.

`draw_tracks` draws one frame; `outputs.drawing` those of a video, with trails and a legend. Outlines and boxes are
drawn by `supervision`, which comes with `pip install "ifc_hf[draw]"`. Masks are blended here, each within its own
box, for its annotator goes over the whole frame for every mask.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..model.masks import decode_rle
from .labels import Color, draw_labels, printable

sv: Any
try:
    import cv2
    import supervision as sv
except ImportError:  # drawing is an extra
    cv2 = sv = None

# Okabe & Ito, "Color Universal Design" (2008): told apart with every common colour vision deficiency. The last is not
# theirs: their black is lost on dark frames.
PALETTE_RGB = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
    (204, 121, 167),  # reddish purple
    (187, 187, 187),  # gray
)
MASK_OPACITY = 0.45

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]  # (H, W)
Masks = Sequence[Mask] | NDArray[np.bool_]  # N of them, or (N, H, W)
TrackOrDict = TypeVar("TrackOrDict", bound=Mapping[str, Any])  # read from a file, a track is a dict


def draw_tracks(
    frame: Frame, tracks: Sequence[Mapping[str, Any]], frame_index: int, min_score: float = 0.0, boxes: bool = False
) -> Frame:
    """Draws what is visible of the tracks in one frame.

    A track that is listed under several labels is drawn once, under the best.

    Args:
        frame: (H, W, 3) uint8 RGB; not changed.
        tracks: As `IfcVideoSegmenter` returns them: dicts with track_id, label, score and segmentations (an RLE or
            None per frame).
        frame_index: Which entry of `segmentations` belongs to this frame.
        min_score: Tracks below it are left out.
        boxes: Whether to draw boxes, too.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: If a track has no entry for the frame, or its mask has another size.
        ImportError: If supervision is not installed.
    """
    visible, masks = visible_tracks(tracks, frame_index, min_score)
    captions = [track_caption(track) for track in visible]
    stacked = np.stack(masks) if masks else np.zeros((0, *frame.shape[:2]), bool)
    return draw_instances(frame, stacked, [track["track_id"] for track in visible], captions, boxes=boxes)


def visible_tracks(
    tracks: Sequence[TrackOrDict], frame_index: int, min_score: float = 0.0
) -> tuple[list[TrackOrDict], list[Mask]]:
    """The n tracks that have a mask in a frame, best first and each under its best label, and their n masks (H, W).

    Raises:
        ValueError: If a track has no entry for the frame.
    """
    visible: list[TrackOrDict] = []
    masks: list[Mask] = []
    for track in best_labels(tracks):
        if not 0 <= frame_index < len(track["segmentations"]):
            raise ValueError(
                f"track {track['track_id']} has {len(track['segmentations'])} frames, asked for frame {frame_index}"
            )
        rle = track["segmentations"][frame_index]
        if rle is not None and track["score"] >= min_score:
            visible.append(track)
            masks.append(decode_rle(rle))
    return visible, masks


def best_labels(tracks: Sequence[TrackOrDict]) -> list[TrackOrDict]:
    """Every track once, under the label of its highest score, best first."""
    best: dict[int, TrackOrDict] = {}
    for track in sorted(tracks, key=lambda track: -track["score"]):
        best.setdefault(track["track_id"], track)
    return list(best.values())


def track_caption(track: Mapping[str, Any]) -> str:
    """Number, label and score of a track."""
    return f"#{track['track_id']} {printable(track['label'])} {track['score']:.2f}"


def draw_instances(
    frame: Frame,
    masks: NDArray[np.bool_],
    track_ids: Sequence[int],
    captions: Sequence[str] | None,
    boxes: bool = False,
) -> Frame:
    """Draws masks with outlines and captions.

    Args:
        frame: (H, W, 3) uint8 RGB; not changed.
        masks: (N, H, W) bool, the most important first; empty ones are left out.
        track_ids: N numbers that choose the colours.
        captions: N texts, or None for masks without.
        boxes: Whether to draw boxes, too.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: If sizes or lengths don't agree.
        ImportError: If supervision is not installed.
    """
    require_supervision()
    if masks.ndim != 3 or masks.shape[1:] != frame.shape[:2]:
        raise ValueError(f"expected masks (N, {frame.shape[0]}, {frame.shape[1]}) for this frame, got {masks.shape}")
    num_captions = len(masks) if captions is None else len(captions)
    if not len(masks) == len(track_ids) == num_captions:
        raise ValueError(
            f"{len(masks)} masks, {len(track_ids)} track ids and {num_captions} captions: must be as many"
        )
    canvas = np.array(frame)
    boxes_xyxy = tight_boxes(masks)
    paint_masks(canvas, masks, boxes_xyxy, track_ids, boxes)
    if captions is not None:
        shown = [place for place in range(len(masks)) if boxes_xyxy[place].any()]
        colors = [track_color(track_ids[place]) for place in shown]
        draw_labels(canvas, boxes_xyxy[shown], [captions[place] for place in shown], colors)
    return canvas


def paint_masks(
    canvas: Frame,
    masks: Masks,
    boxes_xyxy: NDArray[np.float32],
    track_ids: Sequence[int],
    boxes: bool = False,
) -> None:
    """Paints masks and their outlines, the first on top.

    Args:
        canvas: (H, W, 3) uint8 RGB; drawn on.
        masks: N masks (H, W).
        boxes_xyxy: (N, 4), tight; zeros for empty masks, which are left out.
        track_ids: N numbers that choose the colours.
        boxes: Whether to draw boxes, too.
    """
    thickness = line_width(canvas.shape)
    for mask, box, track_id in reversed(list(zip(masks, boxes_xyxy.astype(int).tolist(), track_ids, strict=True))):
        left, top, right, bottom = box
        if right <= left:
            continue
        within = np.s_[top:bottom, left:right]
        color_rgb = track_color(track_id)
        covered = np.ascontiguousarray(mask[within]).view(np.uint8)
        share = tuple(MASK_OPACITY * level for level in color_rgb)
        tinted = cv2.add(cv2.convertScaleAbs(canvas[within], alpha=1 - MASK_OPACITY), (*share, 0))
        canvas[within] = cv2.copyTo(tinted, covered, canvas[within].copy())
        color = sv.Color(*color_rgb[::-1])  # supervision takes the first channel for blue
        for polygon in sv.mask_to_polygons(mask[within]):
            sv.draw_polygon(canvas, polygon + (left, top), color, thickness)
        if boxes:
            sv.draw_rectangle(canvas, sv.Rect(left, top, right - left - 1, bottom - top - 1), color, thickness)


def tight_boxes(masks: Masks) -> NDArray[np.float32]:
    """Boxes (N, 4) around N masks (H, W): x0, y0, x1, y1; those of `masks_to_boxes_xyxy`, sooner."""
    corners = []
    for mask in masks:
        if mask.T.flags.c_contiguous:  # as those that come from RLE: turned, they needn't be copied
            top, left, height, width = cv2.boundingRect(mask.T.view(np.uint8))
        else:
            left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
        corners.append((left, top, left + width, top + height))
    return np.array(corners, np.float32).reshape(-1, 4)


def require_supervision() -> None:
    """Raises the ImportError that says what to install if drawing is impossible."""
    if sv is None:
        raise ImportError('drawing needs supervision: pip install "ifc_hf[draw]"')


def track_color(track_id: int) -> Color:
    """RGB colour of a track, the same in every frame and every run."""
    return PALETTE_RGB[track_id % len(PALETTE_RGB)]


def line_width(size_hw: tuple[int, ...]) -> int:
    """Width in pixels of lines that are to look alike on frames of every size."""
    return max(1, round(min(size_hw[:2]) / 240))

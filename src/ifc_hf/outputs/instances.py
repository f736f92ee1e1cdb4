"""Drawing of tracks on frames: masks, outlines, boxes, captions, in one colour per track for the whole video.

`draw_tracks` draws one frame; `outputs.drawing` those of a video, with trails and a legend. The drawing itself is
`supervision`'s, which comes with `pip install "ifc_hf[draw]"`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..model.masks import decode_rle, masks_to_boxes_xyxy

sv: Any
try:
    import supervision as sv
except ImportError:  # drawing is an extra
    sv = None

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
DARK_RGB, LIGHT_RGB = (20, 20, 20), (255, 255, 255)  # of captions, whichever is readable on the track's colour
MASK_OPACITY = 0.45

Frame = NDArray[np.uint8]
TrackOrDict = TypeVar("TrackOrDict", bound=Mapping[str, Any])  # read from a file, a track is a dict


def draw_tracks(
    frame: Frame, tracks: Sequence[Mapping[str, Any]], frame_index: int, min_score: float = 0.0, boxes: bool = False
) -> Frame:
    """Draw what is visible of the tracks in one frame.

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
    visible, masks = visible_tracks(tracks, frame_index, frame.shape[:2], min_score)
    captions = [track_caption(track) for track in visible]
    return draw_instances(frame, masks, [track["track_id"] for track in visible], captions, boxes=boxes)


def visible_tracks(
    tracks: Sequence[TrackOrDict], frame_index: int, size_hw: tuple[int, ...], min_score: float = 0.0
) -> tuple[list[TrackOrDict], NDArray[np.bool_]]:
    """The n tracks that have a mask in a frame, best first and each under its best label, and the masks (n, H, W).

    Raises:
        ValueError: If a track has no entry for the frame.
    """
    visible, masks = [], []
    for track in best_labels(tracks):
        if not 0 <= frame_index < len(track["segmentations"]):
            raise ValueError(
                f"track {track['track_id']} has {len(track['segmentations'])} frames, asked for frame {frame_index}"
            )
        rle = track["segmentations"][frame_index]
        if rle is not None and track["score"] >= min_score:
            visible.append(track)
            masks.append(decode_rle(rle))
    return visible, np.stack(masks) if masks else np.zeros((0, *size_hw), bool)


def best_labels(tracks: Sequence[TrackOrDict]) -> list[TrackOrDict]:
    """Every track once, under the label of its highest score, best first."""
    best: dict[int, TrackOrDict] = {}
    for track in sorted(tracks, key=lambda track: -track["score"]):
        best.setdefault(track["track_id"], track)
    return list(best.values())


def track_caption(track: Mapping[str, Any]) -> str:
    """Number, label and score of a track."""
    return f"#{track['track_id']} {track['label']} {track['score']:.2f}"


def draw_instances(
    frame: Frame,
    masks: NDArray[np.bool_],
    track_ids: Sequence[int],
    captions: Sequence[str] | None,
    boxes: bool = False,
) -> Frame:
    """Draw masks with outlines and captions.

    Args:
        frame: (H, W, 3) uint8 RGB; not changed.
        masks: (N, H, W) bool; empty ones are left out.
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
    shown = [index for index in range(len(masks)) if masks[index].any()]
    canvas = np.ascontiguousarray(frame[..., ::-1])  # supervision draws in BGR
    if not shown:
        return frame.copy()
    detections = sv.Detections(
        xyxy=masks_to_boxes_xyxy(masks[shown]).numpy(),
        mask=masks[shown],
        class_id=np.zeros(len(shown), int),
        tracker_id=np.array([track_ids[index] for index in shown]),
    )
    for annotator in annotators(frame.shape[:2], boxes):
        canvas = annotator.annotate(canvas, detections)
    if captions is not None:
        texts = [captions[index] for index in shown]
        canvas = label_annotator(frame.shape[:2]).annotate(canvas, detections, labels=texts)
    return np.ascontiguousarray(canvas[..., ::-1])


def require_supervision() -> None:
    """Raise the ImportError that says what to install if drawing is impossible."""
    if sv is None:
        raise ImportError('drawing needs supervision: pip install "ifc_hf[draw]"')


def track_color(track_id: int) -> tuple[int, int, int]:
    """RGB colour of a track, the same in every frame and every run."""
    return PALETTE_RGB[track_id % len(PALETTE_RGB)]


def annotators(size_hw: tuple[int, ...], boxes: bool) -> list[Any]:
    """Mask, outline and perhaps box annotators, with line widths that fit the frame's size."""
    style = {"color": palette(PALETTE_RGB), "color_lookup": sv.ColorLookup.TRACK}
    thickness = line_width(size_hw)
    chosen = [sv.MaskAnnotator(**style, opacity=MASK_OPACITY), sv.PolygonAnnotator(**style, thickness=thickness)]
    return [*chosen, sv.BoxAnnotator(**style, thickness=thickness)] if boxes else chosen


def line_width(size_hw: tuple[int, ...]) -> int:
    """Width in pixels of lines that are to look alike on frames of every size."""
    return max(1, round(min(size_hw[:2]) / 240))


def label_annotator(size_hw: tuple[int, ...]) -> Any:
    """Caption annotator: text on a bar of the track's colour."""
    return sv.LabelAnnotator(
        color=palette(PALETTE_RGB),
        text_color=palette([LIGHT_RGB if luminance(color) < 0.4 else DARK_RGB for color in PALETTE_RGB]),
        color_lookup=sv.ColorLookup.TRACK,
        text_scale=max(0.35, min(size_hw) / 800),
        text_padding=max(3, round(min(size_hw) / 90)),
        smart_position=True,  # captions of neighbours don't cover each other
    )


def palette(colors_rgb: Sequence[tuple[int, int, int]]) -> Any:
    """The colours in the form that supervision takes."""
    return sv.ColorPalette([sv.Color(*color) for color in colors_rgb])


def luminance(color_rgb: tuple[int, int, int]) -> float:
    """Perceived brightness in [0, 1]. Source: ITU-R BT.601."""
    return float(np.dot(color_rgb, (0.299, 0.587, 0.114)) / 255)

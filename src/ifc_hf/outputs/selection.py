"""Which tracks of a video are drawn, and in which parts of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .drawing import DrawingStyle
from .instances import best_labels, track_caption
from .prediction import Prediction


@dataclass(frozen=True)
class DrawnTrack:
    """A track, or its part in one shot.

    Attributes:
        track_id: As in `tracks.json`.
        drawn_id: Chooses the colour: another after every cut.
        caption: Number, label and score; behind the number of a later part which one it is.
        frames: Where it may be drawn.
    """

    track_id: int
    drawn_id: int
    caption: str
    frames: range


def tracks_to_draw(prediction: Prediction, style: DrawingStyle) -> list[DrawnTrack]:
    """The tracks of a video that are drawn, best first.

    A track is left out if it is a near copy of a better one, or visible in too few frames; and it doesn't live across
    a cut: what comes after it is a part of its own. Each as far as the style asks for it.
    """
    cuts = prediction.cuts if style.split_at_cuts else []
    shots = [range(first, end) for first, end in pairwise([0, *cuts, prediction.num_frames])]
    hidden = set(prediction.duplicates) if style.hide_duplicates else set()
    next_id = 1 + max((track.track_id for track in prediction.tracks), default=0)
    drawn = []
    for track in best_labels(prediction.tracks):
        visible = np.array([rle is not None for rle in track.segmentations or []], dtype=bool)
        parts = [shot for shot in shots if is_long_enough(visible[shot.start : shot.stop], style.min_frames)]
        if track.track_id in hidden:
            continue
        for number, frames in enumerate(parts, start=1):
            drawn_id = track.track_id
            name = f"#{track.track_id}"
            caption = track_caption(track)
            if number > 1:
                drawn_id, next_id = next_id, next_id + 1
                caption = caption.replace(name, f"{name}.{number}", 1)
            drawn.append(DrawnTrack(track.track_id, drawn_id, caption, frames))
    return drawn


def is_long_enough(visible: NDArray[np.bool_], min_frames: int) -> bool:
    """Whether a track is visible in as many frames of a shot (L,) as asked for, or in all of a shorter shot."""
    return bool(visible.sum() >= max(1, min(min_frames, len(visible))))


def drawn_in_frame(
    drawn: Sequence[DrawnTrack], frame_index: int, track_ids: Sequence[int]
) -> list[tuple[int, DrawnTrack]]:
    """What is drawn of the tracks that are visible in a frame: their positions among these, and how they are drawn."""
    positions = {track_id: position for position, track_id in enumerate(track_ids)}
    return [
        (positions[track.track_id], track)
        for track in drawn
        if frame_index in track.frames and track.track_id in positions
    ]

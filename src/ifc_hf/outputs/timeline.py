"""A plot of a video's tracks over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..files import whole_file
from .instances import best_labels, track_color
from .labels import printable
from .prediction import Prediction

MOST_TRACKS = 30  # a plot of more can't be read


def write_timeline(prediction: Prediction, path: Path) -> None:
    """Plots which track is visible when, and its score over time.

    Args:
        prediction: The tracks; the 30 best are shown.
        path: PNG file, written as a whole or not at all.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # without pyplot: nothing global, no window

    tracks = best_labels(prediction.tracks)[:MOST_TRACKS]
    times = np.array(prediction.frame_times_seconds)
    # A frame lasts until the next one; the last one as long as frames do in the mean.
    durations = np.append(np.diff(times), 1 / prediction.fps)
    figure = Figure(figsize=(10, 2.6 + 0.28 * max(1, len(tracks))), layout="constrained")
    bars, curves = figure.subplots(2, sharex=True, height_ratios=(max(1, len(tracks)) * 0.28 + 0.4, 2.0))
    for row, track in enumerate(tracks):
        color = tuple(part / 255 for part in track_color(track.track_id))
        is_visible = np.array([rle is not None for rle in track.segmentations or []])
        bars.broken_barh(
            list(zip(times[is_visible], durations[is_visible], strict=True)), (row - 0.4, 0.8), color=color
        )
        scores = np.array([np.nan if score is None else score for score in track.frame_scores or []], dtype=float)
        curves.plot(times, scores, color=color, marker="." if len(times) == 1 else None)
    names = [f"#{track.track_id} {printable(track.label)}" for track in tracks]
    bars.set_yticks(range(len(tracks)), names, parse_math=False)  # a dollar is a dollar
    bars.set_ylim(max(1, len(tracks)) - 0.5, -0.5)
    bars.set_title("visible" if tracks else "no tracks")
    curves.set_ylabel("score so far")
    curves.set_ylim(0, 1.02)
    curves.set_xlim(times[0], times[-1] + durations[-1])
    curves.set_xlabel("seconds")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110)


def require_matplotlib() -> None:
    """Raises the ImportError that says what to install if plots are impossible."""
    try:
        import matplotlib  # noqa: F401 -- only whether it can be
    except ImportError as error:
        raise ImportError('the timeline needs matplotlib: pip install "ifc_hf[draw]"') from error

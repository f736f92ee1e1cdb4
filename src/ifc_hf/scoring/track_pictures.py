"""Pictures that explain a score: precision over recall, and the annotated tracks that were found worst."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..data.clips import Row
from ..data.decoding import open_frame
from ..evaluation.ytvis_map import Overlaps
from ..extras import require
from ..files import whole_file, write_picture
from ..model.masks import decode_rle
from ..outputs.instances import draw_instances

FRAMES_PER_PICTURE = 4


class WorstTrack(NamedTuple):
    """An annotated track and the prediction of its class that fits it best.

    Attributes:
        iou: Over space and time; 0 if there is no such prediction.
        row_index: Its video.
        object_index: Which of the video's objects.
        segmentations: Of the prediction, RLE or None per frame; None if there is none.
        score: Of the prediction.
    """

    iou: float
    row_index: int
    object_index: int
    segmentations: list[Any] | None
    score: float


class WorstTracks:
    """Keeps the annotated tracks with the lowest IoU among many videos.

    Args:
        class_names: Name of every label.
        number: How many to keep.
    """

    def __init__(self, class_names: Mapping[int, str], number: int) -> None:
        self.class_names = class_names
        self.number = number
        self.tracks: list[WorstTrack] = []

    def update(self, row_index: int, row: Row, overlaps: Sequence[Overlaps]) -> None:
        """Looks at one video.

        Args:
            row_index: Its position.
            row: Of `load_ytvis`.
            overlaps: What was compared for its score, by label.
        """
        object_index = {item["id"]: index for index, item in enumerate(row["objects"])}
        for overlap in overlaps:
            for column, track in enumerate(overlap.ground_truth):
                if track.is_crowd:
                    continue
                segmentations, score, iou = None, 0.0, 0.0
                if overlap.predictions:
                    best = int(overlap.ious[:, column].argmax())
                    found, iou = overlap.predictions[best], float(overlap.ious[best, column])
                    segmentations, score = found.segmentations, found.score
                self.tracks.append(WorstTrack(iou, row_index, object_index[track.id], segmentations, score))
        self.keep_worst()

    def merge(self, other: "WorstTracks") -> None:
        """Takes over what another process found."""
        self.tracks += other.tracks
        self.keep_worst()

    def keep_worst(self) -> None:
        """Drops all but the worst; equals stay in the order of the videos."""
        self.tracks = sorted(self.tracks, key=lambda track: track[:3])[: self.number]

    def draw(self, rows: Sequence[Row], folder: Path) -> list[Path]:
        """Writes one picture per track: some of its frames, with the annotation and what was found.

        Args:
            rows: The videos.
            folder: Made if it is missing.

        Returns:
            The files, worst track first.
        """
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for rank, track in enumerate(self.tracks, start=1):
            row = rows[track.row_index]
            name = self.class_names[row["objects"][track.object_index]["category"]]
            path = folder / f"{rank:02d}_video_{row['video_id']}_{name.replace('/', '_')}_iou_{track.iou:.2f}.png"
            with whole_file(path) as temporary:
                write_picture(draw_track(row, track), temporary)
            paths.append(path)
        return paths


def draw_track(row: Row, track: WorstTrack) -> Image.Image:
    """Frames of the video side by side, from all over the time in which the object is visible."""
    annotation = row["objects"][track.object_index]["segmentations"]
    visible = [index for index, rle in enumerate(annotation) if rle is not None]
    chosen = sorted({visible[i] for i in np.linspace(0, len(visible) - 1, FRAMES_PER_PICTURE).round().astype(int)})
    pictures = []
    for index in chosen:
        frame = np.asarray(open_frame(row["frames"][index], f"video {row['video_id']}, frame {index}"))
        masks, captions = [decode_rle(annotation[index])], ["annotated"]
        if track.segmentations is not None and track.segmentations[index] is not None:
            masks.append(decode_rle(track.segmentations[index]))
            captions.append(f"found, score {track.score:.2f}")
        pictures.append(draw_instances(frame, np.stack(masks), range(len(masks)), captions))
    return Image.fromarray(np.concatenate(pictures, axis=1))


def plot_precision_recall(scores: Mapping[str, Any], path: Path) -> None:
    """Draws the precision over the recall at some IoU thresholds, a mean over the categories.

    Args:
        scores: Of `YtvisAccumulator.compute`, with the official thresholds; `precision` is (T, R, K, A, M).
        path: PNG to write.

    Raises:
        ImportError: If matplotlib is missing.
    """
    require("the picture of precision and recall", "draw", "matplotlib")
    from matplotlib.figure import Figure

    precision = scores["precision"][:, :, :, 0, -1]  # (T, R, K): all areas, most detections
    counted = (precision > -1).any(axis=(0, 1))  # categories with annotations
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    recalls = np.linspace(0, 1, precision.shape[1])
    for threshold in (0, 5, 9) if counted.any() else ():
        curve = precision[threshold][:, counted].mean(axis=1)
        axes.plot(recalls, curve, label=f"IoU {0.5 + 0.05 * threshold:.2f}, area {curve.mean():.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=f"AP {scores['AP']:.3f}")
    if counted.any():
        axes.legend()
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120)

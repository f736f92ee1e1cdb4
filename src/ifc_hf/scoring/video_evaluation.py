"""Whole videos of a data set through a segmenter, and what became of them: scores or results for a benchmark's server.

Labels are class indices, as the model knows them; category ids are those of the annotation file.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from PIL import Image
from tqdm.auto import tqdm

from ..data.clips import Row
from ..data.decoding import open_frame
from ..evaluation import YtvisAccumulator
from ..model.video_segmenter import IfcVideoSegmenter

SCORE_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# Frames that are decoded while the model works on earlier ones.
FRAMES_AHEAD = 8


def score_videos(
    segmenter: IfcVideoSegmenter, rows: Sequence[Row], indices: Iterable[int], progress: bool = False
) -> YtvisAccumulator:
    """Segments videos and compares them with their annotations, one after the other.

    Args:
        segmenter: Made of the model to score.
        rows: Rows of `load_ytvis`, with annotations.
        indices: Which of them.
        progress: Show a bar.

    Returns:
        The match records of these videos, by label; no masks.
    """
    accumulator = YtvisAccumulator(class_names(segmenter))
    for index in tqdm(list(indices), desc="Evaluating", unit="video", disable=not progress, leave=False):
        row = rows[index]
        size = {"height": row["height"], "width": row["width"], "length": len(row["frames"])}
        accumulator.update(row["video_id"], annotations_of(row), segment_row(segmenter, row), **size)
    return accumulator


def segment_row(
    segmenter: IfcVideoSegmenter, row: Row, category_ids: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Predictions for one video, as a result file has them.

    Args:
        segmenter: Its tracks are those of the whole video.
        row: Of `load_ytvis`.
        category_ids: Category id of every label; None keeps the labels.

    Returns:
        Dicts of `video_id`, `category_id`, `score` and `segmentations` (RLE or None per frame), best score first.
    """
    return [
        {
            "video_id": row["video_id"],
            "category_id": track["label_id"] if category_ids is None else category_ids[track["label_id"]],
            "score": track["score"],
            "segmentations": track["segmentations"],
        }
        for track in segmenter(read_ahead(row), output_size=(row["height"], row["width"]))
    ]


def annotations_of(row: Row) -> list[dict[str, Any]]:
    """The annotated tracks of a video as annotation files have them, but with labels for category ids."""
    kept = ("id", "iscrowd", "segmentations", "areas")
    return [{"category_id": track["category"], **{name: track[name] for name in kept}} for track in row["objects"]]


def class_names(segmenter: IfcVideoSegmenter) -> Mapping[int, str]:
    """Name of every label of the segmenter's model."""
    return {int(label): name for label, name in segmenter.model.config.id2label.items()}


def read_ahead(row: Row, num_frames: int = FRAMES_AHEAD) -> Iterator[Image.Image]:
    """The frames of a video in order, some of them decoded in advance by threads."""
    pending: deque[Future[Image.Image]] = deque()
    with ThreadPoolExecutor(max_workers=4) as pool:
        for index, frame in enumerate(row["frames"]):
            pending.append(pool.submit(open_frame, frame, f"video {row['video_id']}, frame {index}"))
            if len(pending) > num_frames:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

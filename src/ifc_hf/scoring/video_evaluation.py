"""Whole videos of a data set through a segmenter, and what became of them: scores or results for a benchmark's server.

Labels are class indices, those of the model or those of the data: the names say which belong together. Category ids
are those of the annotation file.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from ..data.clips import Row
from ..data.decoding import open_frame
from ..data.labels import label_names, match_labels
from ..evaluation import YtvisAccumulator
from ..evaluation.ytvis_map import Overlaps
from ..files import JsonObject
from ..model.video_segmenter import IfcVideoSegmenter

SCORE_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# Frames that are decoded while the model works on earlier ones.
FRAMES_AHEAD = 8


@dataclass
class VideoScores:
    """The match records of some videos, and where these come from; no masks.

    Attributes:
        accumulator: By label of the data.
        sources: For every video id, where the video lies.
    """

    accumulator: YtvisAccumulator
    sources: dict[int, str] = field(default_factory=dict)

    def add(self, index: int, row: Row, predictions: Sequence[Mapping[str, Any]]) -> list[Overlaps]:
        """Compares a video's predictions, by label of the data, with its annotations.

        Returns:
            What was compared, one for every class with tracks.

        Raises:
            ValueError: If there was a video with its id before; the message names both.
        """
        size = {"height": row["height"], "width": row["width"], "length": len(row["frames"])}
        self._note(row["video_id"], source_of(index, row))
        return self.accumulator.update(row["video_id"], annotations_of(row), predictions, **size)

    def merge(self, other: "VideoScores") -> None:
        """Takes over the videos of another process.

        Raises:
            ValueError: If both have a video of the same id.
        """
        for video_id, source in other.sources.items():
            self._note(video_id, source)
        self.accumulator.merge(other.accumulator)

    def _note(self, video_id: int, source: str) -> None:
        if video_id in self.sources:
            raise ValueError(same_id(video_id, self.sources[video_id], source))
        self.sources[video_id] = source


def score_videos(
    segmenter: IfcVideoSegmenter,
    rows: Iterable[Row],
    process_index: int = 0,
    num_processes: int = 1,
    progress: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> VideoScores:
    """Segments videos and compares them with their annotations, one after the other.

    Args:
        segmenter: Made of the model to score.
        rows: Rows of `load_ytvis`, with annotations; a stream will do.
        process_index: Rank of this process.
        num_processes: How many share the videos.
        progress: Show a bar.
        should_stop: Asked before every video.

    Returns:
        The scores of this process' videos.

    Raises:
        ValueError: If the data has a class that the model doesn't know, or two videos have the same id.
    """
    labels = data_labels(segmenter, rows)
    scores = VideoScores(YtvisAccumulator(data_classes(segmenter, rows)))
    own = own_rows(rows, process_index, num_processes)
    total = len(range(process_index, len(rows), num_processes)) if isinstance(rows, Sized) else None
    for index, row in tqdm(own, desc="Evaluating", unit="video", total=total, disable=not progress, leave=False):
        if should_stop():
            break
        scores.add(index, row, with_categories(segment_row(segmenter, row), labels))
    return scores


def join_scores(parts: Sequence[VideoScores]) -> YtvisAccumulator:
    """The score of all processes' videos.

    Args:
        parts: Of every process, in the order of their ranks.

    Raises:
        ValueError: If two videos have the same id; the message names both.
    """
    whole = VideoScores(YtvisAccumulator(parts[0].accumulator.categories, parts[0].accumulator.settings))
    for part in parts:
        whole.merge(part)
    return whole.accumulator


def check_video_ids(rows: Any) -> None:
    """Looks at the ids of all videos, if they can be had without reading a stream.

    Raises:
        ValueError: If two videos have the same; the message names both.
    """
    if not hasattr(rows, "__len__"):
        return
    first: dict[int, int] = {}
    ids = rows["video_id"] if label_names(rows) is not None else [row["video_id"] for row in rows]
    for index, video_id in enumerate(ids):
        other = first.setdefault(video_id, index)
        if other != index:
            raise ValueError(same_id(video_id, source_of(other, rows[other]), source_of(index, rows[index])))


def same_id(video_id: int, first: str, second: str) -> str:
    """What is wrong with two videos of one id."""
    return f"two videos have the id {video_id}: {first} and {second}; give the videos of joined sets ids of their own"


def source_of(index: int, row: Row) -> str:
    """Where a video lies: its row, and the folder of its frames if they are files."""
    frame = row["frames"][0] if len(row["frames"]) else None
    path = frame.get("path") if isinstance(frame, Mapping) else None
    return f"row {index} ({Path(path).parent})" if path else f"row {index}"


def own_rows(rows: Any, process_index: int, num_processes: int) -> Iterator[tuple[int, Row]]:
    """This process' share of the rows, with their numbers; of a stream, every process reads all."""
    if hasattr(rows, "__len__"):
        for index in range(process_index, len(rows), num_processes):
            yield index, rows[index]
    else:
        for index, row in enumerate(rows):
            if index % num_processes == process_index:
                yield index, row


def data_classes(segmenter: IfcVideoSegmenter, rows: Any) -> dict[int, str]:
    """Name of every label of the data; rows that don't know them have the labels of the model."""
    names = label_names(rows)
    return dict(class_names(segmenter) if names is None else enumerate(names))


def data_labels(segmenter: IfcVideoSegmenter, rows: Any) -> dict[int, int]:
    """For every label of the model that of the data, by name.

    Raises:
        ValueError: If the data has a class that the model doesn't know.
    """
    names = label_names(rows)
    known = class_names(segmenter)
    return {label: label for label in known} if names is None else match_labels(known, names, "evaluation data")


def segment_row(segmenter: IfcVideoSegmenter, row: Row, category_ids: Sequence[int] | None = None) -> list[JsonObject]:
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


def with_categories(predictions: Iterable[Mapping[str, Any]], categories: Mapping[int, int]) -> list[JsonObject]:
    """Predictions with other category ids; those of categories that have no other are left out."""
    return [
        {**prediction, "category_id": categories[prediction["category_id"]]}
        for prediction in predictions
        if prediction["category_id"] in categories
    ]


def annotations_of(row: Row) -> list[JsonObject]:
    """The annotated tracks of a video as annotation files have them, but with labels for category ids."""
    kept = ("id", "iscrowd", "segmentations", "areas")
    return [{"category_id": track["category"], **{name: track[name] for name in kept}} for track in row["objects"]]


def class_names(segmenter: IfcVideoSegmenter) -> Mapping[int, str]:
    """Name of every label of the segmenter's model."""
    return {int(label): name for label, name in segmenter.model.config.id2label.items()}


def best_threshold(scores: YtvisAccumulator, lowest: float = 0.0) -> float | None:
    """The score above which tracks are shown so that most of them are right and few are missing.

    It is the one with the highest F1 (harmonic mean of precision and recall over all videos and classes), where a
    track is right if its IoU over space and time reaches the lowest threshold of the settings, 0.5 by default.

    Args:
        scores: Of a validation set.
        lowest: Score above which the tracks were reported.

    Returns:
        A number between two scores, or None if no track is right.
    """
    counted = [~record.is_ignored[0, 0] for record in scores.records]
    found = np.concatenate([np.empty(0), *(r.scores[keep] for r, keep in zip(scores.records, counted, strict=True))])
    right = np.concatenate(
        [np.empty(0, bool), *(r.is_matched[0, 0][keep] for r, keep in zip(scores.records, counted, strict=True))]
    )
    if not right.any():
        return None
    order = np.argsort(-found, kind="stable")
    found, num_right = found[order], np.cumsum(right[order])
    num_annotated = sum(int(record.num_positives[0]) for record in scores.records)
    f1 = 2 * num_right / (num_annotated + np.arange(1, len(found) + 1))
    below = np.append(found[1:], min(lowest, found[-1]))
    is_between = found > below  # a threshold can't part equal scores
    is_between[-1] = True
    best = int(np.argmax(np.where(is_between, f1, -1)))
    return float(round((found[best] + below[best]) / 2, 4))


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

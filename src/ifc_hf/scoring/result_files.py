"""Result files of benchmarks' servers, written by several processes without any of them holding all masks."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..cards.template import percent
from ..evaluation.settings import Scores
from ..files import whole_file, write_json, write_text
from ..model.video_segmenter import IfcVideoSegmenter
from .track_pictures import WorstTracks
from .video_evaluation import VideoScores, data_labels, own_rows, segment_row, with_categories

RESULT_FILE = "results.json"


def predict_videos(
    segmenter: IfcVideoSegmenter,
    rows: Any,
    part_file: Path,
    category_ids: Sequence[int],
    scores: VideoScores | None = None,
    worst_tracks: WorstTracks | None = None,
    process_index: int = 0,
    num_processes: int = 1,
    progress: bool = False,
) -> None:
    """Segments videos and writes their predictions as soon as they are there, one JSON object per line.

    Args:
        segmenter: Made of the model.
        rows: Rows of `load_ytvis`.
        part_file: Where the predictions go.
        category_ids: Category id of every label of the data.
        scores: Takes the scores, if the rows have annotations.
        worst_tracks: Takes the tracks that were found worst, if there are scores.
        process_index: Rank of this process.
        num_processes: How many share the videos.
        progress: Show a bar.

    Raises:
        ValueError: If the data has a class that the model doesn't know, or two videos have the same id.
    """
    labels = data_labels(segmenter, rows)
    total = len(range(process_index, len(rows), num_processes))
    own = own_rows(rows, process_index, num_processes)
    with open(part_file, "w", encoding="utf-8") as stream:
        for index, row in tqdm(own, desc="Predicting", unit="video", total=total, disable=not progress):
            predictions = with_categories(segment_row(segmenter, row), labels)
            for line in with_categories(predictions, dict(enumerate(category_ids))):
                stream.write(json.dumps(line) + "\n")
            if scores is not None:
                overlaps = scores.add(index, row, predictions)
                if worst_tracks is not None:
                    worst_tracks.update(index, row, overlaps)


def join_parts(part_files: Sequence[Path], folder: Path) -> Path:
    """Joins the processes' predictions into `results.json` and removes the parts.

    Args:
        part_files: Of `predict_videos`.
        folder: Where the file goes.

    Returns:
        The file: one JSON list.
    """
    path = folder / RESULT_FILE
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.write("[")
        separator = ""
        for part_file in part_files:
            with open(part_file, encoding="utf-8") as part:
                for line in part:
                    stream.write(separator + line.rstrip("\n"))
                    separator = ",\n"
        stream.write("]\n")
    for part_file in part_files:
        part_file.unlink()
    return path


def write_submission(result_file: Path) -> Path:
    """Packs `results.json` alone into a zip beside it, as the servers of YouTube-VIS and OVIS take it."""
    path = result_file.with_suffix(".zip")
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(result_file, RESULT_FILE)
    return path


def write_scores(scores: Scores, folder: Path) -> None:
    """Writes `metrics.json` (the twelve numbers and those per category) and the table as `per_category.md`."""
    kept = {name: value for name, value in scores.items() if name not in ("precision", "recall")}
    write_json(folder / "metrics.json", kept, indent=2)
    write_text(folder / "per_category.md", category_table(scores))


def category_table(scores: Scores) -> str:
    """Markdown table of the categories that have annotations or predictions, best first, with the mean at the end."""
    columns = ("AP", "AP50", "AP75", "AR1", "AR10")
    lines = ["| category | tracks | " + " | ".join(columns) + " |", "|---" * (2 + len(columns)) + "|"]
    found = [row for row in scores["per_category"] if row["num_gt"] or row["num_dt"]]
    for row in sorted(found, key=lambda row: -row["AP"]):
        cells = [row["name"], str(row["num_gt"]), *(percent(row[name]) for name in columns)]
        lines.append(f"| {' | '.join(cells)} |")
    number = sum(row["num_gt"] for row in found)
    lines.append(f"| all | {number} | " + " | ".join(percent(scores[name]) for name in columns) + " |")
    return "\n".join(lines) + "\n"

"""The tracks of many videos in the format of YouTube-VIS: `results.json` and the ids of its videos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..files import whole_file, write_json
from .prediction import Prediction

FIRST_CATEGORY_ID = 1  # of label 0, as in YouTube-VIS


def write_ytvis_results(tracks_files: Sequence[Path], output: Path) -> None:
    """Writes `results.json` and `videos.json`.

    `results.json` is what the benchmark's server and `evaluate_ytvis` read: a list with `video_id`, `category_id`
    (the label's number + 1), `score` and `segmentations` for every track. `videos.json` says which video has which id:
    1, 2, ... in the order of the files, and is a list such as annotation files have under `videos`.

    Args:
        tracks_files: A `tracks.json` for every video; videos without one are left out, their ids stay free.
        output: Folder of the two files, each written as a whole or not at all.
    """
    videos = []
    with whole_file(output / "results.json") as temporary, open(temporary, "w", encoding="utf-8") as stream:
        separator = "["
        for video_id, file in enumerate(tracks_files, start=1):
            prediction = Prediction.load(file)  # one video at a time: their masks may not fit into memory together
            if prediction is None:
                continue
            size = {"height": prediction.height, "width": prediction.width, "length": prediction.num_frames}
            videos.append({"id": video_id, "file": prediction.video, **size, "complete": prediction.complete})
            for track in prediction.tracks:
                line = {
                    "video_id": video_id,
                    "category_id": track.label_id + FIRST_CATEGORY_ID,
                    "score": track.score,
                    "segmentations": track.segmentations,
                }
                stream.write(separator + json.dumps(line))
                separator = ",\n"
        stream.write("[]\n" if separator == "[" else "]\n")
    write_json(output / "videos.json", videos)

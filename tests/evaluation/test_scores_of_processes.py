"""Scores of videos that several processes share, and the threshold that they choose."""

import numpy as np
import pytest

from ifc_hf.evaluation import YtvisAccumulator
from ifc_hf.model.masks import encode_rle
from ifc_hf.scoring.video_evaluation import VideoScores, best_threshold, check_video_ids, join_scores


def rle(column):
    mask = np.zeros((4, 8), dtype=bool)
    mask[:, column] = True
    return encode_rle(mask)


def row(video_id, name):
    objects = [
        {"id": column, "category": 0, "iscrowd": 0, "segmentations": [rle(column)], "areas": None}
        for column in (1, 2, 3)
    ]
    frames = [{"path": f"/data/{name}/0.jpg", "bytes": None}]
    return {"video_id": video_id, "height": 4, "width": 8, "frames": frames, "objects": objects}


def predicted(*columns_and_scores):
    return [{"category_id": 0, "score": score, "segmentations": [rle(column)]} for column, score in columns_and_scores]


def scores_of(*videos):
    scores = VideoScores(YtvisAccumulator({0: "cat"}))
    for index, (video, predictions) in enumerate(videos):
        scores.add(index, {**video, "objects": [{**o, "areas": [4]} for o in video["objects"]]}, predictions)
    return scores


def test_processes_that_saw_the_same_ids_of_other_videos_are_told_apart():
    first = scores_of((row(1, "a"), predicted((1, 0.9))))
    second = scores_of((row(1, "b"), predicted((5, 0.9))))
    message = r"two videos have the id 1: row 0 \(/data/a\) and row 0 \(/data/b\)"
    for parts in ([first, second], [second, first]):
        with pytest.raises(ValueError, match="two videos have the id 1"):
            join_scores(parts)
    with pytest.raises(ValueError, match=message):
        join_scores([first, second])
    with pytest.raises(ValueError, match=message.replace("row 0 \\(/data/b", "row 1 \\(/data/b")):
        scores_of((row(1, "a"), []), (row(1, "b"), []))


def test_ids_are_looked_at_before_the_work():
    with pytest.raises(ValueError, match=r"two videos have the id 3: row 0 \(/data/a\) and row 2 \(/data/c\)"):
        check_video_ids([row(3, "a"), row(4, "b"), row(3, "c")])
    check_video_ids(iter([row(3, "a")]))


def test_every_order_of_the_processes_gives_the_same_score():
    parts = [scores_of((row(number, "v"), predicted((1, 0.9), (number, 0.5)))) for number in (1, 2, 5)]
    figures = [join_scores(order).compute()["stats"] for order in (parts, parts[::-1])]
    assert figures[0] == figures[1] and 0 < figures[0][0] < 1


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # Of three annotated tracks: two right ones above a wrong one.
        ([(1, 0.9), (2, 0.8), (6, 0.4)], 0.6),
        # A third right one below the wrong one is worth it: F1 of 6 / 7 instead of 4 / 5.
        ([(1, 0.9), (2, 0.8), (6, 0.4), (3, 0.2)], 0.105),
        # Equal scores can't be parted.
        ([(1, 0.9), (2, 0.5), (6, 0.5)], 0.255),
        ([(6, 0.9)], None),
        ([], None),
    ],
)
def test_the_threshold_has_the_best_f1(found, expected):
    scores = join_scores([scores_of((row(1, "a"), predicted(*found)))])
    assert best_threshold(scores, lowest=0.01) == expected

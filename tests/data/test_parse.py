"""What a file says doesn't depend on what else is read together with it."""

import gc

import numpy as np
import pytest

from ifc_hf.data.parse import parse_ytvis
from ifc_hf.model.masks import encode_rle

RLE = encode_rle(np.pad(np.ones((2, 2), bool), ((1, 1), (1, 3))))  # of 4x6 pixels: x 1 to 2, y 1 to 2
CATEGORIES = [{"id": 1, "name": "cat"}]
VIDEO = {"id": 3, "height": 4, "width": 6, "length": 2, "file_names": ["a/0.jpg", "a/1.jpg"]}


def annotation(number: int, **changes) -> dict:
    return {"id": number, "video_id": 3, "category_id": 1, "segmentations": [None, RLE], **changes}


def parse(*annotations: dict):
    return parse_ytvis({"videos": [VIDEO], "categories": CATEGORIES, "annotations": list(annotations)}, "train.json")


SOUND = (
    annotation(1),
    annotation(2, bboxes=[None, [1, 1, 2, 2]], areas=[None, 4]),
    annotation(3, bboxes=[[0, 0, 0, 0], [1.5, 1, 2, 2]], areas=[None, None]),
    annotation(4, segmentations=[RLE, [[1, 1, 4, 1, 4, 3]]]),
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bboxes": [None, [1, 1, -2, 2]]}, "negative width"),
        ({"bboxes": [None, [1, 1, 2]]}, "expected a box"),
        ({"bboxes": [None, [1, 1, 2, True]]}, "expected a box"),
        ({"bboxes": [[1, 1, 1, 1], [1, 1, 2, 2]]}, "the segmentation is None, but the box is"),
        ({"segmentations": [None, {**RLE, "counts": RLE["counts"][:-1]}]}, "RLE counts"),
        ({"segmentations": [None, None]}, "no mask"),
    ],
)
def test_tracks_read_together_are_those_read_alone(changes, message):
    bad = annotation(9, **changes)
    together = parse(*SOUND[:2], bad, *SOUND[2:])
    alone = [parse(one).videos[0].tracks[0] for one in SOUND]
    assert [problem.annotation_id for problem in together.problems if problem.fatal] == [9]
    assert message in together.problems[0].message
    for track, other in zip(together.videos[0].tracks, alone, strict=True):
        assert (track.id, track.boxes_xywh, track.areas, track.polygons) == (
            other.id, other.boxes_xywh, other.areas, other.polygons,
        )  # fmt: skip
    assert together.videos[0].tracks[0].boxes_xywh == [None, [1.0, 1.0, 2.0, 2.0]]
    assert together.videos[0].tracks[2].boxes_xywh == [None, [1.5, 1.0, 2.0, 2.0]]
    assert [track.areas[1] for track in together.videos[0].tracks[:3]] == [4.0, 4.0, 4.0]


def test_the_collector_of_cycles_rests_meanwhile():
    """It goes through all that was read again and again, which takes longer than the reading."""
    collections = []
    annotations = [annotation(number) for number in range(1, 3000)]
    content = {"videos": [VIDEO], "categories": CATEGORIES, "annotations": annotations}
    gc.callbacks.append(lambda phase, info: collections.append(phase))
    try:
        parse_ytvis(content, "train.json")
    finally:
        gc.callbacks.pop()
    assert len(collections) <= 2  # the one when it may work again
    assert gc.isenabled()

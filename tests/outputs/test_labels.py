"""Labels and the list of tracks: nothing covers a label, nothing covers much of a frame, texts stay in one line."""

import numpy as np
import pytest

from ifc_hf.outputs.drawing import DrawingStyle, TrackDrawer
from ifc_hf.outputs.labels import Area, draw_labels, draw_legend, printable

COLORS = [(200, 30, 30), (30, 30, 200), (240, 230, 60)]


def boxes_in(height: int, width: int) -> np.ndarray:
    """Objects side by side, one upon the other, at the edges, below the list, and as large as the frame."""
    corners = [(0, 0, 0.2, 0.2), (0.15, 0.1, 0.3, 0.3), (0.15, 0.1, 0.3, 0.3), (0.8, 0.8, 1, 1), (0, 0, 1, 1)]
    corners += [(0.3, 0.1 * place, 0.4, 0.1 * place + 0.1) for place in range(6)]
    return np.array(corners, np.float32) * (width, height, width, height)


@pytest.mark.parametrize("level", [10, 245])
@pytest.mark.parametrize(("height", "width"), [(40, 60), (120, 160), (160, 120), (360, 640), (1080, 1920)])
def test_labels_and_list_meet_nothing_and_leave_nine_tenths(height, width, level):
    frame = np.full((height, width, 3), level, np.uint8)
    boxes = boxes_in(height, width)
    texts = [f"#{place} giant_panda 0.{99 - place}" for place in range(len(boxes))]
    colors = [COLORS[place % 3] for place in range(len(boxes))]
    legend = draw_legend(frame, dict(enumerate(texts)), dict(enumerate(colors)))
    before = frame.copy()
    areas = draw_labels(frame, boxes, texts, colors, [legend] if legend else [])
    for place, area in enumerate(areas):
        assert 0 <= area.left < area.right <= width and 0 <= area.top < area.bottom <= height
        assert not any(area.meets(other) for other in (*areas[:place], *([legend] if legend else [])))
    most = height * width / 10
    listed = legend.num_pixels if legend else 0
    assert listed <= most / 2 and listed + sum(area.num_pixels for area in areas) <= most
    assert areas and (frame != before).any(-1).sum() <= most
    if height >= 360:
        assert len(areas) == len(boxes), "every object has its label"


@pytest.mark.parametrize("level", [10, 245])
@pytest.mark.parametrize("height", [120, 144, 180, 240])
def test_on_small_videos_with_many_tracks_neither_text_nor_trails_take_more_than_a_tenth(height, level):
    pytest.importorskip("supervision", reason="drawing is the extra `draw`")
    width, num_tracks = height * 16 // 9, 30
    random = np.random.default_rng(0)
    frame = np.full((height, width, 3), level, np.uint8)
    captions = [f"#{number} skateboard 0.{99 - number}" for number in range(num_tracks)]
    styles = [
        DrawingStyle(labels, trails, labels) for labels, trails in ((False, False), (True, False), (False, True))
    ]
    drawers = [TrackDrawer(style) for style in styles]
    most = 0.1 * height * width
    for _ in range(5):
        masks = np.zeros((num_tracks, height, width), bool)
        for mask in masks:  # they jump, so that trails are as long as can be
            y, x = random.integers(0, height - 12), random.integers(0, width - 12)
            mask[y : y + 12, x : x + 12] = True
        plain, text, trails = (
            drawer.draw(frame, masks, range(num_tracks), captions, dict(enumerate(captions))) for drawer in drawers
        )
        assert 0 < (text != plain).any(-1).sum() <= most
        assert (trails != plain).any(-1).sum() <= most
    assert (trails != plain).any()


def test_a_label_without_room_is_its_number_or_nothing():
    frame = np.zeros((100, 100, 3), np.uint8)
    box = np.array([[40, 40, 60, 60]], np.float32)
    (full,) = draw_labels(frame.copy(), box, ["#1 cat"], COLORS[:1])
    (short,) = draw_labels(frame.copy(), box, ["#1 " + 50 * "x"], COLORS[:1])
    assert short.right - short.left < full.right - full.left
    assert draw_labels(frame.copy(), box, ["#1 cat"], COLORS[:1], [Area(0, 0, 100, 100)]) == []
    assert draw_labels(frame.copy(), box, [""], COLORS[:1]) == []


def test_texts_stay_in_one_line_and_move_no_cursor():
    assert printable("a\nb\x1b[31m\tc") == "a?b?[31m?c"
    assert printable("größe 猫") == "größe 猫"
    assert len(printable("x" * 500)) == 60

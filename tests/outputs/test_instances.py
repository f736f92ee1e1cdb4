"""Drawing: the right pixels change, in the track's own colour, and mismatches are refused."""

import numpy as np
import pytest

from ifc_hf.model.masks import encode_rle, masks_to_boxes_xyxy
from ifc_hf.outputs import instances
from ifc_hf.outputs.instances import (
    PALETTE_RGB,
    draw_instances,
    draw_tracks,
    paint_masks,
    tight_boxes,
    track_color,
    visible_tracks,
)

pytest.importorskip("supervision", reason="drawing is the extra `draw`")

FRAME = np.full((120, 160, 3), 60, np.uint8)


def square_mask(top: int = 60, left: int = 40, size: int = 40) -> np.ndarray:
    mask = np.zeros(FRAME.shape[:2], bool)
    mask[top : top + size, left : left + size] = True
    return mask


def make_track(track_id: int, masks: list, label: str = "cat", score: float = 0.9) -> dict:
    rles = [None if mask is None else encode_rle(mask) for mask in masks]
    return {"track_id": track_id, "label": label, "score": score, "segmentations": rles}


def test_mask_is_filled_in_the_colour_of_its_track_and_the_rest_is_left():
    drawn = draw_instances(FRAME, square_mask()[None], [1], ["cat"])
    expected = 0.45 * np.array(track_color(1)) + 0.55 * 60
    np.testing.assert_allclose(drawn[80, 60], expected, atol=2)
    np.testing.assert_array_equal(drawn[60, 45], track_color(1))  # outline
    np.testing.assert_array_equal(drawn[10:30, 100:], FRAME[10:30, 100:])
    assert (FRAME == 60).all(), "the input must not change"


def test_colours_are_stable_and_distinct():
    assert track_color(3) == track_color(3 + len(PALETTE_RGB)) == PALETTE_RGB[3]
    assert len(set(PALETTE_RGB)) == len(PALETTE_RGB)
    alone = draw_instances(FRAME, square_mask()[None], [5], [""])
    with_other = draw_instances(FRAME, np.stack([square_mask(0, 100, 20), square_mask()]), [2, 5], ["", ""])
    np.testing.assert_array_equal(alone[80:95, 50:70], with_other[80:95, 50:70])


def test_boxes_on_request():
    mask = square_mask()
    mask[60:80, 40:60] = False  # the corner of the box is not in the mask
    without, with_box = (draw_instances(FRAME, mask[None], [1], [""], boxes=boxes) for boxes in (False, True))
    assert not np.array_equal(without, with_box)
    np.testing.assert_array_equal(with_box[70, 40], track_color(1))


def test_nothing_visible_leaves_the_frame_as_it_is():
    np.testing.assert_array_equal(draw_instances(FRAME, np.zeros((0, 120, 160), bool), [], []), FRAME)
    np.testing.assert_array_equal(draw_instances(FRAME, np.zeros((1, 120, 160), bool), [1], ["cat"]), FRAME)


def test_tracks_are_drawn_where_they_are_visible():
    tracks = [make_track(1, [square_mask(), None])]
    assert not np.array_equal(draw_tracks(FRAME, tracks, 0), FRAME)
    np.testing.assert_array_equal(draw_tracks(FRAME, tracks, 1), FRAME)


def test_low_scores_and_second_labels_are_left_out():
    good = make_track(1, [square_mask()], "cat", 0.8)
    weak = make_track(2, [square_mask(0, 0)], "dog", 0.1)
    second_label = make_track(1, [square_mask()], "dog", 0.4)
    np.testing.assert_array_equal(
        draw_tracks(FRAME, [second_label, weak, good], 0, min_score=0.3), draw_tracks(FRAME, [good], 0)
    )


def test_mismatches_are_refused():
    with pytest.raises(ValueError, match=r"expected masks \(N, 120, 160\) for this frame, got \(1, 50, 50\)"):
        draw_instances(FRAME, np.ones((1, 50, 50), bool), [1], ["cat"])
    with pytest.raises(ValueError, match="1 masks, 2 track ids and 1 captions: must be as many"):
        draw_instances(FRAME, square_mask()[None], [1, 2], ["cat"])
    with pytest.raises(ValueError, match="track 1 has 1 frames, asked for frame 3"):
        draw_tracks(FRAME, [make_track(1, [square_mask()])], 3)


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(instances, "sv", None)
    with pytest.raises(ImportError, match=r'drawing needs supervision: pip install "ifc_hf\[draw\]"'):
        draw_instances(FRAME, square_mask()[None], [1], ["cat"])


@pytest.mark.parametrize("order", ["C", "F"])
def test_boxes_are_tight_however_the_masks_lie_in_memory(order):
    masks = [
        np.asarray(mask, order=order) for mask in (square_mask(3, 5, 20), square_mask(0, 159, 1), FRAME[..., 0] < 0)
    ]
    np.testing.assert_array_equal(tight_boxes(masks), masks_to_boxes_xyxy(np.stack(masks)).numpy())
    assert tight_boxes([]).shape == (0, 4)


def test_visible_masks_are_drawn_without_a_copy_of_the_frame_for_each(monkeypatch):
    """Of a track, no more than the pixels within its box are copied: ten small objects cost what ten boxes cost."""
    tracks = [make_track(number, [square_mask(10, 12 * number, 10)]) for number in range(10)]
    visible, masks = visible_tracks(tracks, 0)
    assert [track["track_id"] for track in visible] == list(range(10))
    copied = []
    monkeypatch.setattr(np, "ascontiguousarray", lambda array: copied.append(array.size) or np.array(array, order="C"))
    canvas = FRAME.copy()
    paint_masks(canvas, masks, tight_boxes(masks), range(10))
    assert sum(copied) == 10 * 10 * 10
    expected = draw_instances(FRAME, np.stack(masks), range(10), None)
    np.testing.assert_array_equal(canvas, expected)

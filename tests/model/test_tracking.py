import doctest
import pickle
import sys
from collections import defaultdict
from statistics import median
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from golden import all_cases, golden
from ifc_hf.model import tracking
from ifc_hf.model.tracking import FrameMasks, IfcClipTracker, sigmoid_masks, soft_iou

TRACKER_CASES = [case for case in all_cases("tracker_") if case != "tracker_limit_50_errors"]
HEIGHT, WIDTH = 6, 8


# --- the authors' numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", TRACKER_CASES)
def test_tracker_equals_the_reference(case: str) -> None:
    tensors, info = golden(case)
    tracker = IfcClipTracker(max_instances=50 if case == "tracker_limit_50_silent" else None)
    class_sums = torch.zeros_like(tensors["out_cls"])
    for i, clip in enumerate(info["clips"]):
        frames, mask_logits = tensors[f"clip{i}_frame_idx"], tensors[f"clip{i}_mask_logits"]
        known = tracker.num_tracks
        similarity = tracker.soft_iou(frames, mask_logits)
        torch.testing.assert_close(similarity, tensors[f"clip{i}_siou"], rtol=0, atol=2e-5)

        track_ids = tracker.update(frames, mask_logits, tensors[f"clip{i}_cls_probs"])

        continued = sorted([track, instance] for instance, track in enumerate(track_ids) if track in range(known))
        assert continued == clip["matched_track_and_instance"]
        assert tracker.num_tracks == min(clip["tracks_after"], tracker.max_instances or clip["tracks_after"])
        held = tensors["saved_valid"][i].any(1).nonzero().flatten().tolist()
        assert sorted(track for track in track_ids if track is not None) == held
        for instance, track in enumerate(track_ids):
            if track is not None:
                class_sums[track] += tensors[f"clip{i}_cls_probs"][instance]
    torch.testing.assert_close(class_sums, tensors["saved_cls"].sum(0))

    result = tracker.finalize(info["video_length"])
    torch.testing.assert_close(result.class_probabilities, tensors["out_cls"], rtol=0, atol=2e-5)
    torch.testing.assert_close(result.mask_logits, tensors["avg_mask_logits"], rtol=0, atol=1e-3, equal_nan=True)
    assert torch.equal(~result.mask_logits.isnan().flatten(2).any(2), tensors["valid_count"] > 0)
    if tracker.num_tracks:
        logits = F.interpolate(result.mask_logits, size=info["output_size"], mode="bilinear")
        differs = (logits > 0) != tensors["out_masks"].bool()
        assert logits[differs].abs().max() <= 1e-3 if differs.any() else True


def test_the_limit_of_the_reference_drops_what_it_broke_on() -> None:
    _, info = golden("tracker_limit_50_errors")
    assert len(info["cases"]) > 1
    for case in info["cases"]:
        limited, unlimited = IfcClipTracker(max_instances=50), IfcClipTracker()
        for tracker in (limited, unlimited):
            tracker.update([0, 1], random_logits(case["first"], 2), random_probabilities(case["first"]))
        window = ([2, 3], random_logits(case["second"], 2), random_probabilities(case["second"]))
        first = min(case["first"], 50)
        room = 50 - first
        assert limited.update(*window) == [*range(first, 50), *[None] * (case["second"] - room)]
        assert limited.finalize().mask_logits.shape[0] == 50
        unlimited.update(*window)
        assert unlimited.num_tracks == case["first"] + case["second"]


# --- windows made here -------------------------------------------------------------------------------------------


def random_logits(N: int, T: int, seed: int = 0) -> Tensor:
    return torch.randn(N, T, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def random_probabilities(N: int, seed: int = 0) -> Tensor:
    return torch.randn(N, 4, generator=torch.Generator().manual_seed(seed)).softmax(-1)


def object_logits(objects: list[int], T: int, generator: torch.Generator) -> Tensor:
    """(len(objects), T, h, w): object i fills pixel i (of h*w) and its right neighbour, with noise everywhere."""
    masks = torch.full((len(objects), T, HEIGHT * WIDTH), -8.0)
    for row, identity in enumerate(objects):
        masks[row, :, [2 * identity % 48, (2 * identity + 1) % 48]] = 8.0
    return (masks + torch.rand(masks.shape, generator=generator)).unflatten(2, (HEIGHT, WIDTH))


def video_windows(
    num_frames: int, T: int, stride: int, visible: Any, seed: int = 0
) -> list[tuple[list[int], list[int], Tensor, Tensor]]:
    """(frames, objects, mask logits, class probabilities) per window; `visible(start)` lists the objects."""
    generator = torch.Generator().manual_seed(seed)
    windows = []
    for start in range(0, num_frames - T + 1, stride):
        objects = visible(start)
        shuffled = [objects[i] for i in torch.randperm(len(objects), generator=generator).tolist()]
        probabilities = torch.rand(len(objects), 4, generator=generator).softmax(-1)
        logits = object_logits(shuffled, T, generator)
        windows.append((list(range(start, start + T)), shuffled, logits, probabilities))
    return windows


def coming_and_going(start: int) -> list[int]:
    return [i for i in range(5) if start + 2 >= 2 * i and start < 4 * i + 6]


@pytest.mark.parametrize(("T", "stride"), [(4, 1), (5, 2), (6, 5)])
def test_tracker_equals_the_naive_offline_average(T: int, stride: int) -> None:
    windows = video_windows(20, T, stride, coming_and_going)
    tracker = IfcClipTracker()
    track_of: dict[int, int] = {}
    logits_of, probabilities_of = defaultdict(list), defaultdict(list)
    for frames, objects, logits, probabilities in windows:
        track_ids = tracker.update(frames, logits, probabilities)
        for row, (identity, track) in enumerate(zip(objects, track_ids, strict=True)):
            assert track_of.setdefault(identity, track) == track
            probabilities_of[track].append(probabilities[row])
            for position, frame in enumerate(frames):
                logits_of[track, frame].append(logits[row, position])

    result = tracker.finalize(num_frames=23)
    assert result.mask_logits.shape == (5, 23, HEIGHT, WIDTH)
    for track in range(5):
        torch.testing.assert_close(result.class_probabilities[track], torch.stack(probabilities_of[track]).mean(0))
        for frame in range(23):
            found = result.mask_logits[track, frame]
            if (track, frame) in logits_of:
                torch.testing.assert_close(found, torch.stack(logits_of[track, frame]).mean(0))
            else:
                assert found.isnan().all()


def test_soft_iou_of_literal_masks() -> None:
    masks = {3: torch.tensor([[1.0, 1.0, 0.0, 0.0]]), 4: torch.tensor([[0.5, 0.0, 0.0, 0.0]])}
    other = {2: torch.ones(2, 4), 3: torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0]]), 4: torch.full((2, 4), 0.0)}
    expected = torch.tensor([[1 / 2.5, 0.0]])
    masks, other = ({frame: FrameMasks.of(values) for frame, values in window.items()} for window in (masks, other))
    torch.testing.assert_close(soft_iou(masks, other), expected)
    nothing = {3: FrameMasks.of(torch.zeros(1, 4))}
    assert soft_iou(nothing, nothing).item() == 0
    with pytest.raises(ValueError, match=r"windows that share frames, got \[3\] and \[5\]"):
        soft_iou(nothing, {5: FrameMasks.of(torch.zeros(1, 4))})


def test_soft_iou_is_the_mean_over_the_windows_that_hold_the_track() -> None:
    tracker = IfcClipTracker(match_threshold=0.0)
    logits = [random_logits(2, 4, seed) for seed in range(3)]
    assigned = [tracker.update(range(s, s + 4), logits[s], random_probabilities(2)) for s in range(2)]
    found = tracker.soft_iou([2, 3, 4, 5], logits[2])
    for track in range(tracker.num_tracks):
        ious = []
        for start, track_ids in enumerate(assigned):
            if track in track_ids:
                a = logits[start][track_ids.index(track), 2 - start :].sigmoid()
                b = logits[2][:, : 2 + start].sigmoid()
                ious.append((a * b).sum((1, 2, 3)) / ((a + b - a * b).sum((1, 2, 3)) + 1e-6))
        torch.testing.assert_close(found[track], torch.stack(ious).sum(0) / (len(ious) + 1e-6))


def test_only_as_many_earlier_windows_as_the_window_has_frames_are_compared() -> None:
    tracker = IfcClipTracker()
    generator = torch.Generator().manual_seed(0)
    window = object_logits([1], 2, generator)
    empty = ([0, 1], window[:0], random_probabilities(0))
    tracker.update([0, 1], window, random_probabilities(1))
    tracker.update(*empty)
    assert tracker.soft_iou([0, 1], window).item() > 0.9
    tracker.update(*empty)
    assert tracker.soft_iou([0, 1], window).item() == 0


def test_a_pair_is_joined_only_above_the_threshold() -> None:
    logits = random_logits(1, 2)
    similarity = soft_iou(sigmoid_masks([0, 1], logits), sigmoid_masks([0, 1], -logits)).item()
    for threshold, tracks in ((similarity * 0.99, [0]), (similarity * 1.01, [1])):
        tracker = IfcClipTracker(match_threshold=threshold)
        tracker.update([0, 1], logits, random_probabilities(1))
        assert tracker.update([0, 1], -logits, random_probabilities(1)) == tracks


def test_any_number_of_instances() -> None:
    tracker = IfcClipTracker()
    for start in range(0, 12, 2):  # windows that don't touch: nothing matches
        tracker.update([start, start + 1], random_logits(60, 2), random_probabilities(60))
    assert tracker.num_tracks == 360
    assert tracker.finalize().mask_logits.shape == (360, 12, HEIGHT, WIDTH)


def test_half_precision_windows_are_averaged_in_float32() -> None:
    tracker = IfcClipTracker()
    logits, probabilities = random_logits(2, 3).half(), random_probabilities(2).half()
    tracker.update([0, 1, 2], logits, probabilities)
    assert tracker.finalize().mask_logits.dtype == torch.float32
    torch.testing.assert_close(tracker.finalize().mask_logits, logits.float())


def test_windows_with_gradients_keep_no_graph() -> None:
    tracker = IfcClipTracker()
    tracker.update([0, 1], random_logits(2, 2).requires_grad_(), random_probabilities(2).requires_grad_())
    assert not tracker.finalize().mask_logits.requires_grad
    assert not tracker.class_probabilities().requires_grad


def test_windows_made_in_inference_mode_can_be_followed_by_others() -> None:
    tracker = IfcClipTracker()
    with torch.inference_mode():
        tracker.update([0, 1], random_logits(2, 2) * 2, random_probabilities(2))
    tracker.update([0, 1], random_logits(2, 2) * 4, random_probabilities(2))
    torch.testing.assert_close(tracker.finalize().mask_logits, random_logits(2, 2) * 3)


def test_a_tracker_without_windows_has_no_tracks() -> None:
    result = IfcClipTracker().finalize(num_frames=4)
    assert (len(result.class_probabilities), result.mask_logits.shape[:2]) == (0, (0, 4))


def test_example_of_the_docstring() -> None:
    assert doctest.testmod(tracking) == doctest.TestResults(failed=0, attempted=5)


# --- streaming ---------------------------------------------------------------------------------------------------


def test_popped_frames_equal_the_final_result() -> None:
    whole, streaming = IfcClipTracker(), IfcClipTracker()
    popped = []
    for frames, _, logits, probabilities in video_windows(30, 4, 2, coming_and_going):
        popped += streaming.pop_frames(before=frames[0])
        assert streaming.update(frames, logits, probabilities) == whole.update(frames, logits, probabilities)
    popped += streaming.pop_frames()

    result = whole.finalize()
    assert [frame.frame_index for frame in popped] == list(range(30))
    for frame in popped:
        expected = result.mask_logits[:, frame.frame_index]
        assert frame.track_ids == (~expected.isnan().flatten(1).any(1)).nonzero().flatten().tolist()
        assert torch.equal(frame.mask_logits, expected[frame.track_ids])
    assert torch.equal(streaming.class_probabilities(), result.class_probabilities)
    rest = streaming.finalize(num_frames=32)
    assert torch.equal(rest.class_probabilities, result.class_probabilities)
    assert (rest.first_frame, rest.mask_logits.shape[:2]) == (30, (5, 2))


def test_finalize_after_popping_starts_at_the_first_frame_kept() -> None:
    tracker = IfcClipTracker()
    tracker.update([0, 1, 2], random_logits(2, 3), random_probabilities(2))
    tracker.pop_frames(before=1)
    result = tracker.finalize()
    assert result.first_frame == 1
    assert torch.equal(result.mask_logits, random_logits(2, 3)[:, 1:])


def test_frames_in_no_window_are_left_out() -> None:
    tracker = IfcClipTracker()
    for start in (0, 5):
        tracker.update([start, start + 1], random_logits(1, 2), random_probabilities(1))
    assert [frame.frame_index for frame in tracker.pop_frames()] == [0, 1, 5, 6]
    assert tracker.pop_frames() == []


class OperationCounter(TorchDispatchMode):
    """Counts operations, and the numbers that they make; what changes a tensor in place makes none."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        makes = isinstance(result, torch.Tensor) and not func.overloadpacket.__name__.endswith("_")
        self.numbers += result.numel() if makes else 0
        return result


def test_an_update_costs_the_same_at_the_end_of_a_long_video_as_at_its_beginning() -> None:
    """So many operations of such sizes, whatever came before: 20 tracks live on, and one more comes and goes."""
    tracker, costs = IfcClipTracker(), []
    masks = torch.full((21, 3, 21, 8), -9.0)
    masks[range(21), :, range(21)] = 9.0  # a row of its own for each
    probabilities = torch.full((21, 3), 1 / 3)
    for start in range(300):
        present = 20 + (start % 10 < 5)
        with OperationCounter() as counter:
            tracker.update(range(start, start + 3), masks[:present], probabilities[:present])
        tracker.pop_frames(before=start + 1)
        costs.append((counter.operations, counter.numbers))
    assert tracker.num_tracks > 40
    assert costs[21:30] == costs[291:300]


def test_memory_of_2000_frames_is_that_of_the_windows_that_overlap() -> None:
    def visible(start: int) -> list[int]:
        return [*range(3), 4 + (start // 100) % 20]  # a new object every 100 frames

    tracker = IfcClipTracker()
    held_bytes = {}
    num_popped = 0
    for frames, _, logits, probabilities in video_windows(2000, 5, 1, visible):
        num_popped += len(tracker.pop_frames(before=frames[0]))
        tracker.update(frames, logits, probabilities)
        if frames[0] % 95 == 0:
            held_bytes[frames[0]] = (len(pickle.dumps(tracker)), tracker.num_tracks)
    num_popped += len(tracker.pop_frames())
    assert num_popped == 2000

    early_bytes, early_tracks = held_bytes[95]
    late_bytes, late_tracks = held_bytes[1995]
    assert (early_tracks, late_tracks) == (4, 23)
    row = 4 * 4  # K+1 float32
    assert late_bytes - early_bytes <= (late_tracks - early_tracks) * (row + 8) + 500
    assert max(size for size, _ in held_bytes.values()) <= 2 * early_bytes


# --- bad input ---------------------------------------------------------------------------------------------------


def bad_logits(value: float) -> Tensor:
    logits = random_logits(2, 3)
    logits[1, 2, 0, 0] = value
    return logits


GOOD = {"frame_indices": [3, 4, 5], "mask_logits": random_logits(2, 3), "class_probabilities": random_probabilities(2)}
BAD_WINDOWS = {
    "no frame": ({"frame_indices": [], "mask_logits": random_logits(2, 0)}, r"at least one frame index.*got \[\]"),
    "order": ({"frame_indices": [3, 5, 4]}, r"ascending order, got \[3, 5, 4\]"),
    "twice": ({"frame_indices": [3, 3, 4]}, r"ascending order, got \[3, 3, 4\]"),
    "negative": ({"frame_indices": [-1, 0, 1]}, r"none negative.*got \[-1, 0, 1\]"),
    "popped": ({"frame_indices": [1, 2, 3]}, r"Frames before 2 were given out by pop_frames.*starts at frame 1"),
    "frame count": (
        {"mask_logits": random_logits(2, 4)},
        r"\(instances, 3 frames, height, width\), got \(2, 4, 6, 8\)",
    ),
    "rank": ({"mask_logits": random_logits(2, 3)[0]}, r"height, width\), got \(3, 6, 8\)"),
    "flat": ({"mask_logits": random_logits(2, 3).flatten(2)}, r"height, width\), got \(2, 3, 48\)"),
    "too deep": ({"mask_logits": random_logits(2, 3)[..., None]}, r"height, width\), got \(2, 3, 6, 8, 1\)"),
    "mask size": (
        {"mask_logits": random_logits(2, 3)[..., :7]},
        r"masks of \(6, 8\) .* as in the earlier windows, got \(6, 7\) at the frames \[3, 4, 5\]",
    ),
    "instances": ({"class_probabilities": random_probabilities(3)}, r"\(2 instances, classes \+ 1\), got \(3, 4\)"),
    "classes": (
        {"class_probabilities": random_probabilities(2)[:, :3]},
        "4 class probabilities per instance as in the earlier windows, got 3",
    ),
    "mask NaN": (
        {"mask_logits": bad_logits(float("nan"))},
        r"finite mask_logits, got NaN or infinity in instance 1 at the frames \[3, 4, 5\]",
    ),
    "mask infinity": ({"mask_logits": bad_logits(float("-inf"))}, "finite mask_logits, got NaN or infinity"),
    "class NaN": (
        {"class_probabilities": torch.full((2, 4), float("nan"))},
        "finite class_probabilities, got NaN or infinity in instance 0",
    ),
}


@pytest.mark.parametrize("case", BAD_WINDOWS)
def test_bad_windows_are_refused_and_change_nothing(case: str) -> None:
    change, message = BAD_WINDOWS[case]
    tracker = IfcClipTracker()
    tracker.update([1, 2, 3], random_logits(2, 3), random_probabilities(2))
    tracker.pop_frames(before=2)
    before = pickle.dumps(tracker)
    with pytest.raises(ValueError, match=message):
        tracker.update(**{**GOOD, **change})
    assert pickle.dumps(tracker) == before
    tracker.update(**GOOD)


def test_a_window_is_compared_with_as_many_windows_as_it_has_frames() -> None:
    left, right = torch.full((1, 3, 2, 2), -20.0), torch.full((1, 3, 2, 2), -20.0)
    left[..., 0], right[..., 1] = 20.0, 20.0
    tracker, classes = IfcClipTracker(), random_probabilities(1)
    assert tracker.update([0, 1, 2], left, classes) == [0]
    assert tracker.update([1, 2, 3], right, classes) == [1]
    # The window before the last shows this object in this frame, but one frame looks back one window only.
    assert tracker.update([2], left[:, :1], classes) == [2]


class ElementsWritten(TorchDispatchMode):
    """Counts the elements of all tensors that operations make."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not (function.is_view or function._schema.is_mutable):
            self.count += result.numel()
        return result


def test_a_window_costs_the_same_however_many_tracks_there_were() -> None:
    tracker, costs = IfcClipTracker(), []
    cells = torch.full((8, 2, 8, 1), -20.0)
    cells[torch.arange(8), :, torch.arange(8)] = 20.0
    for window in range(240):  # each with an object that was not in the windows before
        with ElementsWritten() as elements:
            tracker.update([window, window + 1], cells[window % 8, None], torch.full((1, 5), 0.2))
            tracker.pop_frames(window + 1)
            tracker.class_probabilities([tracker.num_tracks - 1])
        costs.append(elements.count)
    assert tracker.num_tracks == 240
    assert median(costs[200:]) == median(costs[20:60])


def test_class_probabilities_of_some_tracks_are_those_of_all() -> None:
    tracker = IfcClipTracker()
    for start in range(0, 12, 4):  # windows that share no frames: every instance is a track of its own
        tracker.update([start, start + 1], random_logits(3, 2), random_probabilities(3))
    every = tracker.class_probabilities()
    assert every.shape == (9, 4)
    assert torch.equal(tracker.class_probabilities([7, 2]), every[[7, 2]])
    assert tracker.class_probabilities([]).shape == (0, 4)


def test_finalize_refuses_fewer_frames_than_were_tracked() -> None:
    tracker = IfcClipTracker()
    tracker.update([3, 4, 5], random_logits(1, 3), random_probabilities(1))
    with pytest.raises(ValueError, match="num_frames of at least 6, as many as were tracked, got 5"):
        tracker.finalize(num_frames=5)


def test_tracking_without_scipy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        IfcClipTracker().update([0, 1], random_logits(1, 2), random_probabilities(1))

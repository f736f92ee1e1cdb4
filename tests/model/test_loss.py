import inspect
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from golden import all_cases, golden
from ifc_hf import IfcConfig
from ifc_hf.model import loss as loss_module
from ifc_hf.model.loss import (
    assign,
    cardinality_error,
    class_error,
    classification_loss,
    count_instances,
    dice_loss,
    focal_loss,
    ifc_loss,
    match_clips,
    matched_mask_losses,
    matching_score,
    pairwise_dice,
    prepare_target_masks,
    validate_labels,
)
from loss_batches import FRAME, SCENARIOS, Offsets, random_batch, run_process, step

LAYERS = ("aux0", "aux1", "final")
SUFFIXES = {"aux0": "_0", "aux1": "_1", "final": ""}
RELATIVE = 2e-5  # of the losses; the goldens' README


# --- the authors' numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", all_cases("unit_losses"))
def test_loss_gradients_and_matching_equal_the_reference(case: str) -> None:
    tensors, info = golden(case)
    class_logits = [tensors[f"{layer}_pred_logits"].requires_grad_() for layer in LAYERS]
    mask_logits = [tensors[f"{layer}_pred_masks"].requires_grad_() for layer in LAYERS]
    labels = [{"class_labels": tensors[f"target{i}_labels"], "masks": tensors[f"target{i}_masks"]} for i in range(3)]
    size_hw = labels[0]["masks"].shape[-2:]

    loss, loss_dict = ifc_loss(class_logits, mask_logits, labels, frame_size_hw=size_hw, mask_target_stride=1)
    loss.backward()

    assert loss.item() == pytest.approx(info["total_weighted"], rel=RELATIVE)
    assert {name: value.item() for name, value in loss_dict.items()} == pytest.approx(
        info["losses_unweighted"], rel=RELATIVE
    )
    for layer, logits, masks in zip(LAYERS, class_logits, mask_logits, strict=True):
        for prediction, gradient in (
            (logits, tensors[f"{layer}_pred_logits_grad"]),
            (masks, tensors[f"{layer}_pred_masks_grad"]),
        ):
            torch.testing.assert_close(prediction.grad, gradient, rtol=1e-4, atol=1e-4 * gradient.abs().max().item())
        assert_matches(logits, masks, [x["class_labels"] for x in labels], [x["masks"] for x in labels], info, layer)


@pytest.mark.parametrize("case", all_cases("unit_losses"))
def test_dice_and_focal_equal_the_reference(case: str) -> None:
    tensors, info = golden(case)
    logits, targets = tensors["fn_inputs"], tensors["fn_targets"]
    as_clip = (slice(None), None, None, slice(None))  # (N, P) -> (N, 1, 1, P)

    torch.testing.assert_close(pairwise_dice(logits[as_clip], targets[as_clip]), tensors["fn_dice_coef"])
    assert dice_loss(logits, targets).sum().item() / info["fn_num_boxes"] == pytest.approx(info["fn_dice_loss"])
    assert focal_loss(logits, targets).sum().item() / info["fn_num_boxes"] == pytest.approx(
        info["fn_sigmoid_focal_loss"]
    )


@pytest.mark.parametrize("case", [*all_cases("padded_batch"), *all_cases("train_")])
def test_recorded_training_steps(case: str) -> None:
    tensors, info = golden(case)
    labels, frame_size_hw = recorded_labels(tensors, info["image_sizes"])
    class_labels = [label["class_labels"] for label in labels]
    target_masks = []
    for clip, label in enumerate(labels):
        target_masks.append(prepare_target_masks(label["masks"], tensors[f"video{clip}_target_masks"].shape[-2:]))
        torch.testing.assert_close(target_masks[clip], tensors[f"video{clip}_target_masks"])

    coefficients = info["weight_dict"]
    total = 0.0
    layers = [layer for layer in LAYERS if f"{layer}_pred_masks" in tensors or not any(map(len, class_labels))]
    assert "final" in layers
    for layer in layers:
        class_logits = tensors[f"{layer}_pred_logits"]
        no_masks = torch.zeros(*class_logits.shape[:2], labels[0]["masks"].shape[1], 2, 2)
        mask_logits = tensors.get(f"{layer}_pred_masks", no_masks)
        loss, loss_dict = ifc_loss([class_logits], [mask_logits], labels, frame_size_hw=frame_size_hw)
        total += loss.item()
        for name, value in loss_dict.items():
            if name == "class_error" and layer != "final":
                continue
            expected = info["losses_unweighted"][name + SUFFIXES[layer]]
            assert value.item() == pytest.approx(expected, rel=RELATIVE, abs=1e-7), name + SUFFIXES[layer]
        assert loss.item() == pytest.approx(
            sum(
                coefficients[name + SUFFIXES[layer]] * info["losses_unweighted"][name + SUFFIXES[layer]]
                for name in ("loss_ce", "loss_mask", "loss_dice")
            ),
            rel=RELATIVE,
        )
        assert_matches(class_logits, mask_logits, class_labels, target_masks, info, layer)
    if len(layers) == len(LAYERS):
        assert total == pytest.approx(info["total_weighted"], rel=RELATIVE)


def recorded_labels(tensors: dict[str, Tensor], image_sizes: list[list[int]]) -> tuple[list[dict[str, Tensor]], Any]:
    """Labels in our format from the recorded annotations of each frame, padded as the frames are."""
    height, width = (max(size) for size in zip(*image_sizes, strict=True))
    labels = []
    clip = 0
    while f"video{clip}_target_ids" in tensors:
        ids = tensors[f"video{clip}_target_ids"]  # (N, T), -1 where the instance is absent
        masks = torch.zeros(*ids.shape, height, width, dtype=torch.uint8)
        for frame in range(ids.shape[1]):
            frame_ids = tensors[f"video{clip}_frame{frame}_gt_ids"].tolist()
            frame_masks = tensors[f"video{clip}_frame{frame}_gt_masks"]
            for instance, identity in enumerate(ids[:, frame].tolist()):
                if identity != -1:
                    mask = frame_masks[frame_ids.index(identity)]
                    masks[instance, frame, : mask.shape[0], : mask.shape[1]] = mask
        labels.append({"class_labels": tensors[f"video{clip}_target_labels"], "masks": masks})
        clip += 1
    return labels, (height, width)


def assert_matches(class_logits, mask_logits, class_labels, target_masks, info, layer: str) -> None:
    matches = match_clips(class_logits, mask_logits, class_labels, target_masks)
    found = [[queries.tolist(), instances.tolist()] for queries, instances in matches]
    assert found == info["matcher_indices"][layer]


# --- small functions ------------------------------------------------------------------------------------------------


def test_dice_of_literal_masks() -> None:
    sure = torch.tensor([[100.0, 100.0, -100.0, -100.0]])
    masks = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    expected = torch.tensor([[1.0, 3 / 5, 1 / 5]])  # (2 * shared pixels + 1) / (2 + 2 + 1)

    torch.testing.assert_close(pairwise_dice(sure[:, None, None], masks[:, None, None]), expected)
    torch.testing.assert_close(dice_loss(sure.expand(3, -1), masks), 1 - expected[0])


def test_focal_of_literal_masks() -> None:
    logits = torch.zeros(2, 1)
    targets = torch.tensor([[1.0], [0.0]])
    # At probability 0.5 the cross entropy is log 2 and the miss 0.5.
    expected = torch.tensor([0.25, 0.75]) * 0.5**2 * torch.tensor(2.0).log()
    torch.testing.assert_close(focal_loss(logits, targets), expected)


def test_errors_for_logging() -> None:
    class_logits = F.one_hot(torch.tensor([[0, 1, 2, 2], [2, 2, 2, 1]]), 3).float()  # class 2 is "no object"
    class_labels = [torch.tensor([0, 0]), torch.tensor([], dtype=torch.long)]
    none = torch.tensor([], dtype=torch.long)
    matches = [(torch.tensor([0, 1]), torch.tensor([1, 0])), (none, none)]

    assert class_error(class_logits, class_labels, matches).item() == 50.0
    assert class_error(class_logits, [none, none], [(none, none)] * 2).item() == 100.0
    assert cardinality_error(class_logits, class_labels).item() == (0 + 1) / 2


@pytest.mark.parametrize("function", [ifc_loss, match_clips, matching_score, classification_loss])
def test_defaults_are_those_of_the_configuration(function: Any) -> None:
    config = IfcConfig()
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default not in (inspect.Parameter.empty, None)
    }
    assert defaults and defaults == {name: getattr(config, name) for name in defaults}


def test_matching_needs_no_gradient() -> None:
    mask_logits, targets = torch.randn(2, 1, 3, 3, requires_grad=True), torch.ones(1, 1, 3, 3)
    assert not pairwise_dice(mask_logits, targets).requires_grad
    class_logits = torch.randn(2, 3, requires_grad=True)
    assert not matching_score(class_logits, mask_logits, torch.tensor([0]), targets).requires_grad


def test_lists_of_clips_must_be_equally_long() -> None:
    class_logits, mask_logits = torch.randn(2, 3, 3), torch.randn(2, 3, 1, 4, 4)
    labels, targets = [torch.tensor([0])] * 2, [torch.ones(1, 1, 4, 4)] * 2
    matches = match_clips(class_logits, mask_logits, labels, targets)
    for call in (
        lambda: match_clips(class_logits, mask_logits, labels[:1], targets),
        lambda: matched_mask_losses(mask_logits, targets, matches[:1], 2.0),
        lambda: matched_mask_losses(mask_logits, targets[:1], matches, 2.0),
    ):
        with pytest.raises(ValueError, match="zip"):
            call()


def test_instances_are_counted_over_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [torch.tensor([0, 1, 1]), torch.tensor([], dtype=torch.long)]
    assert count_instances(labels, torch.device("cpu")).item() == 3.0
    assert count_instances(labels[1:], torch.device("cpu")).item() == 1.0
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda count, op: count.add_(4.0))  # the other's
    assert count_instances(labels, torch.device("cpu")).item() == 3.5
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    assert count_instances(labels, torch.device("cpu")).item() == 3.0


def test_pairwise_dice_in_chunks_equals_the_naive_array(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mask_logits, targets = torch.randn(7, 4, 5, 6), torch.rand(3, 4, 9, 11)
    probabilities = F.interpolate(mask_logits, size=(9, 11), mode="bilinear").sigmoid()[:, None]
    naive = (2 * (probabilities * targets).sum((2, 3, 4)) + 1) / (
        probabilities.sum((2, 3, 4)) + targets.sum((1, 2, 3)) + 1
    )
    torch.testing.assert_close(pairwise_dice(mask_logits, targets), naive)
    monkeypatch.setattr(loss_module, "MATCHING_CHUNK_ELEMENTS", 3 * 7 * 9 * 11)  # chunks of 3 frames and 1
    torch.testing.assert_close(pairwise_dice(mask_logits, targets), naive)


def test_assign_finds_the_best_total_for_more_and_for_fewer_queries_than_instances() -> None:
    score = torch.tensor([[0.9, 0.8], [0.8, 0.1], [0.0, 0.0]])  # greedy would take 0.9 + 0.1
    queries, instances = assign(score)
    assert (queries.tolist(), instances.tolist()) == ([0, 1], [1, 0])
    queries, instances = assign(score.T)
    assert (queries.tolist(), instances.tolist()) == ([0, 1], [1, 0])


def test_assign_without_scipy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        assign(torch.zeros(1, 1))


class LargestTensor(TorchDispatchMode):
    """Size in elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def test_matching_makes_no_array_of_queries_by_instances_by_pixels() -> None:
    Q, N, T, h, w = 100, 30, 5, 90, 160
    mask_logits, targets = torch.zeros(Q, T, h // 2, w // 2), torch.zeros(N, T, h, w)
    with LargestTensor() as largest:
        matching_score(torch.zeros(Q, 41), mask_logits, torch.zeros(N, dtype=torch.long), targets)
    assert largest.elements <= max(loss_module.MATCHING_CHUNK_ELEMENTS, targets.numel())  # naive: 216 million
    assert largest.elements * 50 < Q * N * T * h * w


# --- the sum --------------------------------------------------------------------------------------------------------


def test_no_instance_trains_the_classification_alone_and_stays_connected() -> None:
    class_logits, mask_logits, labels = random_batch([0, 0])
    loss, loss_dict = ifc_loss(class_logits, mask_logits, labels, **FRAME)
    loss.backward()
    assert loss_dict["loss_mask"].item() == loss_dict["loss_dice"].item() == 0
    assert loss_dict["class_error"].item() == 100
    assert loss.item() == pytest.approx(loss_dict["loss_ce"].item() + loss_dict["loss_ce_0"].item())
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in class_logits)
    assert all(x.grad is not None and x.grad.abs().sum() == 0 for x in mask_logits)


def test_more_instances_than_queries_match_as_many_as_there_are_queries() -> None:
    class_logits, mask_logits, labels = random_batch([9], layers=1)
    loss, loss_dict = ifc_loss(class_logits, mask_logits, labels, **FRAME)
    loss.backward()
    assert torch.isfinite(loss)
    assert (mask_logits[0].grad.flatten(2).abs().sum(2) > 0).all()


def test_an_instance_whose_mask_is_empty_is_matched_and_counted() -> None:
    class_logits, mask_logits, labels = random_batch([1], layers=1)
    labels[0]["masks"].zero_()
    _, loss_dict = ifc_loss(class_logits, mask_logits, labels, **FRAME)
    assert loss_dict["loss_dice"].item() > 0.5


def test_frame_sizes_that_the_stride_does_not_divide_round_up() -> None:
    class_logits, mask_logits, labels = random_batch([2], layers=1)
    labels[0]["masks"] = labels[0]["masks"][..., :30, :45]
    with LargestTensor() as largest:
        ifc_loss(class_logits, mask_logits, labels, frame_size_hw=(30, 45), mask_target_stride=1)
    assert largest.elements >= 6 * 2 * 30 * 45
    loss, _ = ifc_loss(class_logits, mask_logits, labels, frame_size_hw=(30, 45))
    targets = prepare_target_masks(labels[0]["masks"], (8, 12))
    again = [{"class_labels": labels[0]["class_labels"], "masks": targets}]
    expected, _ = ifc_loss(class_logits, mask_logits, again, frame_size_hw=(8, 12), mask_target_stride=1)
    assert loss.item() == pytest.approx(expected.item())


def test_coefficients_weight_the_terms() -> None:
    class_logits, mask_logits, labels = random_batch([2, 1])
    weights = {"class_loss_coefficient": 0.5, "mask_loss_coefficient": 2.0, "dice_loss_coefficient": 7.0}
    loss, terms = ifc_loss(class_logits, mask_logits, labels, **FRAME, **weights)
    expected = sum(
        0.5 * terms["loss_ce" + s] + 2 * terms["loss_mask" + s] + 7 * terms["loss_dice" + s] for s in ("", "_0")
    )
    assert loss.item() == pytest.approx(expected.item())


def test_given_number_of_instances_divides_the_sums() -> None:
    class_logits, mask_logits, labels = random_batch([2, 1])
    _, own = ifc_loss(class_logits, mask_logits, labels, **FRAME)
    _, given = ifc_loss(class_logits, mask_logits, labels, **FRAME, num_instances=12.0)
    assert given["loss_mask"].item() == pytest.approx(own["loss_mask"].item() * 3 / 12)
    assert given["loss_ce"].item() == own["loss_ce"].item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_predictions_are_summed_in_float32(dtype: torch.dtype) -> None:
    class_logits, mask_logits, labels = random_batch([2, 1])
    half_classes = [x.detach().to(dtype).requires_grad_() for x in class_logits]
    half_masks = [x.detach().to(dtype).requires_grad_() for x in mask_logits]
    expected, _ = ifc_loss([x.float() for x in half_classes], [x.float() for x in half_masks], labels, **FRAME)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = ifc_loss(half_classes, half_masks, labels, **FRAME)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()
    assert half_masks[0].grad.dtype == dtype
    assert half_masks[0].grad.isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["class logits", "mask logits"])
def test_non_finite_predictions_are_named(kind: str, value: float) -> None:
    class_logits, mask_logits, labels = random_batch([1, 1], layers=3)
    tensors = class_logits if kind == "class logits" else mask_logits
    with torch.no_grad():
        tensors[1][1, 4].flatten()[0] = value
        tensors[2][0, 0] = value  # a later one
    message = rf"got {value} in the {kind} of decoder layer 1 \(of 3, counted from 0\), clip 1 of the batch, query 4"
    with pytest.raises(ValueError, match=message):
        ifc_loss(class_logits, mask_logits, labels, **FRAME)


# --- several processes ----------------------------------------------------------------------------------------------


def test_two_processes_train_like_one_with_the_joined_batch(tmp_path: Path) -> None:
    mp.spawn(run_process, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for scenario in range(len(SCENARIOS)):
        joined = step(Offsets(), scenario, slice(None))
        mean_loss = (first[scenario]["loss"] + second[scenario]["loss"]) / 2
        torch.testing.assert_close(mean_loss, joined["loss"])
        for name in ("classes", "masks"):
            torch.testing.assert_close(first[scenario][name], joined[name])
            torch.testing.assert_close(second[scenario][name], joined[name])
        assert joined["masks"].abs().sum() > 0


# --- bad labels -----------------------------------------------------------------------------------------------------


def good_label() -> dict[str, Any]:
    return {"class_labels": torch.tensor([0, 3]), "masks": torch.ones(2, 2, 32, 48)}


def masks_with(value: float) -> Tensor:
    masks = torch.ones(2, 2, 32, 48)
    masks[1, 0, 5, 7] = value
    return masks


SHAPE_MESSAGE = r'labels\[1\]\["masks"\] must have the shape .* = \(2, 2, 32, 48\) .*got '
BAD_LABELS = {
    "missing key": ({"masks": None}, r"labels\[1\] must hold tensors under \['masks'\]"),
    "a list": ({"class_labels": [0, 3]}, r"labels\[1\] must hold tensors under \['class_labels'\]"),
    "class too large": (
        {"class_labels": torch.tensor([0, 4])},
        r'labels\[1\]\["class_labels"\]\[1\] is 4, but the model has 4 classes: expected 0 to 3',
    ),
    "class negative": ({"class_labels": torch.tensor([-1, 0])}, r'"class_labels"\]\[0\] is -1'),
    "class not integer": ({"class_labels": torch.tensor([0.0, 1.0])}, r"must be integers .*got torch.float32"),
    "class labels of two axes": ({"class_labels": torch.zeros(2, 1, dtype=torch.long)}, r"of shape \(2, 1\)"),
    "frame count": ({"masks": torch.ones(2, 3, 32, 48)}, SHAPE_MESSAGE + r"\(2, 3, 32, 48\)"),
    "frame size": ({"masks": torch.ones(2, 2, 32, 40)}, SHAPE_MESSAGE + r"\(2, 2, 32, 40\)"),
    "instance count": ({"masks": torch.ones(1, 2, 32, 48)}, SHAPE_MESSAGE + r"\(1, 2, 32, 48\)"),
    "masks of three axes": ({"masks": torch.ones(2, 32, 48)}, SHAPE_MESSAGE + r"\(2, 32, 48\)"),
    "mask value": (
        {"masks": masks_with(0.5)},
        r"must hold only 0 and 1, got 0.5 \(instance 1, frame 0, row 5, column 7\)",
    ),
    "mask value 255": ({"masks": masks_with(255).to(torch.uint8)}, r"must hold only 0 and 1, got 255 "),
    "mask NaN": ({"masks": masks_with(float("nan"))}, r"must hold only 0 and 1, got nan \(instance 1, frame 0"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels_are_refused(case: str) -> None:
    change, message = BAD_LABELS[case]
    labels = [good_label(), {**good_label(), **change}]
    with pytest.raises(ValueError, match=message):
        validate_labels(labels, batch_size=2, num_frames=2, num_classes=4, **FRAME)


def test_number_of_label_dicts_must_be_the_batch_size() -> None:
    with pytest.raises(ValueError, match="Expected one labels dict per clip, that is 3, got 2"):
        validate_labels([good_label()] * 2, batch_size=3, num_frames=2, num_classes=4, **FRAME)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.bfloat16])
def test_good_labels_pass_in_every_dtype(dtype: torch.dtype) -> None:
    label = {**good_label(), "masks": good_label()["masks"].to(dtype)}
    empty = {"class_labels": torch.zeros(0, dtype=torch.long), "masks": torch.zeros(0, 2, 32, 48, dtype=dtype)}
    validate_labels([label, empty], batch_size=2, num_frames=2, num_classes=4, **FRAME)

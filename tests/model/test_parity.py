"""The network and its training against the numbers of the authors' implementation.

Tolerances: what the goldens' README suggests, or 10 times the noise that was measured on the original itself (other
thread counts, with and without oneDNN, against float64) where that is tighter.

| quantity                          | noise of the original | suggested | used here        |
| backbone maps                     | 1.2e-5                | 1e-4      | 1e-4             |
| hidden states of encoder, decoder | 7e-6                  | 1e-4      | 7e-5             |
| class logits                      | 2e-5                  | 2e-4      | 2e-4             |
| probabilities                     | 3e-6                  | 2e-5      | 2e-5             |
| mask logits (range +-40)          | 1.3e-4                | 1e-3      | 1e-3             |
| losses, relative                  | 4e-6                  | 2e-5      | 2e-5             |
| gradients in float64, relative    | 1.4e-5                |           | 1.4e-5           |
| gradient norms in float32, rel.   | 1.4e-5                | 2e-3      | 2e-3             |

Gradients are compared twice. In float32 a ReLU of the backbone whose input is almost 0 can be on in one implementation
and off in the other, which moves single entries by up to 1e-2 (recorded by the README) and norms of convolutions by
4e-4 (measured here: `train_no_targets_one`, and `padded_batch_train` with another formula of the frozen batch norm).
In float64 there are no such flips, so there every norm and entry has to agree within the original's own noise.
"""

import copy
import dataclasses
import functools

import pytest
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from golden import CLASS_LOGITS, all_cases, assert_close, case_description, golden, normalised
from ifc_hf.conversion import to_original_state_dict
from ifc_hf.model.loss import match_clips, prepare_target_masks

BACKBONE = 1e-4
HIDDEN = 7e-5
PROBABILITIES = 2e-5
MASK_LOGITS = 1e-3
LOSSES_RELATIVE = 2e-5
GRADIENTS_FLOAT64_RELATIVE = 1.4e-5
GRADIENT_NORMS_FLOAT32_RELATIVE = 2e-3
# Exactly zero in theory (the decoder starts from zeros); recorded as noise of this size.
ZERO_GRADIENT = "detr.transformer.clip_decoder.layers.0.self_attn.in_proj_weight"
ZERO_GRADIENT_NOISE = 1e-5

CLIP_CASES = all_cases("clip_")
TRAIN_CASES = all_cases("padded_batch_train") + all_cases("train_")
LAYERS = ["aux0", "aux1", "final"]


def padded(clips: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(T, C, H, W) clips of several sizes as one (B, T, C, H, W) batch with its (B, T, H, W) pixel mask."""
    height, width = (max(clip.shape[axis] for clip in clips) for axis in (-2, -1))
    batch = torch.zeros(len(clips), *clips[0].shape[:2], height, width)
    mask = torch.zeros(len(clips), clips[0].shape[0], height, width, dtype=torch.bool)
    for index, clip in enumerate(clips):
        batch[index, ..., : clip.shape[-2], : clip.shape[-1]] = clip
        mask[index, ..., : clip.shape[-2], : clip.shape[-1]] = True
    return batch, mask


# --- One clip -------------------------------------------------------------------------------------


@dataclasses.dataclass
class ClipRun:
    """What one clip gave: every stage in the layout of the goldens, tensors on record and their JSON."""

    stages: dict[str, Tensor]
    tensors: dict[str, Tensor]
    info: dict


@pytest.fixture(scope="module")
def run_clip(golden_model):
    @functools.lru_cache
    @torch.no_grad()
    def run(case: str) -> ClipRun:
        tensors, info = golden(case)
        variant = case_description(case)["variant"]
        model = golden_model(variant)
        pixel_values = normalised(tensors["frames_rgb"], variant)
        stages, hooks = {"pixel_values": pixel_values}, []

        def record(module, name, layout):
            hooks.append(module.register_forward_hook(lambda _, __, output: stages.update({name: layout(output)})))

        network = model.model
        for stage, module in enumerate(network.backbone.encoder.stages):
            record(module, f"res{stage + 2}", lambda output: output)
        record(network.input_projection, "input_proj", lambda output: output)
        map_size = tuple(-(-size // 32) for size in pixel_values.shape[-2:])
        record(network.position_embedding, "pos_embed", lambda x: x[0].transpose(1, 2).unflatten(2, map_size))
        for layer, module in enumerate(network.encoder.layers):
            record(module.gather, f"enc_layer{layer}", lambda x: x.transpose(0, 1))  # (T, P + M, C) -> (P + M, T, C)
            record(module.communicate, f"bus_layer{layer}", lambda x: x.transpose(0, 1))  # (M, T, C) -> (T, M, C)
        for layer, module in enumerate(network.decoder.layers):
            record(module, f"dec_layer{layer}", lambda x: x.transpose(0, 1))  # (1, Q, C) -> (Q, 1, C)
        record(model.mask_head, "mask_features", lambda x: x[0])
        labels = {"class_labels": torch.zeros(0, dtype=torch.long), "masks": torch.zeros(0, *pixel_values[:, 0].shape)}
        outputs = model(pixel_values[None], labels=[labels])
        for hook in hooks:
            hook.remove()

        stages["encoder_out"] = outputs.encoder_last_hidden_state[0]
        stages["memory_bus_out"] = outputs.memory_tokens[0].transpose(0, 1)
        stages["decoder_hidden"] = outputs.last_hidden_state[:, :, None]
        stages["mask_embed"] = model.mask_head.query_mlp(outputs.last_hidden_state)[None]
        stages["pred_logits"] = stages["final_pred_logits_is_train"] = outputs.class_queries_logits
        stages["pred_masks"] = outputs.masks_queries_logits
        for layer, auxiliary in enumerate(outputs.auxiliary_outputs):
            stages[f"aux{layer}_pred_logits"] = auxiliary["class_queries_logits"]
            stages[f"aux{layer}_pred_masks"] = auxiliary["masks_queries_logits"]
        return ClipRun(stages, tensors, info)

    return run


def tolerance_of(stage: str) -> float:
    if stage.endswith(("pred_logits", "is_train")):
        return CLASS_LOGITS
    if stage.endswith("pred_masks"):
        return MASK_LOGITS
    return BACKBONE if stage.startswith("res") or stage == "pixel_values" else HIDDEN


@pytest.mark.parametrize("case", CLIP_CASES)
def test_every_recorded_tensor_of_a_clip(case, run_clip):
    run = run_clip(case)
    compared = run.stages.keys() & run.tensors.keys()
    assert {"pred_logits", "memory_bus_out"} <= compared
    for stage in compared:
        assert_close(run.stages[stage], run.tensors[stage], tolerance_of(stage), stage)


@pytest.mark.parametrize("case", CLIP_CASES)
def test_sampled_values_of_every_stage_of_a_clip(case, run_clip):
    run = run_clip(case)
    checksums = {name: row for name, row in run.info["checksums"].items() if not name.startswith("clip_")}
    assert checksums.keys() <= run.stages.keys()
    for stage, row in checksums.items():
        actual, tolerance = run.stages[stage], tolerance_of(stage)
        assert list(actual.shape) == row["shape"], stage
        values = actual.flatten()[row["flat_index"]]
        assert_close(values, torch.tensor(row["values"]), tolerance, stage)
        assert actual.mean(dtype=torch.float64).item() == pytest.approx(row["mean"], abs=tolerance), stage
        assert actual.abs().max().item() == pytest.approx(row["abs_max"], abs=tolerance), stage


@pytest.mark.parametrize("case", CLIP_CASES)
def test_kept_queries_of_a_clip(case, run_clip):
    run = run_clip(case)
    probabilities = run.stages["pred_logits"][0].softmax(-1)
    assert probabilities.argmax(-1).tolist() == run.info["argmax_label"]
    kept = (probabilities.argmax(-1) < probabilities.shape[-1] - 1).nonzero()[:, 0]
    assert kept.tolist() == run.info["valid_queries"]
    scores, labels = probabilities[kept, :-1].max(-1)
    assert labels.tolist() == run.tensors["clip_labels"].tolist()
    assert_close(scores, run.tensors["clip_scores"], PROBABILITIES, "scores")
    assert_close(probabilities[kept], run.tensors["clip_probs"], PROBABILITIES, "probabilities")


# --- Training -------------------------------------------------------------------------------------


@dataclasses.dataclass
class TrainRun:
    """One forward and backward pass in train mode."""

    loss: float
    loss_dict: dict[str, float]
    class_logits: dict[str, Tensor]
    mask_logits: dict[str, Tensor]
    labels: list[dict[str, Tensor]]
    frame_size_hw: tuple[int, int]
    gradients: dict[str, Tensor]  # by the authors' names; parameters without a gradient are absent
    tensors: dict[str, Tensor]
    info: dict


def golden_labels(tensors: dict[str, Tensor], clip: int, num_frames: int) -> dict[str, Tensor]:
    """Our labels of one clip out of its per-frame annotations; id -1 means that an instance isn't in that frame."""
    frames = [f"video{clip}_frame{frame}_gt_" for frame in range(num_frames)]
    ids = torch.stack([tensors[f"{frame}ids"] for frame in frames], dim=1)  # (N, T)
    classes = torch.stack([tensors[f"{frame}classes"] for frame in frames], dim=1)
    masks = torch.stack([tensors[f"{frame}masks"] for frame in frames], dim=1)  # (N, T, H, W)
    is_present = ids != -1
    is_kept = is_present.any(1)
    first_frame = is_present.int().argmax(1)
    class_labels = classes.gather(1, first_frame[:, None])[:, 0]
    return {"class_labels": class_labels[is_kept], "masks": (masks * is_present[..., None, None])[is_kept]}


@pytest.fixture(scope="module")
def run_training(golden_model):
    @functools.lru_cache
    def network(variant: str, dtype: torch.dtype):
        model = golden_model(variant)
        return model if dtype == torch.float32 else copy.deepcopy(model).to(dtype)

    @functools.lru_cache
    def run(case: str, dtype: torch.dtype = torch.float32) -> TrainRun:
        tensors, info = golden(case)
        variant = case_description(case)["variant"]
        num_clips = sum(name.endswith("_frames_rgb") for name in tensors)
        clips = [normalised(tensors[f"video{clip}_frames_rgb"], variant) for clip in range(num_clips)]
        pixel_values, pixel_mask = padded(clips)
        frame_size_hw = tuple(pixel_values.shape[-2:])
        labels = [golden_labels(tensors, clip, pixel_values.shape[1]) for clip in range(num_clips)]
        for label in labels:
            height, width = label["masks"].shape[-2:]
            bottom_right = (0, frame_size_hw[1] - width, 0, frame_size_hw[0] - height)
            label["masks"] = torch.nn.functional.pad(label["masks"], bottom_right)

        model = network(variant, dtype).train()
        outputs = model(pixel_values.to(dtype), pixel_mask, labels=labels)
        outputs.loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        model.eval()
        layers = dict(zip(LAYERS, [*outputs.auxiliary_outputs, outputs], strict=True))
        return TrainRun(
            loss=outputs.loss.item(),
            loss_dict={name: value.item() for name, value in outputs.loss_dict.items()},
            class_logits={name: layers[name]["class_queries_logits"].detach() for name in LAYERS},
            mask_logits={name: layers[name]["masks_queries_logits"].detach() for name in LAYERS},
            labels=labels,
            frame_size_hw=frame_size_hw,
            gradients=to_original_state_dict(gradients, partial=True),
            tensors=tensors,
            info=info,
        )

    return run


def target_masks(run: TrainRun) -> list[Tensor]:
    target_size_hw = tuple(-(-size // 4) for size in run.frame_size_hw)
    return [prepare_target_masks(label["masks"], target_size_hw) for label in run.labels]


@pytest.mark.parametrize("case", TRAIN_CASES)
def test_outputs_of_every_decoder_layer_in_training(case, run_training):
    run = run_training(case)
    for layer in LAYERS:
        name = f"{layer}_pred_logits"
        assert_close(run.class_logits[layer], run.tensors[name], CLASS_LOGITS, name)
        name = f"{layer}_pred_masks"
        if name in run.tensors:
            assert_close(run.mask_logits[layer], run.tensors[name], MASK_LOGITS, name)


@pytest.mark.parametrize("case", TRAIN_CASES)
def test_targets(case, run_training):
    run = run_training(case)
    for clip, masks in enumerate(target_masks(run)):
        assert run.labels[clip]["class_labels"].tolist() == run.tensors[f"video{clip}_target_labels"].tolist()
        for kind in ("target_masks", "target_match_masks"):
            assert_close(masks, run.tensors[f"video{clip}_{kind}"], 1e-6, f"video{clip}_{kind}")


@pytest.mark.parametrize("case", TRAIN_CASES)
def test_matching_of_every_decoder_layer(case, run_training):
    run = run_training(case)
    class_labels = [label["class_labels"] for label in run.labels]
    for layer in LAYERS:
        matches = match_clips(run.class_logits[layer], run.mask_logits[layer], class_labels, target_masks(run))
        found = [[queries.tolist(), instances.tolist()] for queries, instances in matches]
        assert found == run.info["matcher_indices"][layer], layer


@pytest.mark.parametrize("case", TRAIN_CASES)
def test_every_loss_term(case, run_training):
    run = run_training(case)
    assert run.loss_dict == pytest.approx(run.info["losses_unweighted"], rel=LOSSES_RELATIVE)
    assert run.loss == pytest.approx(run.info["total_weighted"], rel=LOSSES_RELATIVE)


@pytest.mark.parametrize("case", TRAIN_CASES)
def test_exactly_the_frozen_parameters_have_no_gradient(case, run_training):
    run = run_training(case)
    trained = {name for name, requires_grad in run.info["requires_grad"].items() if requires_grad}
    assert run.gradients.keys() == trained


@pytest.mark.parametrize("case", TRAIN_CASES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, GRADIENT_NORMS_FLOAT32_RELATIVE), (torch.float64, GRADIENTS_FLOAT64_RELATIVE)],
    ids=["float32", "float64"],
)
def test_gradient_norm_of_every_parameter(case, dtype, tolerance, run_training):
    run = run_training(case, dtype)
    norms = {name: norm for name, norm in run.info["grad_l2_norm"].items() if norm is not None}
    assert norms.keys() == run.gradients.keys()
    assert run.gradients[ZERO_GRADIENT].norm() < ZERO_GRADIENT_NOISE
    del norms[ZERO_GRADIENT]
    actual = {name: run.gradients[name].double().norm().item() for name in norms}
    assert actual == pytest.approx(norms, rel=tolerance, abs=1e-9)
    total = sum(norm**2 for norm in actual.values()) ** 0.5
    assert total == pytest.approx(run.info["grad_total_l2_norm"], rel=tolerance)


@pytest.mark.parametrize("case", TRAIN_CASES)
def test_gradient_entries(case, run_training):
    run = run_training(case, torch.float64)
    for name, row in run.info["grad_samples"].items():
        if name != ZERO_GRADIENT:
            assert list(run.gradients[name].shape) == row["shape"], name
            values = run.gradients[name].flatten()[row["flat_index"]]
            tolerance = GRADIENTS_FLOAT64_RELATIVE * row["abs_max"] + 1e-9
            assert_close(values, torch.tensor(row["values"]), tolerance, name)


@pytest.mark.parametrize("case", TRAIN_CASES)
def test_whole_gradients(case, run_training):
    run = run_training(case, torch.float64)
    names = [name for name in run.tensors if name.startswith("grad:")]
    assert names
    for name in names:
        actual, expected = run.gradients[name.removeprefix("grad:")], run.tensors[name]
        assert (actual - expected).norm() <= GRADIENTS_FLOAT64_RELATIVE * expected.norm(), name


# --- Images ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coco_outputs(golden_model):
    tensors, _ = golden("coco_image")
    images = [normalised(tensors[f"image{index}_rgb"][None], "r50_coco") for index in range(2)]
    pixel_values, pixel_mask = padded(images)
    with torch.no_grad():
        return golden_model("r50_coco")(pixel_values, pixel_mask), pixel_mask


def test_logits_of_a_padded_batch_of_images(coco_outputs):
    tensors, _ = golden("coco_image")
    outputs, _ = coco_outputs
    assert_close(outputs.class_queries_logits, tensors["pred_logits"], CLASS_LOGITS, "pred_logits")
    assert_close(outputs.masks_queries_logits, tensors["pred_masks"], MASK_LOGITS, "pred_masks")


def test_instances_of_images_at_their_original_size(coco_outputs):
    from ifc_hf import IfcImageProcessor

    tensors, info = golden("coco_image")
    outputs, pixel_mask = coco_outputs
    results = IfcImageProcessor().post_process_instance_segmentation(
        outputs, target_sizes=[image["output_size"] for image in info["images"]], pixel_mask=pixel_mask
    )
    differing_pixels = 0
    for index, (result, image) in enumerate(zip(results, info["images"], strict=True)):
        assert result["labels"].tolist() == tensors[f"image{index}_classes"].tolist()
        assert_close(result["scores"], tensors[f"image{index}_scores"], PROBABILITIES, "scores")
        assert_close(result["boxes"], tensors[f"image{index}_boxes"], 1e-4, "boxes")
        expected = torch.from_numpy(coco_mask.decode(image["masks_rle"])).permute(2, 0, 1).bool()
        differing_pixels += (result["masks"] != expected).sum().item()
    # The original's own masks differ by up to 4 pixels a case between 1 and 2 threads, where a logit is almost 0.
    assert differing_pixels <= 4

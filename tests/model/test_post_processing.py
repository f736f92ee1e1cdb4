"""Logits to instances: the authors' numbers, a plain transcription, padding, and bad input."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden import golden
from ifc_hf.model import post_processing
from ifc_hf.model.image_processing_ifc import IfcImageProcessor
from ifc_hf.model.masks import decode_rle
from ifc_hf.model.post_processing import resized_above

PROCESSOR = IfcImageProcessor()


def random_outputs(B=2, Q=12, T=1, h=3, w=5, K=4, seed=0) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(B, Q, T, 2, 3, generator=generator)
    masks = F.interpolate(coarse.flatten(0, 1), size=(h, w), mode="bilinear").unflatten(0, (B, Q)) * 5 - 1
    return SimpleNamespace(
        class_queries_logits=3 * torch.randn(B, Q, K + 1, generator=generator), masks_queries_logits=masks
    )


def mask_of_sizes(sizes: list[list[tuple[int, int]]], T: int, H: int, W: int) -> torch.Tensor:
    """(B, T, H, W), True inside each frame's size; frames that are not listed are padding."""
    pixel_mask = torch.zeros(len(sizes), T, H, W, dtype=torch.bool)
    for clip, frames in enumerate(sizes):
        for frame, (height, width) in enumerate(frames):
            pixel_mask[clip, frame, :height, :width] = True
    return pixel_mask


def bilinear(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def plain_image_results(logits, mask_logits, frame_hw, padded_hw, output_hw):
    """One query after the other, as the specification says it: (score, label, mask, box)."""
    results = []
    for query in range(len(logits)):
        probabilities = logits[query].softmax(0)
        label = int(probabilities.argmax())
        if label == len(probabilities) - 1:
            continue
        mask = bilinear(mask_logits[query], padded_hw)[: frame_hw[0], : frame_hw[1]] > 0
        if not mask.any():
            continue
        rows, columns = mask.nonzero().T
        scale_y, scale_x = output_hw[0] / frame_hw[0], output_hw[1] / frame_hw[1]
        box = [
            columns.min() * scale_x, rows.min() * scale_y, (columns.max() + 1) * scale_x, (rows.max() + 1) * scale_y
        ]  # fmt: skip
        results.append((probabilities[label], label, bilinear(mask.float(), output_hw) > 0.5, box))
    return results


def test_images_of_the_reference():
    tensors, info = golden("coco_image")
    outputs = SimpleNamespace(class_queries_logits=tensors["pred_logits"], masks_queries_logits=tensors["pred_masks"])
    sizes = [[tuple(image["input_size"])] for image in info["images"]]
    H, W = (max(size[0][axis] for size in sizes) for axis in (0, 1))
    results = PROCESSOR.post_process_instance_segmentation(
        outputs,
        target_sizes=[image["output_size"] for image in info["images"]],
        pixel_mask=mask_of_sizes(sizes, 1, H, W),
    )
    for index, (result, image) in enumerate(zip(results, info["images"], strict=True)):
        assert len(result["scores"]) == image["n"]
        assert torch.allclose(result["scores"], tensors[f"image{index}_scores"], rtol=0, atol=2e-5)
        assert torch.equal(result["labels"], tensors[f"image{index}_classes"])
        assert torch.allclose(result["boxes"], tensors[f"image{index}_boxes"], rtol=0, atol=1e-4)
        for mask, rle in zip(result["masks"], image["masks_rle"], strict=True):
            assert np.array_equal(mask.numpy(), decode_rle(rle))


@pytest.mark.parametrize("target_sizes", [None, [(40, 61), (17, 23)]])
def test_images_equal_a_plain_transcription(target_sizes):
    outputs = random_outputs()
    outputs.masks_queries_logits[0, 3] = -1  # an empty mask is dropped
    frames = [(20, 33), (23, 40)]
    results = PROCESSOR.post_process_instance_segmentation(
        outputs, target_sizes, pixel_mask=mask_of_sizes([[size] for size in frames], 1, 23, 40)
    )
    for index, result in enumerate(results):
        expected = plain_image_results(
            outputs.class_queries_logits[index],
            outputs.masks_queries_logits[index, :, 0],
            frames[index],
            (23, 40),
            target_sizes[index] if target_sizes else frames[index],
        )
        scores, labels, masks, boxes = zip(*expected, strict=True)
        assert torch.allclose(result["scores"], torch.stack(scores))
        assert result["labels"].tolist() == list(labels)
        assert torch.equal(result["masks"], torch.stack(masks))
        assert torch.allclose(result["boxes"], torch.tensor(boxes))


def test_images_without_a_pixel_mask():
    results = PROCESSOR.post_process_instance_segmentation(random_outputs())
    assert all(result["masks"].shape[1:] == (24, 40) for result in results)


def test_clips_are_resized_straight_to_the_output():
    outputs = random_outputs(B=1, T=3)
    (result,) = PROCESSOR.post_process_video_instance_segmentation(outputs, target_sizes=[(50, 70)])
    probabilities = outputs.class_queries_logits[0].softmax(-1)
    kept = [query for query in range(12) if probabilities[query].argmax() != 4]
    expected = [
        torch.stack([bilinear(outputs.masks_queries_logits[0, query, t], (50, 70)) > 0 for t in range(3)])
        for query in kept
    ]
    assert torch.equal(result["masks"], torch.stack(expected))
    assert torch.allclose(result["scores"], probabilities[kept].max(-1).values)
    assert result["labels"].tolist() == probabilities[kept].argmax(-1).tolist()
    assert set(result) == {"scores", "labels", "masks"}


@pytest.mark.parametrize("target_sizes", [None, [(50, 70), (64, 32)]])
def test_a_clip_in_a_padded_batch_gives_what_it_gives_alone(target_sizes):
    # Stride-8 maps: clip 0 has 20x33 pixels, 3x5 of the 4x6 entries and 2 of 3 frames are its own.
    outputs = random_outputs(B=2, T=3, h=4, w=6)
    pixel_mask = mask_of_sizes([[(20, 33)] * 2, [(31, 48)] * 3], 3, 31, 48)
    batch = PROCESSOR.post_process_video_instance_segmentation(outputs, target_sizes, pixel_mask=pixel_mask)
    alone = SimpleNamespace(
        class_queries_logits=outputs.class_queries_logits[:1],
        masks_queries_logits=outputs.masks_queries_logits[:1, :, :2, :3, :5],
    )
    (expected,) = PROCESSOR.post_process_video_instance_segmentation(
        alone, target_sizes and target_sizes[:1], pixel_mask=pixel_mask[:1, :2, :20, :33]
    )
    assert expected["masks"].shape[1:] == (2, *(target_sizes[0] if target_sizes else (20, 33)))
    for key, value in expected.items():
        assert torch.equal(batch[0][key], value)
    assert batch[1]["masks"].shape[1:] == (3, *(target_sizes[1] if target_sizes else (31, 48)))


def test_threshold_drops_low_scores():
    outputs = random_outputs(T=2)
    everything = PROCESSOR.post_process_video_instance_segmentation(outputs)
    cut = PROCESSOR.post_process_video_instance_segmentation(outputs, threshold=0.9)
    for all_found, found in zip(everything, cut, strict=True):
        high = all_found["scores"] > 0.9
        assert 0 < high.sum() < len(high)
        assert torch.equal(found["masks"], all_found["masks"][high])


def test_nothing_found():
    outputs = random_outputs(T=1)
    outputs.class_queries_logits[..., -1] = 100
    for post_process in (
        PROCESSOR.post_process_instance_segmentation,
        PROCESSOR.post_process_video_instance_segmentation,
    ):
        for result in post_process(outputs, target_sizes=torch.tensor([[30, 40], [20, 50]])):
            assert {len(values) for values in result.values()} == {0}


def test_half_precision_logits():
    outputs = random_outputs(T=2)
    half = SimpleNamespace(**{name: value.bfloat16() for name, value in vars(outputs).items()})
    same = SimpleNamespace(**{name: value.float() for name, value in vars(half).items()})
    for a, b in zip(*map(PROCESSOR.post_process_video_instance_segmentation, (half, same)), strict=True):
        assert torch.equal(a["masks"], b["masks"])
        assert torch.equal(a["scores"], b["scores"])


def test_resizing_in_parts_changes_nothing(monkeypatch):
    values = torch.randn(7, 4, 5)
    whole = resized_above(values, (16, 20), 0.0)
    monkeypatch.setattr(post_processing, "MAX_RESIZED_PIXELS", 2 * 16 * 20)
    assert torch.equal(resized_above(values, (16, 20), 0.0), whole)


def test_a_clip_where_there_should_be_an_image():
    with pytest.raises(ValueError, match="expected outputs of one frame, got 2: use post_process_video"):
        PROCESSOR.post_process_instance_segmentation(random_outputs(T=2))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"target_sizes": [(10, 10)]}, "target_sizes: expected 2, one .* got 1"),
        ({"target_sizes": [(10, 10), (0, 5)]}, r"target_sizes\[1\]: expected \(height, width\) .* got \(0, 5\)"),
        ({"pixel_mask": torch.ones(2, 2, 24, 40, dtype=torch.bool)}, r"\(2, 1, \.\.\.\) .* got \(2, 2, 24, 40\)"),
        ({"pixel_mask": torch.ones(2, 1, 25, 40, dtype=torch.bool)}, "stride-8 maps of 3x5, got"),
        ({"pixel_mask": torch.zeros(2, 1, 24, 40, dtype=torch.bool)}, "0"),
    ],
)
def test_sizes_that_do_not_fit(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PROCESSOR.post_process_instance_segmentation(random_outputs(), **kwargs)
    with pytest.raises(ValueError, match=message):
        PROCESSOR.post_process_video_instance_segmentation(random_outputs(), **kwargs)


def test_frames_of_differing_size_need_a_target():
    outputs = random_outputs(B=1, T=2)
    pixel_mask = mask_of_sizes([[(20, 33), (24, 40)]], 2, 24, 40)
    with pytest.raises(ValueError, match=r"clip 0: its frames have the sizes \[\(20, 33\), \(24, 40\)\]"):
        PROCESSOR.post_process_video_instance_segmentation(outputs, pixel_mask=pixel_mask)
    (result,) = PROCESSOR.post_process_video_instance_segmentation(outputs, [(48, 66)], pixel_mask=pixel_mask)
    own = outputs.masks_queries_logits[0, :, 0, :3, :5]
    assert torch.equal(result["masks"][0, 0], bilinear(own[_first_object(outputs)], (48, 66)) > 0)


def _first_object(outputs: SimpleNamespace) -> int:
    labels = outputs.class_queries_logits[0].argmax(-1)
    return int((labels != outputs.class_queries_logits.shape[-1] - 1).nonzero()[0])

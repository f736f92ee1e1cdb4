"""Clip sampling, augmentation and collation of training clips."""

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from ifc_hf import IfcImageProcessor
from ifc_hf.data.augmentation import (
    IMAGE_AUGMENTATION,
    VIDEO_AUGMENTATION,
    Appearance,
    Augmentation,
    Style,
)
from ifc_hf.data.clips import ImageClipDataset, MixedClipDataset, VideoClipDataset, sample_frame_indices, show
from ifc_hf.data.collator import ClipCollator
from ifc_hf.data.decoding import open_frame
from ifc_hf.model.annotations import FrameView
from ifc_hf.model.masks import decode_rle, decode_segmentation, encode_rle

SIZE_HW = (40, 60)
SMALL = Augmentation(shorter_sides=(20, 30))


def video_row(length: int = 8, size_hw: tuple[int, int] = SIZE_HW, present: range | None = None) -> dict:
    """A video whose frame i is grey level i; object 7 moves right, a crowd covers everything."""
    masks = np.zeros((length, *size_hw), dtype=bool)
    for index in range(length):
        masks[index, 5:15, 2 * index : 2 * index + 10] = True
    rles = [encode_rle(mask) if present is None or i in present else None for i, mask in enumerate(masks)]
    crowd = [encode_rle(np.ones(size_hw, dtype=bool))] * length
    return {
        "video_id": 3,
        "frames": [Image.new("RGB", (size_hw[1], size_hw[0]), (i, i, i)) for i in range(length)],
        "objects": [
            {"id": 7, "category": 2, "iscrowd": 0, "segmentations": rles},
            {"id": 8, "category": 1, "iscrowd": 1, "segmentations": crowd},
        ],
    }


def image_row() -> dict:
    masks = np.zeros((2, 700, 900), dtype=bool)
    masks[0, 100:600, 100:800] = True
    masks[1, :80, :80] = True
    segmentations = [encode_rle(mask) for mask in masks]
    objects = [{"category": i, "iscrowd": 0, "segmentation": rle} for i, rle in enumerate(segmentations)]
    return {"image_id": 5, "image": Image.new("RGB", (900, 700), (9, 9, 9)), "objects": objects}


def grey_levels(clip: dict) -> list[int]:
    return [frame.getpixel((0, 0))[0] for frame in clip["frames"]]


def test_sampled_frames_are_sorted_near_a_reference_that_is_drawn_once():
    rng = np.random.default_rng(0)
    references_seen = set()
    for _ in range(300):
        indices = sample_frame_indices(100, 5, rng)
        assert len(indices) == 5 and indices == sorted(indices)
        assert set(indices) <= set(range(100))
        # Some frame is the reference: there once, and all others at most 20 frames away.
        references = [i for i in indices if indices.count(i) == 1 and max(abs(j - i) for j in indices) <= 20]
        assert references
        references_seen.update(references)
    assert len(references_seen) > 90


def test_further_frames_are_drawn_with_replacement_and_uniformly():
    rng = np.random.default_rng(1)
    draws = [sample_frame_indices(3, 9, rng) for _ in range(300)]
    assert all(min(draw.count(i) for i in range(3)) <= 1 for draw in draws)
    counts = np.bincount(np.concatenate(draws), minlength=3)
    assert counts.min() > 0.9 * counts.mean()


@pytest.mark.parametrize("length", [1, 2])
def test_short_videos_repeat_frames(length):
    indices = sample_frame_indices(length, 5, np.random.default_rng(0))
    assert len(indices) == 5 and set(indices) == set(range(length))


def test_video_clip_has_one_scale_and_one_flip_and_masks_that_follow():
    dataset = VideoClipDataset([video_row()], num_frames=4, augmentation=SMALL)
    sizes, flips = set(), set()
    for epoch in range(30):
        dataset.set_epoch(epoch)
        clip = dataset[0]
        assert len({frame.size for frame in clip["frames"]}) == 1
        height, width = clip["masks"][0].shape[1:]
        assert clip["frames"][0].size == (width, height)
        sizes.add(min(height, width))
        centers = [np.nonzero(masks[0])[1].mean() for masks in clip["masks"]]
        directions = np.sign(np.diff(centers)[np.diff(grey_levels(clip)) > 0])
        steps = set(directions.tolist())
        assert len(steps) <= 1  # the object moves one way: the flip is one decision
        flips |= steps
    assert sizes == {20, 30} and flips == {-1.0, 1.0}


def test_crowds_and_objects_outside_the_sampled_frames_are_left_out():
    dataset = VideoClipDataset([video_row(present=range(4, 8))], num_frames=1, augmentation=SMALL)
    seen = set()
    for epoch in range(40):
        dataset.set_epoch(epoch)
        clip = dataset[0]
        is_present = grey_levels(clip)[0] >= 4
        assert clip["class_labels"].tolist() == ([2] if is_present else [])
        seen.add(is_present)
    assert seen == {True, False}


def test_object_absent_from_one_frame_has_an_empty_mask_there():
    dataset = VideoClipDataset([video_row(length=2, present=range(1))], num_frames=2, augmentation=SMALL)
    clip = dataset[0]
    assert [masks.any() for masks in clip["masks"]] == [True, False]


def test_clip_depends_on_seed_epoch_and_index_alone():
    def draw(seed: int, epoch: int, index: int) -> list[int]:
        dataset = VideoClipDataset([video_row(30)] * 3, num_frames=5, augmentation=SMALL, seed=seed)
        dataset.set_epoch(epoch)
        return grey_levels(dataset[index])

    assert draw(0, 0, 0) == draw(0, 0, 0)
    assert len({tuple(draw(*where)) for where in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]}) == 4


def test_workers_draw_the_same_clips_and_see_the_next_epoch():
    dataset = VideoClipDataset([video_row(30)] * 4, num_frames=5, augmentation=SMALL)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=None, num_workers=2, persistent_workers=True, collate_fn=grey_levels
    )
    for epoch in range(2):
        dataset.set_epoch(epoch)
        assert list(loader) == [grey_levels(dataset[i]) for i in range(4)]


def test_pseudo_clip_changes_every_copy_on_its_own_within_the_stated_ranges():
    dataset = ImageClipDataset([image_row()], num_frames=6)
    shorter_sides, corner_seen = set(), set()
    for epoch in range(12):
        dataset.set_epoch(epoch)
        clip = dataset[0]
        assert len({frame.size for frame in clip["frames"]}) > 1
        for frame, masks in zip(clip["frames"], clip["masks"], strict=True):
            assert masks.shape[1:] == (frame.height, frame.width)
            assert max(frame.size) <= 1333
            shorter_sides.add(min(frame.size))
        corner_seen.add(1 in clip["class_labels"])
    assert {side for side in shorter_sides if side >= 480} <= set(range(480, 801, 32))
    assert len(shorter_sides) > 5
    assert corner_seen == {True, False}  # the object in the corner is there only if a crop holds it


def test_crop_sides_lie_between_384_and_600_and_never_exceed_the_image():
    rng = np.random.default_rng(0)
    crops = [IMAGE_AUGMENTATION.draw_view((700, 300), rng).crop_xyxy for _ in range(200)]
    heights = [bottom - top for _, top, _, bottom in crops]
    assert 384 <= min(heights) < 400 and 585 < max(heights) <= 600
    assert {(left, right) for left, _, right, _ in crops} == {(0, 300)}


def test_crops_around_an_object_are_squares_that_hold_its_middle():
    masks = np.zeros((2, 60, 90), dtype=bool)
    masks[1, 20:30, 40:60] = True  # its longer side is 20, its middle (50, 25)
    augmentation = Augmentation(shorter_sides=(32,), object_crop_range=(1.0, 2.0))
    rng = np.random.default_rng(0)
    sides = set()
    for _ in range(200):
        view = augmentation.draw_view((60, 90), rng, masks)
        left, top, right, bottom = view.crop_xyxy
        assert right - left == bottom - top and view.size_hw == (32, 32)
        assert 0 <= left < 50 < right <= 90 and 0 <= top < 25 < bottom <= 60
        sides.add(right - left)
    assert sides == set(range(20, 41))


def test_windows_around_objects_can_have_the_shape_of_the_frame():
    masks = np.zeros((1, 60, 90), dtype=bool)
    masks[0, 20:30, 40:60] = True  # 20 wide of 90 and 10 high of 60: the width decides
    augmentation = Augmentation(shorter_sides=(32,), object_crop_range=(1.0, 9.0), object_crop_keeps_shape=True)
    rng = np.random.default_rng(0)
    windows = [augmentation.draw_view((60, 90), rng, masks).crop_xyxy for _ in range(300)]
    sizes = {(right - left, bottom - top) for left, top, right, bottom in windows}
    assert all(abs(width - 1.5 * height) <= 1 and width >= 20 for width, height in sizes)
    assert min(sizes)[0] < 24 and max(sizes) == (90, 60)
    assert all(0 <= left < 50 < right <= 90 and 0 <= top < 25 < bottom <= 60 for left, top, right, bottom in windows)


def test_without_an_object_the_crop_is_the_usual_one():
    augmentation = Augmentation(shorter_sides=(32,), crop_range=(10, 10), object_crop_range=(1.0, 2.0))
    nothing = np.zeros((1, 60, 90), dtype=bool)
    for masks in (nothing, nothing[:0]):
        left, top, right, bottom = augmentation.draw_view((60, 90), np.random.default_rng(0), masks).crop_xyxy
        assert (right - left, bottom - top) == (10, 10)


def test_defaults_are_those_of_the_authors():
    assert tuple(VIDEO_AUGMENTATION.shorter_sides) == (360, 480) and VIDEO_AUGMENTATION.crop_range is None
    assert tuple(IMAGE_AUGMENTATION.shorter_sides) == tuple(range(480, 801, 32))
    sizes = {(720, 1280): (360, 640), (100, 1000): (133, 1333), (245, 410): (360, 602)}
    for size_hw, expected in sizes.items():
        view = Augmentation(shorter_sides=(360,)).draw_view(size_hw, np.random.default_rng(0))
        assert view.size_hw == expected


def test_a_view_moves_frame_and_mask_alike():
    pixels = np.zeros((6, 8, 3), dtype=np.uint8)
    pixels[2:4, 1:3] = 255
    view = FrameView(frame_hw=(6, 8), crop_xyxy=(0, 1, 6, 5), size_hw=(8, 12), flip=True)
    frame, masks = show(Image.fromarray(pixels), pixels[None, :, :, 0] > 0, view)
    assert masks.shape == (1, 8, 12)
    assert np.array_equal(masks[0], np.pad(np.ones((4, 4), bool), ((2, 2), (6, 2))))
    assert (np.asarray(frame)[:, :, 0][masks[0]] > 100).all()


def test_appearance_changes_colours_and_turns_frame_with_mask():
    picture = Image.new("RGB", (21, 21))
    picture.paste((200, 100, 50), (12, 8, 18, 13))
    mask = np.asarray(picture)[None, :, :, 0] > 0
    same_frame, same_mask = Appearance(1.0, 1.0, 1.0, 0.0).apply(picture, mask)
    assert np.array_equal(same_frame, picture) and np.array_equal(same_mask, mask)
    brighter, _ = Appearance(1.1, 1.0, 1.0, 0.0).apply(picture, mask)
    assert brighter.getpixel((14, 10)) == (220, 110, 55)
    turned, turned_mask = Appearance(1.0, 1.0, 1.0, 90.0).apply(picture, mask)
    assert np.array_equal(turned_mask[0], np.rot90(mask[0]))
    assert np.array_equal(np.asarray(turned)[:, :, 0] > 0, turned_mask[0])
    drawn = Augmentation((10,), color_range=(0.9, 1.1), rotation_degrees=15).draw_appearance(np.random.default_rng(0))
    assert 0.9 <= drawn.saturation <= 1.1 and 0 < abs(drawn.angle) <= 15


def test_colors_are_mixed_and_gray_stays_gray():
    picture = Image.new("RGB", (2, 1), (90, 90, 90))
    picture.putpixel((1, 0), (200, 100, 50))
    rng = np.random.default_rng(0)
    drawn = [Augmentation((10,), color_mixing=0.3).draw_appearance(rng) for _ in range(20)]
    weights = np.array([appearance.mixing for appearance in drawn])
    assert np.allclose(weights.sum(axis=2), 1) and abs(weights[:, ~np.eye(3, dtype=bool)]).max() <= 0.3
    mixed = [appearance.apply(picture, np.ones((1, 1, 2), bool))[0] for appearance in drawn]
    assert all(max(abs(channel - 90) for channel in frame.getpixel((0, 0))) <= 1 for frame in mixed)
    expected = weights[0] @ (200, 100, 50)
    assert np.allclose(mixed[0].getpixel((1, 0)), expected, atol=1)
    assert Augmentation((10,)).draw_appearance(rng).mixing is None


def test_restyling_changes_each_property_and_keeps_masks():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    assert Style().apply(picture) is picture
    assert np.array_equal(Style(inverted=True).apply(picture), 255 - pixels)
    assert np.array_equal(Style(tone_bits=3).apply(picture), pixels & 0b11100000)
    assert (np.asarray(Style(gamma=2.0).apply(picture)) <= pixels).all()
    assert np.std(Style(blur=1.0).apply(picture)) < np.std(pixels)
    assert np.std(Style(sharpening=200).apply(picture)) > np.std(pixels)
    turned = np.asarray(Style(hue=2.0).apply(Image.new("RGB", (1, 1), (150, 100, 100))))[0, 0]
    assert turned.argmax() != 0 and abs(turned @ (0.299, 0.587, 0.114) - 115) < 2  # another hue, as bright as before

    drawn = [Augmentation((10,), restyling=0.4).draw_appearance(rng).style for _ in range(300)]
    assert 0.3 < np.mean([style.inverted for style in drawn]) < 0.5
    assert 0.3 < np.mean([style.hue != 0 for style in drawn]) < 0.5
    mask = rng.random((2, 20, 30)) < 0.5
    assert np.array_equal(Appearance(1.0, 1.0, 1.0, 0.0, style=drawn[0]).apply(picture, mask)[1], mask)


def test_mixture_draws_parts_by_weight():
    videos = VideoClipDataset([video_row()], num_frames=2, augmentation=SMALL)
    images = ImageClipDataset([image_row()], num_frames=2, augmentation=Augmentation((20,)))
    mixture = MixedClipDataset([videos, images], weights=[3, 1], length=400)
    assert len(mixture) == 400
    from_videos = np.mean([2 in mixture[i]["class_labels"] for i in range(100)])
    assert 0.6 < from_videos < 0.9
    with pytest.raises(ValueError, match=r"same number of frames, got \[2, 3\]"):
        MixedClipDataset([videos, VideoClipDataset([video_row()], num_frames=3)])
    with pytest.raises(ValueError, match="weights: expected 2 numbers"):
        MixedClipDataset([videos, images], weights=[1])


def test_collator_pads_frames_and_masks_to_the_batch():
    processor = IfcImageProcessor()
    dataset = ImageClipDataset(
        [image_row()] * 2, num_frames=2, augmentation=Augmentation((20, 30), crop_range=(300, 600))
    )
    clips = [dataset[0], dataset[1]]
    batch = ClipCollator(processor)(clips)
    B, T, _, H, W = batch["pixel_values"].shape
    assert (B, T) == (2, 2) and batch["pixel_mask"].shape == (2, 2, H, W)
    sizes = {frame.size for clip in clips for frame in clip["frames"]}
    assert len(sizes) > 1 and (max(w for w, _ in sizes), max(h for _, h in sizes)) == (W, H)
    for clip, values, is_real, label in zip(clips, *batch.values(), strict=True):
        assert label["masks"].shape == (len(clip["class_labels"]), 2, H, W) and label["masks"].dtype == torch.bool
        for index, (frame, masks) in enumerate(zip(clip["frames"], clip["masks"], strict=True)):
            height, width = frame.height, frame.width
            assert is_real[index].sum() == height * width and is_real[index, :height, :width].all()
            assert not label["masks"][:, index][:, ~is_real[index]].any()
            assert np.array_equal(label["masks"][:, index, :height, :width].numpy(), masks)
            alone = processor([[frame]], do_resize=False)["pixel_values"][0, 0]
            assert torch.equal(values[index, :, :height, :width], alone)
            assert not values[index][:, ~is_real[index]].any()


def test_clips_without_objects_collate():
    dataset = VideoClipDataset([video_row(present=range(0))], num_frames=3, augmentation=SMALL)
    batch = ClipCollator(IfcImageProcessor())([dataset[0]])
    assert batch["labels"][0]["masks"].shape == (0, *batch["pixel_mask"].shape[1:])


def test_only_sampled_frames_are_opened(tmp_path):
    row = video_row(50)
    row["frames"] = [{"path": str(tmp_path / f"{i}.png"), "bytes": None} for i in range(50)]
    drawn = sample_frame_indices(50, 2, np.random.default_rng([0, 0, 0]))
    for index in drawn:
        Image.new("RGB", (60, 40), (index, 0, 0)).save(tmp_path / f"{index}.png")
    assert grey_levels(VideoClipDataset([row], num_frames=2, augmentation=SMALL)[0]) == drawn
    other = next(i for i in range(50) if i not in drawn)
    with pytest.raises(ValueError, match=rf"video 3, frame {other}: .*{other}\.png can't be read"):
        open_frame(row["frames"][other], f"video 3, frame {other}")


def test_frames_are_turned_as_exif_says():
    picture = Image.new("RGB", (60, 40))
    picture.getexif()[0x0112] = 6
    assert open_frame(picture, "image 1").size == (40, 60)


def test_masks_and_frames_of_another_size_are_named():
    row = video_row()
    row["frames"] = [Image.new("RGB", (10, 10))] * 8
    message = r"video 3, frame \d: object 0: RLE is 40x60 \(height x width\), the frame is 10x10"
    with pytest.raises(ValueError, match=message):
        VideoClipDataset([row], num_frames=1, augmentation=SMALL)[0]
    row = video_row(length=2)
    row["frames"][1] = Image.new("RGB", (10, 10))
    with pytest.raises(ValueError, match=r"video 3, frame 1: the picture is 10x10 \(height x width\), expected 40x60"):
        VideoClipDataset([row], num_frames=2, augmentation=SMALL)[0]


def star(rng: np.random.Generator, radius: float) -> np.ndarray:
    """Corners (P, 2) of a random polygon around a point in a frame of 200x300, x and y in pixels."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 12))))
    distances = radius * rng.uniform(0.5, 1, len(angles))
    return rng.uniform(20, (280, 180)) + np.stack([distances * np.cos(angles), distances * np.sin(angles)], axis=1)


def filled(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    flat = [polygon.flatten().tolist() for polygon in polygons]
    return decode_rle(coco_mask.merge(coco_mask.frPyObjects(flat, height, width)))


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return (first & second).sum() / max(1, (first | second).sum())


def test_small_polygons_are_filled_at_the_size_of_the_training_frame():
    """The reference cuts, scales and flips the corners, and lets pycocotools fill them at the final size."""
    rng = np.random.default_rng(0)
    ours, nearest = [], []
    for _ in range(300):
        parts = [star(rng, rng.uniform(3, 16)) for _ in range(int(rng.integers(1, 3)))]
        crop_hw, size_hw = rng.integers(60, 100, 2), rng.integers(60, 300, 2)
        center = parts[0].mean(axis=0)  # lies in the crop
        left, top = np.clip(center - rng.uniform(0, 1, 2) * crop_hw[::-1], 0, (300, 200) - crop_hw[::-1]).astype(int)
        crop = (left, top, left + crop_hw[1], top + crop_hw[0])
        view = FrameView((200, 300), tuple(map(int, crop)), tuple(map(int, size_hw)), flip=bool(rng.random() < 0.5))
        moved = [(part - (left, top)) * (size_hw / crop_hw)[::-1] for part in parts]
        moved = [(size_hw[1] - part[:, 0], part[:, 1]) if view.flip else part.T for part in moved]
        expected = filled([np.transpose(part) for part in moved], *view.size_hw)
        polygons = [part.flatten().tolist() for part in parts]
        ours.append(iou(view.mask(polygons), expected))
        nearest.append(iou(view.mask(encode_rle(filled(parts, 200, 300))), expected))
    assert np.mean(ours) > 0.99 > 0.95 > np.mean(nearest)


def test_polygons_of_images_and_videos_reach_the_clips():
    triangle = [[2.0, 2.0, 6.0, 2.0, 2.0, 6.0]]
    rle = encode_rle(decode_segmentation(triangle, *SIZE_HW))
    picture = Image.new("RGB", SIZE_HW[::-1])
    head = {"category": 0, "iscrowd": 0}
    video = {
        "video_id": 1,
        "frames": [picture] * 2,
        "objects": [{**head, "segmentations": [rle, rle], "polygons": [triangle, None]}],
    }
    image = {"image_id": 1, "image": picture, "objects": [{**head, "segmentation": rle, "polygons": triangle}]}
    larger = Augmentation(shorter_sides=(400,), flip_probability=0.0)
    filled_large = decode_segmentation([[10 * value for value in triangle[0]]], 400, 600)
    [of_image] = ImageClipDataset([image], augmentation=larger)[0]["masks"]
    assert np.array_equal(of_image[0], filled_large)
    for frame_masks in VideoClipDataset([video], num_frames=2, augmentation=larger)[0]["masks"]:
        is_polygon = np.array_equal(frame_masks[0], filled_large)
        assert is_polygon or np.array_equal(frame_masks[0], np.kron(decode_rle(rle), np.ones((10, 10), bool)))


def test_polygons_at_and_beyond_the_edge_of_a_view():
    view = FrameView((100, 100), (40, 40, 60, 60), (200, 200))
    around = [[0.0, 0.0, 100.0, 0.0, 100.0, 100.0, 0.0, 100.0]]
    assert view.mask(around).all()
    assert not view.mask([[0.0, 0.0, 30.0, 0.0, 0.0, 30.0]]).any()
    half = view.mask([[50.0, -300.0, 400.0, -300.0, 400.0, 400.0, 50.0, 400.0]])
    assert half[:, 100:].all() and not half[:, :100].any()
    comb = [[30.0, 45.0, 50.0, 45.0, 50.0, 48.0, 30.0, 48.0, 30.0, 52.0, 50.0, 52.0, 50.0, 55.0, 30.0, 55.0]]
    assert not view.mask(comb)[85:115, 5:95].any() and view.mask(comb)[55:75, 5:95].all()


def test_the_processor_and_the_collator_make_the_same_labels():
    triangle = [[2.0, 2.0, 30.0, 3.0, 4.0, 31.0]]
    image = {"image_id": 1, "image": Image.new("RGB", SIZE_HW[::-1]), "objects": [
        {"category": 1, "iscrowd": 0, "segmentation": {}, "polygons": triangle},
    ]}  # fmt: skip
    size = {"shortest_edge": 90, "longest_edge": 1000}
    processor = IfcImageProcessor(size=size)
    annotation = [{"category_id": 2, "segmentation": triangle}]
    of_processor = processor([[image["image"]]], [annotation])
    clip = ImageClipDataset([image], augmentation=Augmentation(shorter_sides=(90,), flip_probability=0.0))[0]
    of_collator = ClipCollator(processor)([clip])
    for name in ("class_labels", "masks"):
        assert torch.equal(of_collator["labels"][0][name], of_processor["labels"][0][name]), name
    with pytest.raises(ValueError, match="class label 1 is out of range"):
        ClipCollator(IfcImageProcessor(num_labels=1))([clip])

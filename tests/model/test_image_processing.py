"""The image processor: the authors' pixels, batches and padding, annotations to labels, and every bad input."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_utils import SizeDict

from golden import golden
from ifc_hf.model.annotations import LabelSpace, make_labels
from ifc_hf.model.frames import nearest_source_indices, resize_frame, resized_size_hw
from ifc_hf.model.image_processing_ifc import IfcImageProcessor
from ifc_hf.model.masks import encode_rle, encode_rles

MSRA = {
    "do_flip_channel_order": True,
    "image_mean": [103.53, 116.28, 123.675],
    "image_std": [1.0, 1.0, 1.0],
    "rescale_factor": 1.0,
}


def random_video(length: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (length, height, width, 3), dtype=np.uint8)


def pil_frames(video: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(frame) for frame in video]


def small_processor(**kwargs) -> IfcImageProcessor:
    return IfcImageProcessor(size={"shortest_edge": 12, "longest_edge": 40}, **kwargs)


# Pixels


def test_shortest_edge_sizes_of_the_reference():
    for height, width, shortest, longest, *expected in golden("preprocess")[1]["table"]:
        size = SizeDict(shortest_edge=shortest, longest_edge=longest)
        # The reference's own rule can round a side to no pixel at all.
        assert resized_size_hw((height, width), size) == tuple(max(1, edge) for edge in expected)


@pytest.mark.parametrize("kind", ["pil", "array", "tensor"])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_pixels_of_the_reference(index, kind):
    tensors, info = golden("preprocess")
    case = info["images"][index]
    if f"image{index}_rgb" not in tensors:
        pytest.skip(f"image{index} is not part of the compact goldens")
    frame = tensors[f"image{index}_rgb"]
    frames = {"pil": [Image.fromarray(frame.numpy())], "array": frame[None].numpy(), "tensor": frame.permute(2, 0, 1)}
    flavour = MSRA if case["channel_order_as_fed"] == "BGR" else {}
    size = {"shortest_edge": case["min_size"], "longest_edge": case["max_size"]}
    processor = IfcImageProcessor(size=size, **flavour)

    pixels = processor(frames[kind]).pixel_values
    expected = case["pixel_values"]
    assert list(pixels[0].shape) == expected["shape"]
    sampled = pixels.flatten()[expected["flat_index"]]
    assert torch.allclose(sampled, torch.tensor(expected["values"]), rtol=0, atol=1e-5)
    crop = tensors[f"image{index}_pixel_values_crop"]
    assert torch.allclose(pixels[0, 0, :, : crop.shape[1], : crop.shape[2]], crop, rtol=0, atol=1e-5)
    resized = processor(frames[kind], do_rescale=False, do_normalize=False).pixel_values[0, 0]
    assert torch.equal(resized, tensors[f"image{index}_resized_chw_as_fed"].float())


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("levels", [2, 5, 256])
def test_resize_to_a_fraction_is_pillows(factor, levels):
    # Few levels make many exact halves, which the two libraries could round to different sides.
    rng = np.random.default_rng(levels)
    frame = (rng.integers(0, levels, (24 * factor, 40 * factor, 3)) * (255 // (levels - 1))).astype(np.uint8)
    expected = np.asarray(Image.fromarray(frame).resize((40, 24), Image.Resampling.BILINEAR))
    channels_first = torch.from_numpy(frame).permute(2, 0, 1)
    for given in (Image.fromarray(frame), channels_first, channels_first.contiguous()):
        resized = resize_frame(given, (24, 40), Image.Resampling.BILINEAR)
        assert np.array_equal(resized.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("size_hw", [(245, 410), (36, 61), (90, 33), (1, 77)])
def test_any_other_resize_is_pillows(size_hw):
    frame = random_video(1, *size_hw)[0]
    expected = np.asarray(Image.fromarray(frame).resize((50, 31), Image.Resampling.BILINEAR))
    resized = resize_frame(torch.from_numpy(frame).permute(2, 0, 1), (31, 50), Image.Resampling.BILINEAR)
    assert np.array_equal(resized.permute(1, 2, 0).numpy(), expected)


def test_float_frames_are_near_uint8_frames():
    video = torch.from_numpy(random_video(2, 30, 50)).permute(0, 3, 1, 2)
    processor = small_processor(do_rescale=False, do_normalize=False)
    difference = processor(video.float()).pixel_values - processor(video).pixel_values
    assert difference.abs().max() < 1.01  # uint8 results are rounded after each of two passes
    assert torch.equal(processor(video.double()).pixel_values, processor(video.float()).pixel_values)


def test_normalisation_of_both_flavours():
    video = np.full((1, 12, 16, 3), [10, 20, 30], np.uint8)
    rgb = small_processor()(video).pixel_values[0, 0, :, 0, 0]
    bgr = small_processor(**MSRA)(video).pixel_values[0, 0, :, 0, 0]
    assert rgb.tolist() == pytest.approx([(10 - 123.675) / 58.395, (20 - 116.28) / 57.12, (30 - 103.53) / 57.375])
    assert bgr.tolist() == pytest.approx([30 - 103.53, 20 - 116.28, 10 - 123.675])


def test_steps_can_be_switched_off():
    video = random_video(2, 12, 20)
    raw = IfcImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)(video).pixel_values
    assert torch.equal(raw[0], torch.from_numpy(video).permute(0, 3, 1, 2).float())
    rescaled = IfcImageProcessor(do_resize=False, do_normalize=False)(video).pixel_values
    assert torch.allclose(rescaled, raw / 255)


def test_fixed_size():
    assert IfcImageProcessor(size={"height": 10, "width": 30})(random_video(1, 20, 20)).pixel_values.shape[-2:] == (
        10,
        30,
    )


# Kinds of input


def test_every_kind_of_video_gives_the_same():
    video = random_video(3, 30, 47)
    tensor = torch.from_numpy(video).permute(0, 3, 1, 2)
    processor = small_processor()
    expected = processor(pil_frames(video))
    assert expected.pixel_values.shape == (1, 3, 3, 12, 19)
    read_only = video.copy()
    read_only.flags.writeable = False
    kinds = [
        video,
        read_only,
        video[:, ::-1].copy()[:, ::-1],  # negative strides
        tensor,
        tensor.contiguous(),
        list(video),
        list(tensor),
        tuple(pil_frames(video)),
        tensor.numpy(),
        [video],
        [pil_frames(video)],
        video[None],
        tensor[None],
        [video[0], Image.fromarray(video[1]), tensor[2]],
    ]
    for kind in kinds:
        inputs = processor(kind)
        assert torch.equal(inputs.pixel_values, expected.pixel_values)
        assert torch.equal(inputs.pixel_mask, expected.pixel_mask)
    assert torch.equal(processor(images=video).pixel_values, expected.pixel_values)


def test_a_single_image_is_a_video_of_one_frame():
    image = random_video(1, 20, 30)[0]
    for kind in (image, Image.fromarray(image), torch.from_numpy(image).permute(2, 0, 1)):
        assert small_processor()(kind).pixel_values.shape == (1, 1, 3, 12, 18)
    batch = small_processor()([[Image.fromarray(image)], image[None]])
    assert batch.pixel_values.shape == (2, 1, 3, 12, 18)


def test_layout_of_tiny_frames():
    processor = IfcImageProcessor(do_resize=False, do_normalize=False, do_rescale=False)
    frame = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    last = torch.from_numpy(frame).permute(2, 0, 1).float()
    assert torch.equal(processor(frame).pixel_values[0, 0], last)
    assert torch.equal(processor(torch.from_numpy(frame)).pixel_values[0, 0], torch.from_numpy(frame).float())
    forced = processor(torch.from_numpy(frame), input_data_format="channels_last")
    assert torch.equal(forced.pixel_values[0, 0], last)


def test_other_pil_modes_become_rgb():
    gray = Image.fromarray(random_video(1, 20, 30)[0, :, :, 0])
    for mode in ("L", "P", "RGBA", "1"):
        expected = small_processor()(gray.convert(mode).convert("RGB")).pixel_values
        assert torch.equal(small_processor()(gray.convert(mode)).pixel_values, expected)


def jpeg_with_orientation(image: Image.Image, orientation: int) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "png", exif=exif)
    return Image.open(file)


def test_exif_orientation_is_applied():
    image = Image.fromarray(random_video(1, 24, 36)[0])
    turned = jpeg_with_orientation(image.transpose(Image.Transpose.ROTATE_90), 6)  # 6: to be turned clockwise
    assert torch.equal(small_processor()(turned).pixel_values, small_processor()(image).pixel_values)


def test_a_lazily_decoded_image_may_occur_twice():
    lazy = jpeg_with_orientation(Image.fromarray(random_video(1, 24, 36)[0]), 1)
    pixels = small_processor()([lazy, lazy, lazy]).pixel_values[0]
    assert torch.equal(pixels[0], pixels[1])
    assert torch.equal(pixels[0], pixels[2])


def test_threads_change_nothing():
    video = random_video(7, 31, 45)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = small_processor()(pil_frames(video)).pixel_values
        torch.set_num_threads(3)
        assert torch.equal(small_processor()(pil_frames(video)).pixel_values, alone)
    finally:
        torch.set_num_threads(before)


def test_numpy_results():
    annotation = {"class_labels": [1], "masks": np.ones((1, 2, 20, 30), bool)}
    inputs = small_processor()(random_video(2, 20, 30), annotation, return_tensors="np")
    assert {type(inputs[key]) for key in ("pixel_values", "pixel_mask")} == {np.ndarray}
    assert {type(value) for value in inputs["labels"][0].values()} == {np.ndarray}


@pytest.mark.gpu
def test_gpu_frames_stay_there():
    video = torch.from_numpy(random_video(2, 245, 410)).permute(0, 3, 1, 2)
    processor = IfcImageProcessor(do_rescale=False, do_normalize=False)
    on_gpu, on_cpu = processor(video.cuda()), processor(video)
    assert on_gpu.pixel_values.is_cuda
    assert on_gpu.pixel_mask.is_cuda
    assert (on_gpu.pixel_values.cpu() - on_cpu.pixel_values).abs().max() <= 1
    moved = processor(video, device="cuda")
    assert moved.pixel_values.is_cuda
    assert torch.equal(moved.pixel_values.cpu(), on_cpu.pixel_values)


# Batches


def test_videos_are_padded_at_the_bottom_the_right_and_the_end():
    videos = [random_video(2, 24, 36), random_video(3, 40, 24, seed=1)]
    processor = small_processor()
    batch = processor(videos)
    assert batch.pixel_values.shape == (2, 3, 3, 20, 18)
    assert batch.pixel_values.dtype == torch.float32
    assert batch.pixel_mask.dtype == torch.bool
    for index, video in enumerate(videos):
        alone = processor(video)
        _, T, _, H, W = alone.pixel_values.shape
        assert alone.pixel_mask.all()
        assert torch.equal(batch.pixel_values[index, :T, :, :H, :W], alone.pixel_values[0])
        expected_mask = torch.zeros(3, 20, 18, dtype=torch.bool)
        expected_mask[:T, :H, :W] = True
        assert torch.equal(batch.pixel_mask[index], expected_mask)
        assert not batch.pixel_values[index].masked_select(~expected_mask[:, None]).any()


def test_pad_size_and_do_pad():
    video = random_video(2, 24, 36)
    padded = small_processor()(video, pad_size={"height": 32, "width": 40})
    assert padded.pixel_values.shape[-2:] == (32, 40)
    assert padded.pixel_mask.sum() == 2 * 12 * 18
    with pytest.raises(ValueError, match=r"pad_size must hold frames of 12x18 .*'height': 8"):
        small_processor()(video, pad_size={"height": 8, "width": 40})
    assert small_processor(do_pad=False)([video, video]).pixel_mask.all()
    with pytest.raises(ValueError, match="do_pad=False, but the videos differ"):
        small_processor(do_pad=False)([video, random_video(1, 24, 36)])


def test_saved_and_loaded(tmp_path):
    processor = IfcImageProcessor(**MSRA, size={"shortest_edge": 20}, category_id_to_label={7: 0, 9: 1}, num_labels=2)
    processor.save_pretrained(tmp_path)
    loaded = IfcImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert loaded.category_id_to_label == {7: 0, 9: 1}
    video = random_video(2, 24, 36)
    assert torch.equal(loaded(video).pixel_values, processor(video).pixel_values)


# Annotations


def ellipse_masks(length: int, height: int, width: int) -> np.ndarray:
    """(2, length, height, width): an ellipse and a half plane that both move."""
    rows, columns = np.mgrid[:height, :width]
    ellipse = [((rows - 8 - t) / 6) ** 2 + ((columns - 12 - 2 * t) / 9) ** 2 < 1 for t in range(length)]
    half = [columns > 20 + t for t in range(length)]
    return np.stack([ellipse, half])


def test_masks_are_resized_as_the_reference_does_and_padded():
    masks = ellipse_masks(2, 25, 37)
    videos = [random_video(2, 25, 37), random_video(3, 40, 30)]
    annotations = [{"class_labels": [4, 0], "masks": masks}, []]
    batch = small_processor()(videos, annotations)
    first, second = batch["labels"]
    H, W = batch.pixel_values.shape[-2:]
    height, width = (int(batch.pixel_mask[0, 0].any(dim).sum()) for dim in (1, 0))
    expected = np.zeros((2, 3, H, W), bool)
    for n, t in np.ndindex(2, 2):
        image = Image.fromarray(masks[n, t].astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
        expected[n, t, :height, :width] = np.asarray(image)
    assert first["class_labels"].tolist() == [4, 0]
    assert first["class_labels"].dtype == torch.long
    assert first["masks"].dtype == torch.bool
    assert np.array_equal(first["masks"].numpy(), expected)
    assert second["class_labels"].shape == (0,)
    assert second["masks"].shape == (0, 3, H, W)


@pytest.mark.parametrize(("size", "new_size"), [(720, 360), (1280, 640), (701, 467), (480, 720), (3, 2), (7, 1)])
def test_nearest_source_indices_are_pillows_on_both_axes(size, new_size):
    values = np.random.default_rng(0).integers(0, 256, (size, 4), dtype=np.uint8)
    indices = nearest_source_indices(size, new_size)
    rows = Image.fromarray(values).resize((4, new_size), Image.Resampling.NEAREST)
    columns = Image.fromarray(np.ascontiguousarray(values.T)).resize((new_size, 4), Image.Resampling.NEAREST)
    assert np.array_equal(np.asarray(rows), values[indices])
    assert np.array_equal(np.asarray(columns), values.T[:, indices])


def test_every_form_of_segmentation_gives_the_same_labels():
    masks = ellipse_masks(2, 25, 37)
    box = np.zeros((2, 25, 37), bool)
    box[0, 4:11, 5:20] = True
    video = random_video(2, 25, 37)
    instances = [
        {"category_id": 3, "segmentations": encode_rles(masks[0])},
        {"category_id": 1, "segmentations": list(masks[1]), "id": 77, "iscrowd": 0},
        {"category_id": 2, "segmentations": [[[5, 4, 20, 4, 20, 11, 5, 11]], None]},
        {"category_id": 1, "segmentations": [None, None]},
        {"category_id": 1, "segmentations": list(masks[1]), "iscrowd": 1},
    ]
    plain = {"class_labels": torch.tensor([2, 0, 1]), "masks": torch.from_numpy(np.stack([*masks, box])).float()}
    expected = small_processor()(video, plain)["labels"][0]
    for annotation in (instances, {"annotations": instances}):
        labels = small_processor()(video, annotation)["labels"][0]
        assert torch.equal(labels["class_labels"], expected["class_labels"])
        assert torch.equal(labels["masks"], expected["masks"])
    batch = small_processor()([video, video], [instances, plain])["labels"]
    assert torch.equal(batch[0]["masks"], batch[1]["masks"])


def test_coco_annotation_of_an_image():
    instance = {"category_id": 18, "segmentation": [[5, 4, 20, 4, 20, 11, 5, 11]]}
    labels = small_processor(category_id_to_label={18: 5})(random_video(1, 25, 37)[0], [instance])["labels"][0]
    assert labels["class_labels"].tolist() == [5]
    assert labels["masks"].any()


# Maps of instance ids

IDS = np.zeros((2, 25, 37), np.int64)
IDS[0, 3:9, 4:12] = 7
IDS[:, 10:20, 20:30] = 9
CLASSES = {7: 2, 9: 0}


def expected_labels():
    annotation = {"class_labels": [2, 0], "masks": np.stack([IDS == 7, IDS == 9])}
    return small_processor()(random_video(2, 25, 37), annotation)["labels"][0]


def assert_same_labels(labels, expected):
    assert torch.equal(labels["class_labels"], expected["class_labels"])
    assert torch.equal(labels["masks"], expected["masks"])


@pytest.mark.parametrize(
    "maps",
    [
        IDS,
        IDS.astype(np.float32),
        torch.from_numpy(IDS),
        list(IDS),
        [Image.fromarray(one.astype(np.uint8)) for one in IDS],
        [IDS[0], torch.from_numpy(IDS[1])],
    ],
    ids=["array", "floats", "tensor", "arrays", "pictures", "mixed"],
)
@pytest.mark.parametrize("classes", [CLASSES, [CLASSES, {9: 0}]], ids=["of the video", "of each frame"])
def test_maps_of_instance_ids(maps, classes):
    options = {"segmentation_maps": maps, "instance_id_to_semantic_id": classes, "ignore_index": 0}
    inputs = small_processor()(random_video(2, 25, 37), **options)
    assert_same_labels(inputs["labels"][0], expected_labels())


def test_maps_of_several_videos():
    videos = [random_video(2, 25, 37), random_video(1, 25, 37)]
    maps = [IDS, IDS[0]]
    for classes in (CLASSES, [CLASSES, CLASSES]):
        inputs = small_processor(ignore_index=0)(videos, segmentation_maps=maps, instance_id_to_semantic_id=classes)
        assert_same_labels(inputs["labels"][0], expected_labels())
        assert inputs["labels"][1]["class_labels"].tolist() == [2, 0] and not inputs["labels"][1]["masks"][:, 1].any()


def test_maps_are_read_as_mask2formers_processor_reads_them():
    from transformers import Mask2FormerImageProcessorPil

    image = random_video(1, 24, 36)[0]
    for options in (
        {"instance_id_to_semantic_id": {0: 1, 7: 2, 9: 2}},
        {"instance_id_to_semantic_id": CLASSES, "ignore_index": 0},
        {"instance_id_to_semantic_id": {7: 3, 9: 1}, "ignore_index": 255, "do_reduce_labels": True},
        {"ignore_index": 255, "do_reduce_labels": True},
        {},
    ):
        maps = IDS[0, :24, :36]
        kept = {name: options.pop(name) for name in ("ignore_index", "do_reduce_labels") if name in options}
        theirs = Mask2FormerImageProcessorPil(do_resize=False, size_divisor=1, **kept)(
            image, segmentation_maps=maps, return_tensors="pt", **options
        )
        ours = IfcImageProcessor(do_resize=False, **kept)(image, segmentation_maps=maps, **options)["labels"][0]
        assert torch.equal(ours["class_labels"], theirs["class_labels"][0])
        assert torch.equal(ours["masks"][:, 0], theirs["mask_labels"][0].bool())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segmentation_maps": IDS}, "video 0, instance 1: class label 7 is out of range"),
        ({"segmentation_maps": IDS, "instance_id_to_semantic_id": CLASSES},
         "video 0, segmentation map, frame 0: instance 0 is not in .* ignore_index"),
        ({"segmentation_maps": IDS, "instance_id_to_semantic_id": {7: 2}, "ignore_index": 0},
         "frame 0: instance 9 is not in instance_id_to_semantic_id"),
        ({"segmentation_maps": IDS, "instance_id_to_semantic_id": [CLASSES, {9: 1}], "ignore_index": 0},
         "frame 1: instance 9 is of class 1, but of class 0 in the frames before"),
        ({"segmentation_maps": IDS, "instance_id_to_semantic_id": [CLASSES], "ignore_index": 0},
         "one for each of the 2 frames, got 1"),
        ({"segmentation_maps": IDS[:1]}, "one for each of the 2 frames, got 1"),
        ({"segmentation_maps": IDS[:, :-1]}, r"frame 0: expected \(height, width\) \(25, 37\), got \(24, 37\)"),
        ({"segmentation_maps": IDS / 2}, "frame 0: expected whole numbers as ids, got float64"),
        ({"segmentation_maps": IDS > 0}, "expected whole numbers as ids, got bool"),
        ({"segmentation_maps": IDS, "do_reduce_labels": True}, "do_reduce_labels needs an ignore_index"),
        ({"segmentation_maps": IDS, "annotations": []}, "annotations or segmentation_maps, got both"),
        ({"instance_id_to_semantic_id": CLASSES}, "needs segmentation_maps"),
    ],
)  # fmt: skip
def test_bad_maps(options, message):
    with pytest.raises(ValueError, match=message):
        small_processor(num_labels=3)(random_video(2, 25, 37), **options)


@pytest.mark.parametrize("options", [{"segmentation_maps": [IDS]}, {"segmentation_maps": 3}])
def test_maps_of_another_number_of_videos(options):
    with pytest.raises(ValueError, match="segmentation_maps: expected a list with one entry for each of the 2 videos"):
        small_processor()([random_video(2, 25, 37)] * 2, **options)


def test_a_visible_instance_with_an_empty_mask_counts():
    instance = {"category_id": 1, "segmentations": [np.zeros((25, 37), bool), None]}
    assert small_processor()(random_video(2, 25, 37), [instance])["labels"][0]["masks"].shape == (1, 2, 12, 18)


# Bad input


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        (None, "expected videos"),
        (np.zeros((4, 5), np.uint8), r"expected a frame \(3 dimensions\).* got shape \(4, 5\)"),
        (np.zeros((1, 1, 1, 4, 5, 3), np.uint8), r"got shape \(1, 1, 1, 4, 5, 3\)"),
        ("video.mp4", "got str"),
        ([], "video 0 has no frames"),
        ([[]], "video 0 has no frames"),
        (np.zeros((0, 4, 5, 3), np.uint8), "video 0 has no frames"),
        ([random_video(1, 4, 5), np.zeros((0, 4, 5, 3), np.uint8)], "video 1 has no frames"),
        ([random_video(1, 4, 5), np.zeros((4, 5), np.uint8)], r"video 1: expected a list .* got shape \(4, 5\)"),
        ([random_video(1, 4, 5), 3], "video 1: expected a list of frames.* got int"),
        (np.zeros((2, 4, 5, 4), np.uint8), r"video 0, frame 0: expected 3 channels.* got shape \(4, 5, 4\)"),
        (torch.zeros(2, 1, 4, 5), r"video 0, frame 0: expected 3 channels.* got shape \(1, 4, 5\)"),
        ([np.zeros((4, 5), np.uint8)], "video 0, frame 0: .* got 2 dimensions"),
        ([Image.new("RGB", (5, 4)), "b.jpg"], "video 0, frame 1: expected a PIL image.* got str"),
        (np.zeros((1, 0, 5, 3), np.uint8), "frame 0: expected a frame with pixels"),
        (
            np.zeros((1, 4, 5, 3), np.int64),
            "video 0, frame 0: expected pixels of dtype uint8 or float, got torch.int64",
        ),
        (
            [random_video(1, 4, 5), [Image.new("RGB", (5, 4)), Image.new("RGB", (5, 4)), Image.new("RGB", (4, 5))]],
            r"video 1, frame 2: is 5x4 \(height x width\), the frames before are 4x5",
        ),
    ],
)
def test_bad_videos(videos, message):
    with pytest.raises(ValueError, match=message):
        small_processor()(videos)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_that_are_no_numbers(value):
    video = torch.zeros(3, 3, 8, 9)
    video[2, 1, 4, 4] = value
    with pytest.raises(ValueError, match="video 1, frame 2: a pixel is NaN or infinite"):
        small_processor()([torch.zeros(1, 3, 8, 9), video])


def test_a_truncated_file_is_named():
    file = io.BytesIO()
    Image.fromarray(random_video(1, 64, 64)[0]).save(file, "jpeg")
    broken = Image.open(io.BytesIO(file.getvalue()[: len(file.getvalue()) // 2]))
    with pytest.raises(ValueError, match="video 0, frame 1: .*truncated"):
        small_processor()([Image.new("RGB", (64, 64)), broken])


def test_float_frames_know_one_filter():
    with pytest.raises(ValueError, match="video 0, frame 0: only uint8 frames .* with filter 0"):
        small_processor(resample=0)(torch.zeros(1, 3, 30, 30))


def test_unusable_size():
    with pytest.raises(ValueError, match="size needs height and width, or shortest_edge"):
        IfcImageProcessor(size={"longest_edge": 40})(random_video(1, 4, 5))


RLE = encode_rle(np.ones((4, 5), bool))


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ([{"id": 9, "category_id": 1, "segmentations": [RLE]}],
         r"annotation 0 \(id 9\): has 1 segmentations, .* 2 frames"),
        ([{"id": 9, "category_id": 1, "segmentations": [None, encode_rle(np.ones((5, 4), bool))]}],
         r"video 0, annotation 0 \(id 9\), frame 1: RLE is 5x4 .* the frame is 4x5"),
        ([{"category_id": 1, "segmentations": [RLE, np.full((4, 5), 2)]}],
         "frame 1: mask: expected mask values 0 and 1 .* 2"),
        ([{"category_id": 1, "segmentations": [RLE, [[0, 0, 1]]]}], "annotation 0, frame 1: expected a flat polygon"),
        ([{"category_id": 0, "segmentations": [RLE, None]}],
         "annotation 0: category_id 0: YouTube-VIS ids count from 1"),
        ([{"segmentations": [RLE, None]}], "category_id None"),
        ([{"category_id": 4, "segmentations": [RLE, None]}], "class label 3 is out of range, expected 0 to 2"),
        ([{"category_id": 1}], r"annotation 0: has no 'segmentations', only the keys \['category_id'\]"),
        ([None], "annotation 0: expected a dict, got NoneType"),
        ("file.json", "expected a list of instances .* got str"),
        ({"labels": []}, r"got the keys \['labels'\]"),
        ({"class_labels": [0]}, "'class_labels' need 'masks'"),
        ({"class_labels": [0], "masks": np.zeros((1, 2, 5, 4), bool)},
         r"video 0, masks: expected shape \(N, L, H, W\) = \(1, 2, 4, 5\), got \(1, 2, 5, 4\)"),
        ({"class_labels": [0], "masks": np.zeros((1, 3, 4, 5), bool)}, r"= \(1, 2, 4, 5\), got \(1, 3, 4, 5\)"),
        ({"class_labels": [0, 1], "masks": np.zeros((1, 2, 4, 5), bool)}, r"= \(2, 2, 4, 5\), got \(1, 2, 4, 5\)"),
        ({"class_labels": [0], "masks": np.full((1, 2, 4, 5), 0.5)},
         "masks: expected mask values 0 and 1 only, got 0.5"),
        ({"class_labels": [3], "masks": np.zeros((1, 2, 4, 5), bool)}, "instance 0: class label 3 is out of range"),
        ({"class_labels": [-1], "masks": np.zeros((1, 2, 4, 5), bool)}, "instance 0: class label -1 is out of range"),
        ({"class_labels": [0.5], "masks": np.zeros((1, 2, 4, 5), bool)}, "class label 0.5 is not an integer"),
    ],
)  # fmt: skip
def test_bad_annotations(annotation, message):
    with pytest.raises(ValueError, match=message):
        small_processor(num_labels=3)(random_video(2, 4, 5), annotation)


def test_an_unknown_category_is_named_with_the_known_ones():
    instance = {"id": 3, "category_id": 2, "segmentations": [RLE]}
    with pytest.raises(
        ValueError, match=r"video 1, annotation 0 \(id 3\): unknown category_id 2, known are \[18, 44\]"
    ):
        small_processor(category_id_to_label={18: 0, 44: 1})([random_video(1, 4, 5)] * 2, [[], [instance]])


@pytest.mark.parametrize("annotations", [[[]], {"annotations": []}])
def test_annotations_of_another_number_of_videos(annotations):
    with pytest.raises(ValueError, match="expected a list with one entry for each of the 2 videos, got"):
        small_processor()([random_video(1, 4, 5)] * 2, annotations)


def test_labels_without_instances():
    labels = make_labels({"class_labels": [], "masks": []}, 2, (4, 5), (4, 5), (2, 4, 5), LabelSpace())
    assert labels["class_labels"].shape == (0,)
    assert labels["masks"].shape == (0, 2, 4, 5)

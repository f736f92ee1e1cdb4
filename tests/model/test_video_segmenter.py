"""Whole videos: the recorded ones, every kind of source, windows at the ends, streaming and bounded memory."""

import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from pycocotools import mask as coco_mask

from golden import all_cases, case_description, golden
from ifc_hf import IfcImageProcessor, IfcVideoSegmenter
from ifc_hf.conversion.convert import make_image_processor
from ifc_hf.model.engine import EngineSettings
from ifc_hf.model.engine_torch import TorchEngine
from ifc_hf.model.fused_convolution import fold_batch_norms
from ifc_hf.model.tracking import TrackedFrame
from ifc_hf.model.video_pass import VideoPass
from ifc_hf.model.video_segmenter import default_frames_per_batch
from tiny_models import tiny_model

PROBABILITIES = 2e-5  # the goldens' README
MASK_LOGITS = 1e-3

WINDOWS = {
    "video_T5_s1": {"num_frames": 5},
    "video_T5_s1_singlecls": {"num_frames": 5, "multi_label": False},
    "video_T5_s3": {"num_frames": 5, "clip_stride": 3},
    "video_T36": {"num_frames": 36},
    "video_e2e_r101": {"num_frames": 5},
    "video_empty": {"num_frames": 5, "clip_stride": 2},
}


@pytest.mark.parametrize("case", all_cases("video_"))
def test_recorded_video(case, golden_model, monkeypatch):
    tensors, info = golden(case)
    variant = case_description(case)["variant"]
    model = golden_model(variant)
    processor = IfcImageProcessor(do_resize=False)
    if case == "video_e2e_r101":
        processor = make_image_processor("resnet101", "ytvis_2019")
        processor.size = {"shortest_edge": 72, "longest_edge": 1333}
    if extra_bias := info.get("extra_no_object_bias"):
        bias = model.class_head.layers[-1].bias
        monkeypatch.setattr(bias, "data", bias.data + extra_bias * torch.eye(len(bias))[-1])
    segmenter = IfcVideoSegmenter(model, processor, **WINDOWS[case])
    averages = record_averages(monkeypatch)

    tracks = segmenter(tensors["frames_rgb"].numpy(), output_size=tuple(info["output_size"]))

    expected = {(row["track"], row["label"]): row["score"] for row in info["rows"]}
    assert {
        (track["track_id"], track["label_id"]): pytest.approx(track["score"], abs=PROBABILITIES) for track in tracks
    } == expected
    assert [track["score"] for track in tracks] == sorted((track["score"] for track in tracks), reverse=True)

    mean_logits = torch.full_like(tensors["avg_mask_logits"], float("nan"))
    for frame, track_ids, mask_logits in averages:
        mean_logits[track_ids, frame] = mask_logits
    torch.testing.assert_close(mean_logits, tensors["avg_mask_logits"], atol=MASK_LOGITS, rtol=0, equal_nan=True)
    for track in tracks:
        for frame, rle in enumerate(track["segmentations"]):
            recorded = coco_mask.decode(info["track_masks_rle"][track["track_id"]][frame]).astype(bool)
            found = np.zeros_like(recorded) if rle is None else coco_mask.decode(rle).astype(bool)
            logits = tensors["avg_mask_logits"][track["track_id"], frame].nan_to_num(-1.0)
            upsampled = torch.nn.functional.interpolate(logits[None, None], recorded.shape, mode="bilinear")[0, 0]
            assert not (found != recorded)[upsampled.abs().numpy() > MASK_LOGITS].any()


def record_averages(monkeypatch):
    """Notes (frame, track ids, mean mask logits) of every frame that is finished from now on."""
    finished = []
    finish = VideoPass.finish_frame

    def record(video_pass, frame_index, tracked):
        if tracked is not None:
            finished.append((frame_index, tracked.track_ids, tracked.mask_logits))
        return finish(video_pass, frame_index, tracked)

    monkeypatch.setattr(VideoPass, "finish_frame", record)
    return finished


@pytest.fixture(scope="module")
def model():
    """Random weights whose queries all are objects, so that there is something to track."""
    model = tiny_model().eval()
    with torch.no_grad():
        model.class_head.layers[-1].bias[-1] = -5.0
    return model


@pytest.fixture
def processor():
    return IfcImageProcessor(do_resize=False)


def video(num_frames, seed=0, size_hw=(40, 56)):
    return np.random.default_rng(seed).integers(0, 256, (num_frames, *size_hw, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("num_frames", "clip_stride", "length"), [(3, 1, 7), (3, 2, 8), (4, 3, 9), (2, 5, 11), (9, 1, 4)]
)
def test_streaming_equals_calling(model, processor, num_frames, clip_stride, length):
    segmenter = IfcVideoSegmenter(model, processor, num_frames, clip_stride)
    frames = video(length)
    tracks = segmenter(frames)
    results = list(segmenter.stream(iter(frames)))
    assert [result.frame_index for result in results] == list(range(length))
    assert tracks and segmenter.tracks() == tracks
    for result in results:
        for track_id, mask in zip(result.track_ids, result.masks, strict=True):
            rle = next(track for track in tracks if track["track_id"] == track_id)["segmentations"][result.frame_index]
            decoded = np.zeros(mask.shape, bool) if rle is None else coco_mask.decode(rle).astype(bool)
            assert (mask.numpy() == decoded).all()


@pytest.mark.parametrize(
    ("num_frames", "clip_stride", "length"), [(3, 1, 7), (3, 2, 8), (4, 3, 9), (2, 5, 11), (2, 5, 12), (9, 1, 4)]
)
def test_windows_are_those_of_the_paper(model, processor, num_frames, clip_stride, length):
    segmenter = IfcVideoSegmenter(model, processor, num_frames, clip_stride, frames_per_batch=2)
    windows = [list(window) for window in segmenter.stream(video(length)).windows()]

    expected = []
    for start in range(0, length, clip_stride):
        is_last = start + num_frames >= length
        first = max(0, length - num_frames) if is_last else start
        expected.append(list(range(first, min(first + num_frames, length))))
        if is_last:
            break
    assert windows == expected


def test_stride_beyond_the_window_leaves_frames_empty(model, processor):
    tracks = IfcVideoSegmenter(model, processor, num_frames=2, clip_stride=5)(video(12))
    assert all(rle is None for track in tracks for frame, rle in enumerate(track["segmentations"]) if frame % 5 > 1)
    assert len(tracks[0]["segmentations"]) == len(tracks[0]["boxes"]) == 12


def test_every_kind_of_frames_gives_the_same_tracks(model, processor):
    array = video(5)
    sources = [
        array,
        list(array),
        [Image.fromarray(frame) for frame in array],
        torch.from_numpy(array).permute(0, 3, 1, 2),
        (frame for frame in array),
    ]
    segmenter = IfcVideoSegmenter(model, processor, num_frames=3)
    expected = segmenter(array)
    assert all(segmenter(source) == expected for source in sources)


def test_batches_of_frames_change_nothing(model, processor):
    one, many = (IfcVideoSegmenter(model, processor, 3, frames_per_batch=n)(video(7)) for n in (1, 16))
    assert [(t["track_id"], t["label_id"], t["segmentations"]) for t in one] == [
        (t["track_id"], t["label_id"], t["segmentations"]) for t in many
    ]


@pytest.mark.parametrize("length", [1, 2])
def test_short_videos(model, processor, length):
    tracks = IfcVideoSegmenter(model, processor, num_frames=5)(video(length))
    assert tracks and all(len(track["segmentations"]) == length for track in tracks)


def test_one_label_a_track(model, processor):
    frames = video(4)
    many = IfcVideoSegmenter(model, processor, 2, score_threshold=0.0)(frames)
    one = IfcVideoSegmenter(model, processor, 2, score_threshold=0.0, multi_label=False)(frames)
    best = {}
    for track in many:
        best.setdefault(track["track_id"], track)  # best score first
    assert sorted(best.values(), key=lambda t: t["track_id"]) == sorted(one, key=lambda t: t["track_id"])
    assert len(many) == len(one) * model.config.num_labels


def test_videos_side_by_side_give_what_each_gives_alone(model, processor, monkeypatch):
    segmenter = IfcVideoSegmenter(model, processor, num_frames=3, clip_stride=2)
    videos = [video(7, seed=1), video(4, seed=2), video(7, seed=3, size_hw=(40, 88)), video(2, seed=4)]
    alone = [segmenter(frames) for frames in videos]
    sizes = []
    encode = TorchEngine.encode_windows
    monkeypatch.setattr(
        TorchEngine, "encode_windows", lambda engine, windows: sizes.append(len(windows)) or encode(engine, windows)
    )
    together = segmenter.segment_batch([iter(frames) for frames in videos])
    assert max(sizes) == 2, "windows of equal size go through the model together"
    for tracks, expected in zip(together, alone, strict=True):
        assert [track["score"] for track in tracks] == pytest.approx([track["score"] for track in expected], abs=1e-5)
        for name in ("track_id", "label", "segmentations", "boxes"):
            assert [track[name] for track in tracks] == [track[name] for track in expected]


def test_every_frame_is_looked_at_once(model, processor, monkeypatch):
    looks = []
    look = IfcImageProcessor.process_image
    monkeypatch.setattr(
        IfcImageProcessor,
        "process_image",
        lambda self, image, **kwargs: looks.append(1) or look(self, image, **kwargs),
    )
    IfcVideoSegmenter(model, processor, num_frames=3)(video(6))
    assert len(looks) == 6


def refilled_array(frames):
    buffer = np.empty_like(frames[0])
    for frame in frames:
        buffer[:] = frame
        yield buffer


def refilled_tensor(frames):
    buffer = torch.empty(frames[0].transpose(2, 0, 1).shape, dtype=torch.uint8)
    for frame in frames:
        buffer.copy_(torch.from_numpy(frame).permute(2, 0, 1))
        yield buffer


def refilled_picture(frames):
    pictures = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    pictures[0].save(file, "TIFF", save_all=True, append_images=pictures[1:])
    return ImageSequence.Iterator(Image.open(file))


@pytest.mark.parametrize("refilled", [refilled_array, refilled_tensor, refilled_picture])
def test_sources_may_refill_their_buffer(model, processor, refilled):
    frames = video(7)
    segmenter = IfcVideoSegmenter(model, processor, num_frames=3)
    assert segmenter(refilled(frames)) == segmenter(frames)


# --- one segmenter, many videos -------------------------------------------------------------------------------------


def test_threads_share_a_segmenter(model, processor):
    segmenter = IfcVideoSegmenter(model, processor, num_frames=3, clip_stride=2)
    videos = [video(7, seed=1), video(9, seed=2), video(5, seed=3, size_hw=(40, 88)), video(8, seed=4)]
    expected = [segmenter(frames) for frames in videos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(segmenter, [videos[(thread + turn) % 4] for turn in range(4) for thread in range(4)]))
    assert found == [expected[(thread + turn) % 4] for turn in range(4) for thread in range(4)]


def test_interleaved_streams_keep_apart(model, processor):
    segmenter = IfcVideoSegmenter(model, processor, num_frames=3)
    first, second = video(8, seed=1), video(8, seed=2)
    expected = segmenter(first), segmenter(second)
    streams = segmenter.stream(first), segmenter.stream(second)
    assert len(list(zip(*streams, strict=True))) == 8
    assert tuple(stream.tracks() for stream in streams) == expected
    assert segmenter.tracks() == expected[1], "of the stream that this thread began last"


def test_a_stream_that_was_broken_off_leaves_nothing_behind(model, processor):
    segmenter = IfcVideoSegmenter(model, processor, num_frames=3)
    expected = segmenter(video(6))
    next(segmenter.stream(video(9, seed=5)))
    assert segmenter(video(6)) == expected


def test_tracks_belong_to_the_thread_that_asks(model, processor):
    segmenter = IfcVideoSegmenter(model, processor, num_frames=3)
    segmenter(video(4))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(segmenter.tracks).result() == []


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda segmenter: pickle.loads(pickle.dumps(segmenter))])
def test_copies_work_like_the_original(model, processor, copied):
    segmenter = IfcVideoSegmenter(model, processor, num_frames=3)
    expected = segmenter(video(5))
    assert copied(segmenter)(video(5)) == expected


# --- weights that change --------------------------------------------------------------------------------------------


def zero(model):
    with torch.no_grad():
        for parameter in model.model.backbone.parameters():
            parameter.zero_()


def zero_unseen(model):
    for parameter in model.model.backbone.parameters():
        parameter.data.zero_()


def load_others(model):
    model.load_state_dict({name: weight * 1.5 for name, weight in model.state_dict().items()})


def train_a_step(model):
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model.train()(torch.randn(1, 2, 3, 32, 32)).masks_queries_logits.square().mean().backward()
    optimizer.step()


CHANGES = [zero, zero_unseen, load_others, train_a_step, lambda model: model.to(torch.bfloat16)]


@pytest.mark.parametrize("change", CHANGES, ids=["in place", "data", "state dict", "training step", "type"])
def test_changed_weights_count_from_the_next_video_on(model, processor, change):
    model = copy.deepcopy(model)
    segmenter = IfcVideoSegmenter(model, processor, num_frames=3)
    before = segmenter(video(5))
    change(model)
    after = segmenter(video(5))
    assert after == IfcVideoSegmenter(model, processor, num_frames=3)(video(5)) != before


def test_another_model_counts_from_the_next_video_on(model, processor):
    segmenter = IfcVideoSegmenter(copy.deepcopy(model), processor, num_frames=3)
    segmenter(video(5))
    other = copy.deepcopy(model)
    zero(other)
    segmenter.model = other
    assert segmenter(video(5)) == IfcVideoSegmenter(other, processor, num_frames=3)(video(5))


def test_unchanged_weights_are_prepared_once(model, processor):
    segmenter = IfcVideoSegmenter(model, processor, num_frames=3)
    assert segmenter.engine() is segmenter.engine()


def test_boxes_are_tight_and_masks_have_the_output_size(model, processor):
    track = IfcVideoSegmenter(model, processor, 2)(video(3), output_size=(90, 111))[0]
    for rle, box in zip(track["segmentations"], track["boxes"], strict=True):
        rows, columns = np.nonzero(coco_mask.decode(rle))
        assert rle["size"] == [90, 111]
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_a_mask_is_where_the_mean_logit_is_above_zero(model, processor):
    video_pass = IfcVideoSegmenter(model, processor, score_threshold=0.25).stream(video(1))
    video_pass._frame_size_hw = (2, 2)
    logits = torch.tensor([[[-0.5, 0.5], [0.0, 1e-3]]]).expand(2, -1, -1)
    video_pass.join(range(4, 5), logits[:, None], torch.tensor([[0.2, 0.25, 0.1, 0.45], [0.2, 0.3, 0.1, 0.4]]))
    result = video_pass.finish_frame(4, TrackedFrame(4, [0, 1], logits))
    assert result.masks.tolist() == [[[False, True], [False, True]]]
    assert (result.frame_index, result.track_ids, result.labels.tolist()) == (4, [1], [1])  # 0.25 is not above 0.25


@pytest.mark.parametrize(("device", "expected"), [("cpu", 1), ("meta", 1), ("cuda", 4), ("xpu", 4)])
def test_frames_go_one_by_one_through_a_cpu_and_in_fours_elsewhere(device, expected):
    assert default_frames_per_batch(SimpleNamespace(device=SimpleNamespace(type=device))) == expected


def test_the_engine_knows_how_many_windows_hold_a_frame(model, processor):
    asked = []
    keeper = SimpleNamespace(engine_of=lambda *arguments: asked.append(arguments))
    IfcVideoSegmenter(model, processor, 6, 4, frames_per_batch=2, engine_keeper=keeper).engine()
    assert asked == [("torch", model, EngineSettings(frames_per_batch=2, windows_per_frame=1.5))]


def test_endless_sources_are_not_kept(model, processor):
    segmenter = IfcVideoSegmenter(model, processor, num_frames=3, clip_stride=2)
    held = []
    stream = segmenter.stream((frame for frame in np.tile(video(4), (30, 1, 1, 1))), keep_segmentations=False)
    for _ in stream:
        held.append(len(stream._features) + len(stream._pixels) + len(stream.tracker._frames))
    assert len(held) == 120
    assert max(held) <= 3 * (segmenter.num_frames + segmenter.frames_per_batch)
    assert max(held[60:]) == max(held[:60])
    assert not stream._segmentations
    assert "segmentations" not in stream.tracks()[0]


def test_no_frame_is_refused(model, processor):
    with pytest.raises(ValueError, match="The video has no frames"):
        IfcVideoSegmenter(model, processor)(iter(()))


def test_frames_of_differing_size_are_refused(model, processor):
    frames = [*video(6), video(1, size_hw=(40, 57))[0]]
    with pytest.raises(ValueError, match=r"\(40, 56\) \(height, width\), but frame 6 has \(40, 57\)"):
        IfcVideoSegmenter(model, processor, num_frames=2)(frames)


@pytest.mark.parametrize("name", ["num_frames", "clip_stride", "frames_per_batch"])
def test_sizes_below_one_are_refused(model, processor, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        IfcVideoSegmenter(model, processor, **{name: 0})


def test_not_a_number_in_the_weights_is_named(processor):
    model = tiny_model().eval()
    torch.nn.init.constant_(model.mask_head.pointwise.bias, float("nan"))
    torch.nn.init.constant_(model.class_head.layers[-1].bias[-1:], -50.0)
    with pytest.raises(ValueError, match="finite mask_logits"):
        IfcVideoSegmenter(model, processor)(video(5))


def test_folded_backbone_gives_the_same_maps(golden_model):
    backbone = golden_model("r50_ytvis").model.backbone
    frames = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for folded, plain in zip(
            fold_batch_norms(backbone)(frames).feature_maps, backbone(frames).feature_maps, strict=True
        ):
            torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)

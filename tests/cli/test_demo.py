"""What ships works as it is: the demo checkpoint finds the rabbit of the film clip and the large owl of the other."""

import json

import numpy as np
import pytest

from ifc_hf import IfcForVideoInstanceSegmentation, IfcImageProcessor, default_checkpoint
from ifc_hf.cli.main import main
from ifc_hf.model.masks import decode_rle
from ifc_hf.model.video_files import read_frames, video_info
from ifc_hf.samples import CLIPS, sample_annotations, sample_clip

# The rabbit's body covers this pixel (x, y) from frame 15 on (read off the frames by eye).
BODY_XY, BODY_FRAMES = (235, 170), range(15, 40)


def test_sample_clip():
    info = video_info(sample_clip())
    assert (info.size_hw, info.num_frames, info.fps) == ((360, 640), 40, 25)
    assert len(list(read_frames(sample_clip()))) == 40
    assert sum(sample_clip(name).stat().st_size for name in CLIPS) < 1_000_000
    with pytest.raises(ValueError, match="expected a sample clip"):
        sample_clip("rabbit")


def test_masks_of_the_generated_clip():
    content = json.loads(sample_annotations().read_text(encoding="utf-8"))
    (video,) = content["videos"]
    frames = list(read_frames(sample_clip("generated")))
    assert len(frames) == video["length"] == 24
    assert frames[0].shape == (video["height"], video["width"], 3) == (360, 640, 3)
    for item in content["annotations"]:
        assert len(item["segmentations"]) == 24
        assert all(rle is None or decode_rle(rle).shape == (360, 640) for rle in item["segmentations"])
    # The owls are brown before a gray sky, so the masks are those of these very frames.
    masks = np.any([decode_rle(item["segmentations"][12]) for item in content["annotations"]], axis=0)
    redness = frames[12][..., 0].astype(int) - frames[12][..., 2]
    assert redness[masks].mean() > 30 and redness[~masks].mean() < 10


def test_checkpoint_is_complete_and_small():
    files = {path.name: path.stat().st_size for path in default_checkpoint().iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"} <= set(files)
    assert sum(files.values()) < 15_000_000
    model, info = IfcForVideoInstanceSegmentation.from_pretrained(default_checkpoint(), output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert str(model.dtype) == "torch.float32", "half precision is for the disk"
    assert IfcImageProcessor.from_pretrained(default_checkpoint()).size["shortest_edge"] == 288


def volume_iou(first, second):
    """IoU of two tracks over all frames together; a frame's mask is an RLE or None."""
    empty = np.zeros((360, 640), dtype=bool)
    pairs = [
        [empty if rle is None else decode_rle(rle).astype(bool) for rle in pair]
        for pair in zip(first, second, strict=True)
    ]
    return sum((a & b).sum() for a, b in pairs) / sum((a | b).sum() for a, b in pairs)


def test_demo_finds_the_rabbit_and_the_owl(tmp_path, capsys):
    pytest.importorskip("supervision", reason="drawing is the extra `draw`")
    assert main(["demo", "-o", str(tmp_path)]) == 0
    tracks = json.loads((tmp_path / "bunny" / "tracks.json").read_text())["tracks"]
    assert all(track["score"] >= 0.6 for track in tracks), "doubtful tracks make the drawing hard to read"
    best = tracks[0]
    assert best["label"] == "rabbit"
    masks = [best["segmentations"][frame] for frame in BODY_FRAMES]
    on_body = [mask is not None and decode_rle(mask)[BODY_XY[1], BODY_XY[0]] for mask in masks]
    assert np.mean(on_body) > 0.8
    assert video_info(tmp_path / "bunny" / "drawn.mp4").num_frames == 40

    best = json.loads((tmp_path / "generated" / "tracks.json").read_text())["tracks"][0]
    assert best["label"] == "owl"
    objects = json.loads(sample_annotations().read_text(encoding="utf-8"))["annotations"]
    assert max(volume_iou(best["segmentations"], item["segmentations"]) for item in objects) > 0.8

    lines = capsys.readouterr().out.splitlines()
    assert "trained on generated clips of cut-outs" in lines[0]
    files = [tmp_path / clip / name for clip in CLIPS for name in ("tracks.json", "drawn.mp4", "sheet.jpg")]
    assert [line for line in lines if line.startswith(str(tmp_path))] == [str(file) for file in files]
    assert all(file.is_file() for file in files)


def test_the_demo_has_every_option_of_predict(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr("ifc_hf.cli.predict.run", lambda args: given.append(args) or 0)
    assert (
        main(["predict", "a.mp4"]) == main(["demo", "-o", str(tmp_path), "--clip", "bunny", "--threshold", "0.5"]) == 0
    )
    of_predict, of_demo = map(vars, given)
    assert set(of_predict) <= set(of_demo)
    assert of_demo["videos"] == [str(sample_clip("bunny"))] and of_demo["output"] == tmp_path
    assert of_demo["threshold"] == 0.5 and of_demo["overwrite"] and not of_demo["live"]

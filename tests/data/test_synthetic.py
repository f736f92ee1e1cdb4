"""The generated data set is exact, deterministic and in the official layout."""

import json

import numpy as np
import pytest
from PIL import Image

from ifc_hf.data.synthetic import write_synthetic_coco, write_synthetic_ytvis
from ifc_hf.model.masks import decode_rle


def test_same_seed_same_files(tmp_path):
    """Two runs write the same JSON and pixels; another seed does not."""
    for name, seed in {"a": 3, "b": 3, "c": 4}.items():
        write_synthetic_ytvis(tmp_path / name, num_videos=2, num_frames=3, size_hw=(32, 48), seed=seed)
    a, b, c = ((tmp_path / name / "train.json").read_text() for name in "abc")
    assert a == b and a != c
    frame = "train/JPEGImages/train_0001/00002.jpg"
    assert (tmp_path / "a" / frame).read_bytes() == (tmp_path / "b" / frame).read_bytes()


def test_masks_boxes_and_areas_agree(tmp_path):
    """Masks of one frame do not overlap; boxes and areas are those of the masks; the object's colour is inside."""
    write_synthetic_ytvis(tmp_path, num_videos=6, num_frames=5, size_hw=(48, 64), seed=1, max_instances=3)
    content = json.loads((tmp_path / "train.json").read_text())
    covered = np.zeros((7, 5, 48, 64), dtype=int)
    for annotation in content["annotations"]:
        entries = zip(annotation["segmentations"], annotation["bboxes"], annotation["areas"], strict=True)
        assert any(rle is not None for rle in annotation["segmentations"])
        for frame_index, (rle, box_xywh, area) in enumerate(entries):
            if rle is None:
                assert box_xywh is None and area is None
                continue
            mask = decode_rle(rle)
            covered[annotation["video_id"], frame_index] += mask
            y, x = np.nonzero(mask)
            assert box_xywh == [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
            assert area == mask.sum()
    assert covered.max() == 1
    video = content["videos"][0]
    frame = np.asarray(Image.open(tmp_path / "train/JPEGImages" / video["file_names"][0]))
    assert frame.shape == (video["height"], video["width"], 3)


def test_coco_layout(tmp_path):
    """Images and instances lie where COCO has them."""
    write_synthetic_coco(tmp_path, num_images=3, size_hw=(32, 40))
    content = json.loads((tmp_path / "annotations/instances_train2017.json").read_text())
    assert [image["id"] for image in content["images"]] == [1, 2, 3]
    assert all((tmp_path / "train2017" / image["file_name"]).is_file() for image in content["images"])
    assert all(decode_rle(a["segmentation"]).shape == (32, 40) for a in content["annotations"])


def test_refuses_impossible_sizes(tmp_path):
    """Zero frames make no video."""
    with pytest.raises(ValueError, match="num_frames=0"):
        write_synthetic_ytvis(tmp_path, num_frames=0)

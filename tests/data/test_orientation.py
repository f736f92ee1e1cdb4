"""Batches of frames of one orientation."""

import numpy as np
import pytest

from ifc_hf import load_coco, load_ytvis
from ifc_hf.data.clips import ImageClipDataset, MixedClipDataset, VideoClipDataset
from ifc_hf.data.orientation import OrientationSampler
from ifc_hf.data.synthetic import write_synthetic_coco, write_synthetic_ytvis


def clips_of(sizes_hw):
    return ImageClipDataset([{"height": height, "width": width} for height, width in sizes_hw])


def test_every_batch_has_one_orientation_and_every_clip_comes():
    sizes_hw = [(48, 64), (64, 48), (64, 64)] * 9  # 9 wide ones, 18 that are not
    sampler = OrientationSampler(clips_of(sizes_hw), batch_size=4)
    indices = list(sampler)
    assert len(indices) == len(sampler) == 12 + 20
    assert set(indices) == set(range(27))
    is_wide = np.array([sizes_hw[index][1] > sizes_hw[index][0] for index in indices]).reshape(-1, 4)
    assert (is_wide.all(axis=1) | ~is_wide.any(axis=1)).all()
    assert 0 < is_wide[:, 0].sum() < len(is_wide) and is_wide[:, 0].tolist() != sorted(is_wide[:, 0].tolist())


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        clips = clips_of([(4, 6), (6, 4)] * 10)
        sampler = OrientationSampler(clips, batch_size=2, seed=seed)
        clips.set_epoch(epoch)
        return tuple(sampler)

    assert order(0, 0) == order(0, 0)
    assert len({order(0, 0), order(1, 0), order(0, 1)}) == 3


@pytest.mark.parametrize("size_hw", [(16, 24), (24, 16)])
def test_rows_of_both_readers_tell_their_shapes(tmp_path, size_hw):
    videos = load_ytvis(
        write_synthetic_ytvis(tmp_path / "videos", num_videos=3, num_frames=1, size_hw=size_hw), cache_dir=tmp_path
    )
    images = load_coco(write_synthetic_coco(tmp_path / "coco", num_images=3, size_hw=size_hw), cache_dir=tmp_path)
    for clips in (VideoClipDataset(videos), ImageClipDataset(images)):
        assert sorted(OrientationSampler(clips, batch_size=3)) == [0, 1, 2]


def test_clips_whose_shape_is_not_known_are_refused():
    mixture = MixedClipDataset([clips_of([(4, 6)])])
    with pytest.raises(ValueError, match="same_orientation: expected .*, got MixedClipDataset"):
        OrientationSampler(mixture, batch_size=2)
    with pytest.raises(ValueError, match="the rows have no column 'width'"):
        OrientationSampler(ImageClipDataset([{"height": 4}]), batch_size=2)

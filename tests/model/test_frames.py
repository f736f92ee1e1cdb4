"""Frames of unusual values: brought to the scale of the model, or refused with what was seen."""

import numpy as np
import pytest
import torch
from PIL import Image

from ifc_hf import IfcImageProcessor
from ifc_hf.model.frames import in_full_range, to_frame

VIDEO = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), dtype=np.uint8)


def pixels(video, **options) -> torch.Tensor:
    return IfcImageProcessor(size={"shortest_edge": 24, "longest_edge": 32}, **options)(video).pixel_values


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_0_to_1_are_brought_to_0_to_255(dtype):
    tolerance = 1e-2 if dtype == np.float16 else 1e-5
    torch.testing.assert_close(pixels((VIDEO / 255).astype(dtype)), pixels(VIDEO), atol=tolerance, rtol=0)


def test_floats_of_0_to_1_stay_if_nothing_is_rescaled():
    raw = pixels((VIDEO / 255).astype(np.float32), do_rescale=False, do_normalize=False)
    assert raw.max() <= 1


def test_floats_of_0_to_255_stay_in_dark_frames_too():
    dark = VIDEO.astype(np.float32)
    dark[1] = dark[1] / 255  # as in a fade
    torch.testing.assert_close(pixels(dark)[0, 0], pixels(VIDEO)[0, 0])
    torch.testing.assert_close(pixels(dark, do_normalize=False)[0, 1].max(), torch.tensor(dark[1].max() / 255))
    black = [torch.zeros(3, 4, 4), torch.ones(3, 4, 4)]
    assert all(after is before for after, before in zip(in_full_range(black), black, strict=True))


def test_16_bit_pictures_keep_their_contrast():
    ramp = np.tile(np.arange(0, 256, dtype=np.uint8), (8, 1))
    picture = to_frame(Image.fromarray(ramp.astype(np.uint16) * 257))
    np.testing.assert_array_equal(np.asarray(picture), ramp)


def test_integer_arrays_are_refused_with_their_range():
    with pytest.raises(ValueError, match="expected pixels of dtype uint8 or float, got torch.uint16 with values 0 to"):
        to_frame(VIDEO[0].astype(np.uint16) * 257)

"""The official tests of a Transformers image processor, for IFC: what the suite calls an image is a video here."""

import unittest

import numpy as np
import torch
from official_suite import skip_listed_tests, suite_image_processing
from PIL import Image

from ifc_hf import IfcImageProcessor

SKIPPED = {
    "test_backends_equivalence": "there is one class for both backends, and the test's picture lies on the Hub",
    "test_call_numpy_4_channels": "the network takes RGB",
    "test_pil_can_run_without_torchvision": (
        "its script doesn't import this package; tests/test_import.py loads the processor under both keys"
    ),
}


class IfcImageProcessingTester(suite_image_processing.ImageProcessingTester):
    """Videos of two frames, as arrays."""

    num_frames = 2

    def __init__(self, parent, **kwargs):
        kwargs.setdefault("size", {"shortest_edge": 32, "longest_edge": 96})  # frames of at most 1 to 3
        super().__init__(parent, batch_size=3, min_resolution=20, max_resolution=60, **kwargs)

    def _get_image_processing_classes(self):
        return {"pil": IfcImageProcessor, "torchvision": IfcImageProcessor}

    def prepare_image_inputs(self, numpify=False, torchify=False, **kwargs):
        """Batch of videos: (L, H, W, 3) arrays, (L, 3, H, W) tensors, or lists of PIL images."""
        frames = super().prepare_image_inputs(numpify=numpify, torchify=torchify, **kwargs)
        if torchify:
            return [torch.stack([frame] * self.num_frames) for frame in frames]
        if numpify:
            return [np.stack([frame] * self.num_frames) for frame in frames]
        return [[frame.copy() for _ in range(self.num_frames)] for frame in frames]

    # Overridden: the suite cuts the fraction of the longer side off, the reference rounds it.
    def expected_output_image_shape(self, images):
        """(T, 3, H, W)."""
        sizes_hw = []
        for video in images:
            frame = video[0]
            if isinstance(frame, Image.Image):
                height, width = frame.height, frame.width
            else:
                height, width = frame.shape[1:] if isinstance(frame, torch.Tensor) else frame.shape[:2]
            scale = self.size["shortest_edge"] / min(height, width)
            sizes_hw.append((int(height * scale + 0.5), int(width * scale + 0.5)))
        return self.num_frames, self.num_channels, *(max(sides) for sides in zip(*sizes_hw, strict=True))


@skip_listed_tests(SKIPPED)
class IfcImageProcessingTest(suite_image_processing.ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = IfcImageProcessingTester
    test_cast_dtype = True

    # Overridden: the original wants every input to be a PIL image, a video of them is a list.
    def test_call_pil(self):
        videos = self.image_processor_tester.prepare_image_inputs()
        self.assertIsInstance(videos[0][0], Image.Image)
        processor = IfcImageProcessor(**self.image_processor_dict)
        for batch, inputs in ((videos[:1], videos[0]), (videos, videos)):
            expected_shape = (len(batch), *self.image_processor_tester.expected_output_image_shape(batch))
            self.assertEqual(tuple(processor(inputs).pixel_values.shape), expected_shape)

"""Options of the image processor that a file or a call gives."""

import json

import numpy as np
import pytest

from ifc_hf import IfcImageProcessor

HOSTILE = {
    "image_mean": ["0.5", [0.5, 0.5], [None] * 3, {"a": 1}, [float("nan")] * 3],
    "image_std": [0, [0.2, 0, 0.2], [1, 2], "x", [10**400] * 3],
    "rescale_factor": [0, -1, "1", float("inf"), True],
    "size": [
        {"shortest_edge": {"a": 1}},
        {"shortest_edge": 360, "longest_edge": {}},
        {"shortest_edge": -1},
        {"height": 0, "width": 8},
        {"height": 2**20, "width": 2**20},
    ],
    "pad_size": [{"height": 2**20, "width": 2**20}, {"height": "8", "width": 8}],
    "resample": ["bilinear", 17, True, 2.5],
    "do_resize": ["yes", 1],
    "num_labels": [-1, 2**40, "3"],
    "category_id_to_label": [[1, 2], {"a": 1}, {"1": "b"}, {"1": 2**70}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in HOSTILE.items() for value in values])
def test_an_option_of_a_file_is_checked_when_it_is_loaded(tmp_path, name, value):
    content = {"image_processor_type": "IfcImageProcessor", name: value}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=name):
        IfcImageProcessor.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["image_mean", "image_std"])
def test_normalising_needs_mean_and_deviation(tmp_path, name):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, name: None}))
    with pytest.raises(ValueError, match=f"{name}: expected a number, or three"):
        IfcImageProcessor.from_pretrained(tmp_path)
    IfcImageProcessor(do_normalize=False, **{name: None})


def test_an_option_of_a_call_is_checked():
    with pytest.raises(ValueError, match="image_std: expected a number above 0, or three, got 0.0"):
        IfcImageProcessor()(np.zeros((1, 8, 8, 3), np.uint8), image_std=0.0)


def test_a_frame_isnt_resized_beyond_the_limit():
    processor = IfcImageProcessor(size={"shortest_edge": 2**20})
    with pytest.raises(ValueError, match="more than the limit of 268435456 pixels"):
        processor(np.zeros((1, 8, 8, 3), np.uint8))


def test_ids_of_categories_are_numbers_again(tmp_path):
    IfcImageProcessor(category_id_to_label={5: 0, 7: 1}).save_pretrained(tmp_path)
    annotations = [{"category_id": 7, "segmentations": [np.ones((8, 8), bool)]}]
    processor = IfcImageProcessor.from_pretrained(tmp_path)
    inputs = processor(np.zeros((1, 8, 8, 3), np.uint8), annotations=annotations)
    assert inputs["labels"][0]["class_labels"].tolist() == [1]

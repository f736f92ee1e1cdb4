"""Fixtures that several test files share."""

import functools
from collections.abc import Callable

import pytest

from golden import reference_state_dict

GOLDEN_VARIANTS = {
    "r50_ytvis": ("resnet50", "ytvis_2019"),
    "r101_ytvis": ("resnet101", "ytvis_2019"),
    "r50_coco": ("resnet50", "coco"),
}


@pytest.fixture(scope="session")
def golden_model() -> Callable:
    """`golden_model(variant)`: the network the goldens were recorded with, dropout 0, in evaluation mode.

    It is shared by all tests: leave weights, mode and gradients as they were.
    """
    return _golden_model


@functools.lru_cache
def _golden_model(variant: str):
    from ifc_hf import IfcForVideoInstanceSegmentation
    from ifc_hf.conversion import convert_state_dict, make_config

    weights = reference_state_dict(variant)
    config = make_config(weights, *GOLDEN_VARIANTS[variant])
    config.dropout = 0.0
    model = IfcForVideoInstanceSegmentation(config)
    model.load_state_dict(convert_state_dict(weights))
    return model.eval()

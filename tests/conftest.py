"""Fixtures that several test files share."""

import functools
from collections.abc import Callable

import pytest

from golden import VARIANTS, reference_state_dict


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
    config = make_config(weights, *VARIANTS[variant])
    config.dropout = 0.0
    model = IfcForVideoInstanceSegmentation(config)
    model.load_state_dict(convert_state_dict(weights))
    return model.eval()

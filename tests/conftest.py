"""What holds for every test: the number of threads, and fixtures that several files share."""

import functools
import os
from collections.abc import Callable

# Sums depend on the number of threads: 2e-4 of a logit. Processes that tests start take it over. PyTorch reads it when
# it is imported, so this comes before the imports below. One thread is also the fastest: the tests' tensors are tiny.
os.environ["OMP_NUM_THREADS"] = "1"

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

"""Declares the markers of the official suite, which pyproject.toml's `--strict-markers` would refuse."""

import pytest

SUITE_MARKERS = (
    "accelerate_tests",
    "flash_attn_3_test",
    "flash_attn_4_test",
    "flash_attn_test",
    "torch_compile_test",
)


def pytest_configure(config: pytest.Config) -> None:
    for marker in SUITE_MARKERS:
        config.addinivalue_line("markers", f"{marker}: of the official suite")

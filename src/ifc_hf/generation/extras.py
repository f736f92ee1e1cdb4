"""Importing what the extra `generate` installs."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(module: str) -> Any:
    """Import a module of the extra `generate`.

    Raises:
        ModuleNotFoundError: If it is not installed: says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{module} is needed to decode these pictures: pip install 'ifc_hf[generate]'"
        ) from error

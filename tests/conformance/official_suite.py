"""The test mixins of the installed Transformers version, which its wheel does not hold.

Importing this module fetches the source distribution of the same version once (`.cache/`, never part of the
repository) and makes its test modules importable as the package `transformers_tests`.
"""

import importlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest import TestCase, skip
from unittest.mock import patch

import transformers
from filelock import FileLock
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

CACHE = Path(__file__).parents[2] / ".cache" / "transformers-tests"


def fetch(version: str) -> Path:
    """Fetches the test modules of a Transformers version, if they are not there yet.

    Returns:
        The folder that holds `test_modeling_common.py` and the others.

    Raises:
        subprocess.CalledProcessError: If pip can't fetch the source distribution.
    """
    folder = CACHE / version
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "lock"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:  # pytest-xdist: many processes
        if not folder.exists():
            what = ["--no-deps", "--no-binary", "transformers", f"transformers=={version}"]
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *what, "--dest", scratch], check=True)
            with tarfile.open(Path(scratch) / f"transformers-{version}.tar.gz") as archive:
                archive.extractall(scratch, filter="data")
            os.replace(Path(scratch) / f"transformers-{version}" / "tests", folder)
    return folder


def add_module(name: str, **content: object) -> None:
    """Makes an importable module of some values."""
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module


def import_suite(name: str) -> ModuleType:
    """Imports a module of the suite, with stand-ins for its imports that no source distribution holds."""
    add_module("transformers_tests", __path__=[str(fetch(transformers.__version__))])
    for subpackage in ("exporters", "generation", "utils"):
        add_module(f"transformers_tests.{subpackage}", __path__=[])
    # Tests of the exporters: tests/test_export.py does that job. Tests of text generation: there is none.
    add_module("transformers_tests.exporters.test_export", ExportTesterMixin=type("ExportTesterMixin", (), {}))
    add_module("transformers_tests.generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
    # Read for configurations without sub-configuration alone.
    add_module("transformers_tests.utils.test_configuration_utils", config_common_kwargs={})
    add_module("fetch_hub_objects_for_ci", url_to_local_path=lambda url: url)
    # It would import Transformers a second time, from a source tree around the tests.
    with patch("transformers.utils.direct_transformers_import", lambda path: transformers):
        return importlib.import_module(f"transformers_tests.{name}")


def skip_listed_tests(reasons: dict[str, str]) -> Callable[[type[TestCase]], type[TestCase]]:
    """Class decorator: skips the tests whose names begin with a key, for the reason given (pytest's `-rs` prints it).

    Raises:
        ValueError: If a key matches no test, as when the suite has renamed it.
    """

    def decorate(test_class: type[TestCase]) -> type[TestCase]:
        for prefix, reason in reasons.items():
            names = [name for name in dir(test_class) if name.startswith(prefix)]
            if not names:
                raise ValueError(f"the official suite has no test {prefix!r}")
            for name in names:
                setattr(test_class, name, skip(reason)(getattr(test_class, name)))
        return test_class

    return decorate


# The suite looks here for what is a base model, which has no loss.
MODEL_MAPPING_NAMES["ifc"] = "IfcModel"

suite_configuration = import_suite("test_configuration_common")
suite_modeling = import_suite("test_modeling_common")
suite_image_processing = import_suite("test_image_processing_common")

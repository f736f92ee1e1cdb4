"""Where things lie in the repository."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
TESTS = ROOT / "tests"


def load_script(name: str) -> ModuleType:
    """A file of `scripts/` as a module; it may import its neighbours."""
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))
    return importlib.import_module(name)

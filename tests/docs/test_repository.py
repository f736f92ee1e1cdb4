"""What must not be in the repository."""

import re
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from paths import ROOT

MAX_BYTES = 20_000_000
# Spelled in parts, so that this file passes its own test.
MACHINE_PATH = re.compile(r"(^|[^\w.])/(work|root|home/[a-z]+|Users|opt|tmp)" + "/")
REGISTRY_HOST = re.compile("|".join(("pypi" + r"\.org", "python" + "hosted", r"registry\.npm" + "js")))


@pytest.fixture(scope="module")
def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout: nothing is tracked")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY_HOST], ids=["machine path", "registry host"])
def test_text_names_no_machine(tracked_files, pattern):
    found = []
    for path in tracked_files:
        content = path.read_bytes()
        if path.suffix == ".json" or b"\0" in content:
            continue
        lines = content.decode("utf-8", errors="replace").splitlines()
        found += [f"{path.relative_to(ROOT)}:{number}" for number, line in enumerate(lines, 1) if pattern.search(line)]
    assert not found


def test_no_large_file(tracked_files):
    assert not [path.name for path in tracked_files if path.stat().st_size > MAX_BYTES]


def test_the_table_of_extras_is_complete():
    options = ConfigParser()
    options.read(ROOT / "setup.cfg")
    page = (ROOT / "docs/libraries.md").read_text(encoding="utf-8").partition("## Extras")[2]
    named = {
        name for row in page.splitlines() if row.startswith("| `") for name in re.findall("`(.*?)`", row.split("|")[1])
    }
    assert named == set(options["options.extras_require"])

"""The wheel holds all that the package needs, and works in an environment without the repository."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import ifc_hf
from paths import ROOT

SOURCES = ("pyproject.toml", "setup.cfg", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE", "NOTICE", "src")


def run(*command: object, **options: object) -> str:
    # Without PYTHONPATH, through which a test run may find the repository.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, which is built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder)
    (found,) = (folder / "dist").glob("*.whl")
    return found


@pytest.mark.slow
def test_its_content_is_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        links = [info.filename for info in archive.infolist() if (info.external_attr >> 28) == 0o12]
        metadata = message_from_string(archive.read(f"ifc_hf-{ifc_hf.__version__}.dist-info/METADATA").decode())
    sources = (path for path in (ROOT / "src/ifc_hf").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert names == {str(path.relative_to(ROOT / "src")) for path in sources} and not links
    assert metadata["Version"] == ifc_hf.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "# ifc_hf" in metadata.get_payload()
    # Where there is no PyPI classifier for a word, an index refuses the upload.
    assert all("::" in classifier for classifier in metadata.get_all("Classifier"))


@pytest.mark.slow
def test_it_installs_and_runs_the_demo_without_the_repository(wheel, tmp_path):
    venv.create(tmp_path / "environment", with_pip=False)
    python = tmp_path / "environment/bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    # The libraries of this environment, but not what is installed in it as editable: Python follows `.pth` files once.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    borrowed = tmp_path / "environment/lib" / version / "site-packages/borrowed.pth"
    borrowed.write_text("".join(f"{sysconfig.get_path(name)}\n" for name in ("purelib", "platlib")))
    where = run(python, "-c", "import ifc_hf; print(ifc_hf.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(tmp_path / "environment")
    run(python.with_name("ifc-hf"), "demo", "--output", tmp_path / "demo", cwd=tmp_path)
    tracks = json.loads((tmp_path / "demo/bunny/tracks.json").read_text())["tracks"]
    assert tracks[0]["label"] == "rabbit"
    assert (tmp_path / "demo/bunny/drawn.mp4").stat().st_size > 10_000

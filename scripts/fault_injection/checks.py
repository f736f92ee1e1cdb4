"""What is looked at after a fault: files that don't parse, names that should be gone, words on the standard error."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import av
import torch
from PIL import Image
from safetensors import safe_open

from ifc_hf.files import read_json

from .commands import OUTPUT

PICTURES = (".png", ".jpg", ".gif")
# `--resume` recognises a checkpoint that is not finished; an evaluation's lines are joined and removed at its end.
UNFINISHED = re.compile(r"output/(checkpoint-\d+/.*|results\.\d+\.jsonl)")
LAST_LINES = {
    "SIGINT": re.compile(r"interrupted\b.*"),
    "SIGTERM": re.compile(r"terminated|interrupted after step .*"),
    "disk": re.compile(r"error: .*([Nn]o space left|disk is full|[Nn]ot enough disk|there is room for).*"),
}
# A checkpoint more than the undisturbed run has; and what Python's multiprocessing doesn't remove after SIGKILL, an
# empty folder.
HARMLESS = re.compile(r"output/checkpoint-\d+(/.*)?|temporary/pymp-\w+")


def is_temporary(path: Path) -> bool:
    """Whether a file has the name of an unfinished one."""
    return path.name.startswith(".") or ".part" in path.suffixes or ".incomplete" in path.name


def broken_files(place: Path) -> list[str]:
    """The files under their final names that can't be read."""
    found = []
    for path in sorted((place / OUTPUT).rglob("*")):
        relative = str(path.relative_to(place))
        parents_temporary = any(is_temporary(parent) for parent in path.relative_to(place).parents if parent.name)
        if not path.is_file() or is_temporary(path) or parents_temporary or UNFINISHED.fullmatch(relative):
            continue
        try:
            parse(path)
        except Exception as error:  # whatever a reader says of a broken file
            found.append(f"{relative}: {type(error).__name__}: {error}"[:200])
    return found


def parse(path: Path) -> None:
    """Reads a file to its end."""
    suffix = path.suffix
    if suffix == ".json":
        read_json(path)
    elif suffix in PICTURES:
        with Image.open(path) as picture:
            picture.load()
    elif suffix == ".mp4":
        with av.open(str(path)) as container:
            assert any(True for _ in container.decode(video=0))
    elif suffix == ".safetensors":
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - no dict
                tensors.get_tensor(name)
    elif suffix == ".pt2":
        torch.export.load(path)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    else:
        assert path.stat().st_size > 0, "empty"


def leftovers(place: Path, expected: set[str]) -> list[str]:
    """The names that the undisturbed run doesn't leave: in the results, and in the folder of temporary files.

    Of a folder with all that it holds, its name alone.
    """
    found: list[str] = []
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if name.startswith("cache/") or name in expected or HARMLESS.fullmatch(name):
            continue
        if not (found and name.startswith(f"{found[-1]}/")):
            found.append(name)
    return found


def names_in(place: Path) -> set[str]:
    """All names, but those of the cache."""
    names = {str(path.relative_to(place)) for path in place.rglob("*")}
    return {name for name in names if not name.startswith("cache/")}


def words(kind: str, exit_code: int | None, errors: str) -> list[str]:
    """What is wrong with exit code and message after a fault."""
    found = []
    for sign in ("Traceback", "Exception ignored", "Fatal Python error"):
        if sign in errors:
            found.append(f"{sign} on the standard error: {errors[errors.index(sign) :][-300:]}")
    if kind == "SIGKILL" or exit_code == 0:
        return found
    expected = {"SIGINT": 130, "SIGTERM": 143, "disk": 1}[kind]
    if exit_code != expected:
        found.append(f"exit code {exit_code}, expected {expected}")
    lines = [line.strip() for line in re.split(r"[\r\n]+", errors) if line.strip()]
    if not lines or not LAST_LINES[kind].fullmatch(lines[-1]):
        found.append(f"last line {lines[-1][:200] if lines else ''!r}")
    return found

"""Exports that are zip archives: unpacked into a temporary folder, none of their names out of it."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...files import FileError, inside, scratch_folder
from ...model.limits import LIMITS
from .common import fail


@contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """Yields the folder with an archive's files, or the source itself if it is no archive.

    Raises:
        DataSetError: If the archive is broken, has a name that leads out of it, a link, a name that is there twice,
            too many files, or more content than the disk has room for.
    """
    if source.suffix.lower() != ".zip" or not source.is_file():
        yield source
        return
    with scratch_folder("ifc_hf_archive") as folder:
        try:
            with zipfile.ZipFile(source) as archive:
                _unpack(archive, folder, str(source))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            fail("bad archive", f"can't be unpacked: {error}", str(source))
        inner = list(folder.iterdir())
        yield inner[0] if len(inner) == 1 and inner[0].is_dir() else folder


def _unpack(archive: zipfile.ZipFile, folder: Path, file: str) -> None:
    members = [member for member in archive.infolist() if not member.is_dir()]
    size, room = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if len(members) > LIMITS.entries or size > room:
        message = f"{len(members)} files of {size} bytes in all: there is room for {LIMITS.entries} of {room} bytes"
        fail("bad archive", message, file)
    for member in members:
        if stat.S_ISLNK(member.external_attr >> 16):
            fail("outside", f"{member.filename:.200}: a link in an archive", file)
        try:
            target = inside(folder, member.filename)
        except FileError as error:
            fail("outside", str(error), file)
        if target.exists():
            fail("bad archive", f"{member.filename:.200} is there twice", file)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as packed, open(target, "wb") as stream:  # stops at the size that was declared
            shutil.copyfileobj(packed, stream)

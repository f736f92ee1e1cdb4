"""Files that appear as a whole or not at all, and the reading of JSON.

The ground floor: this module imports nothing of ours.
"""

from __future__ import annotations

import codecs
import errno
import gc
import hashlib
import io
import json
import os
import re
import shutil
import socket
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import orjson

FULL_BELOW_BYTES = 1 << 20  # what a writer that failed may leave free of a full disk
JsonObject: TypeAlias = dict[str, Any]  # what JSON has between { and }


class FileError(ValueError):
    """A file that is missing or broken; the message names it."""


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Writes a file as a whole or not at all.

    What processes of this machine that were killed have left in the folder is removed first.

    Args:
        path: Name of the result; its folder is made if it is missing. What lies there is replaced.

    Yields:
        A temporary name of this process beside the result, with the same suffix, to write to. When the block ends, the
        content goes to the disk and takes the name of the result; after any exception nothing is left.

    Raises:
        OSError: Also in place of what a library raises when the disk is full.

    Example:
        >>> with whole_file("scores.json") as temporary:  # doctest: +SKIP
        ...     temporary.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_once(path.parent)
    temporary = temporary_name(path)
    try:
        with full_disk_is_os_error(path):
            yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        remove(temporary)


@contextmanager
def whole_folder(path: str | os.PathLike[str], must_be_new: bool = False) -> Iterator[Path]:
    """Writes a folder as a whole or not at all; otherwise like `whole_file`.

    Args:
        path: Name of the result. What lies there is replaced with all that it holds.
        must_be_new: Refuse to replace anything but an empty folder.

    Yields:
        An empty temporary folder.

    Raises:
        FileExistsError: If something lies there that must not be replaced.
        OSError: Also in place of what a library raises when the disk is full.
    """
    path = Path(os.path.abspath(path))  # "." has no name to put another beside
    if must_be_new and (os.path.lexists(path) and not is_empty_folder(path)):
        raise FileExistsError(f"{path} exists already and is not an empty folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_once(path.parent)
    temporary, former = temporary_name(path), temporary_name(path)
    try:
        temporary.mkdir()
        with full_disk_is_os_error(path):
            yield temporary
        for file in temporary.rglob("*"):
            sync(file)
        sync(temporary)
        if must_be_new and path.is_dir():
            path.rmdir()  # fails if another process has put something in
        elif os.path.lexists(path):  # a folder can't be replaced while it holds something
            os.replace(path, former)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        if os.path.lexists(former) and not os.path.lexists(path):
            os.replace(former, path)
        remove(temporary)
        remove(former)


def is_empty_folder(path: Path) -> bool:
    """Whether there is a folder without content."""
    return path.is_dir() and not any(path.iterdir())


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """A folder for temporary files, gone afterwards; that of a killed process of this machine goes with the next one.

    Args:
        name: What it is for.

    Yields:
        The folder, in the system's folder of temporary files. Nobody else can read it.
    """
    place = Path(tempfile.gettempdir())
    remove_leftovers(place)
    folder = temporary_name(place / name)
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        remove(folder)


@contextmanager
def full_disk_is_os_error(path: Path) -> Iterator[None]:
    """Raises an OSError where a library says in words of its own, or not at all, that the disk is full.

    Args:
        path: What is written in the block.
    """
    try:
        yield
    except Exception as error:
        is_full = shutil.disk_usage(path.parent).free < FULL_BELOW_BYTES
        if isinstance(error, OSError) or not (is_full or os.strerror(errno.ENOSPC) in str(error)):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def temporary_name(path: Path) -> Path:
    """A name beside a path that no other process or thread uses, hidden, with the same suffix."""
    # Only the beginning of a long name, because file systems allow 255 bytes.
    owner = f"{this_machine()}-{os.getpid()}"
    return path.with_name(f".{path.stem[:40]}.{owner}-{uuid.uuid4().hex[:8]}.part{path.suffix}")


@cache
def this_machine() -> str:
    """What tells this machine, or container, from others that write to the same disk and number processes alike."""
    text = socket.gethostname()
    with suppress(OSError):  # Linux alone has it
        text += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(text.encode()).hexdigest()[:6]


_swept: set[Path] = set()


def sweep_once(folder: Path) -> None:
    """`remove_leftovers`, but only for the first time that this process writes to a folder, which may be large."""
    folder = folder.absolute()
    if folder not in _swept:
        _swept.add(folder)
        remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Removes what `whole_file`, `whole_folder` and `scratch_folder` left of processes of this machine that are gone.

    Parts of processes that run or are another machine's, and files of other names, stay.
    """
    pattern = re.compile(rf"\..*\.{this_machine()}-(\d+)-[0-9a-f]{{8}}\.part(\..*)?")
    for name in os.listdir(folder) if folder.is_dir() else ():
        match = pattern.fullmatch(name)
        if match and not is_running(int(match[1])):
            with suppress(OSError):  # somebody else's; or another process removes it as well
                remove(folder / name)


def is_running(process_id: int) -> bool:
    """Whether a process of this machine exists; True where there is no way to know."""
    if os.name == "nt":
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (OverflowError, OSError):  # somebody else's
        return True
    return True


def remove(path: Path) -> None:
    """Removes a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    is_folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        if not is_folder:  # Windows opens no folders, and some network file systems don't sync them
            raise


def inside(root: str | os.PathLike[str], name: Any, allow_outside: bool = False) -> Path:
    """Path of a file or folder below `root` that somebody else's file names.

    Args:
        root: The folder that names start from; it may be a link itself.
        name: A relative name without `..`. What has that name may be missing.
        allow_outside: Take absolute names, `..`, and links that lead out of the root: for those who link their frames
            on purpose. Devices, pipes and sockets are refused all the same.

    Returns:
        `root / name`.

    Raises:
        FileError: If the name is no text, leads out of the root, or belongs to a device, pipe or socket, which would
            be read for ever.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise FileError(f"{root}: expected the name of a file, got {name!r:.60}")
    path = Path(root, name)
    try:
        if not allow_outside:
            hint = f"names must stay below {root} (to read linked frames on purpose, allow names outside)"
            if os.path.isabs(name) or ".." in re.split(r"[/\\]", name):
                raise FileError(f"{name:.200}: an absolute name or one with '..'; {hint}")
            real_root, real_path = os.path.realpath(root), os.path.realpath(path)
            if real_path != real_root and not real_path.startswith(os.path.join(real_root, "")):
                raise FileError(f"{name:.200}: a link that leads to {real_path:.200}; {hint}")
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{name:.200}: can't be looked up: {getattr(error, 'strerror', None) or error}") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FileError(f"{name:.200}: a device, pipe or socket, expected a regular file")
    return path


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuses what is no regular file: a device or pipe would be read for ever.

    Raises:
        FileError: If it is missing or something else.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
        raise FileError(f"{path}: {what}, expected a regular file")


@contextmanager
def collection_paused() -> Iterator[None]:
    """Make many objects without the collector of cycles, which goes through all of them again and again.

    It takes nine tenths of the time in which a large JSON is read.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_json(path: str | os.PathLike[str]) -> Any:
    """Content of a JSON file.

    Raises:
        FileError: If it is missing, no regular file, or broken: with line and column.
    """
    check_regular(path)
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise FileError(f"{path}: can't be read: {error.strerror}") from error
    data = data.removeprefix(codecs.BOM_UTF8)  # some editors begin a file with a byte order mark
    try:
        with collection_paused():
            return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass  # orjson knows neither NaN nor lone surrogates, and doesn't say in which line something is wrong
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8 text: {error}") from error
    except json.JSONDecodeError as error:
        raise FileError(f"{path}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except ValueError as error:  # an integer of thousands of digits
        raise FileError(f"{path}: not readable JSON: {error}") from error
    except RecursionError as error:
        raise FileError(f"{path}: not readable JSON: its lists and objects are nested too deeply") from error


def write_json(path: str | os.PathLike[str], content: Any, indent: int | None = None) -> None:
    """Writes a JSON file as a whole or not at all."""
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=indent)
        if indent is not None:
            stream.write("\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file as a whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_picture(image: Any, path: Path, **options: Any) -> None:
    """Writes a picture in the format of its name's suffix.

    In one piece that Python writes: Pillow takes a file for written that a full disk has cut short.

    Args:
        image: A picture of Pillow.
        path: Name of the file, which is usually that of `whole_file` or lies in a `whole_folder`.
        **options: As for `Image.save`.

    Raises:
        OSError: If the disk is full.
    """
    from PIL import Image

    content = io.BytesIO()
    image.save(content, format=Image.registered_extensions()[path.suffix.lower()], **options)
    path.write_bytes(content.getvalue())


def content_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        FileError: If the file is missing or no regular file.
    """
    check_regular(path)
    try:
        with open(path, "rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error

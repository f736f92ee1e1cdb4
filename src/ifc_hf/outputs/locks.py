"""One process at a time works in the folder of a video."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(folder: Path, wait: bool) -> Iterator[bool]:
    """Keeps other processes, on other machines of a shared disk, too, from working in a folder.

    The lock is a hidden file beside the folder that is gone afterwards. One that a killed process left locks nothing.

    Args:
        folder: Needn't exist; the one above it must.
        wait: Whether to wait until the folder is free.

    Yields:
        Whether it is locked now; always True after waiting.

    Raises:
        OSError: If the lock can't be made.
    """
    name = hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:16]
    path = folder.with_name(f".{name}.lock")
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        # While it is held: filelock refuses a file that was removed before it could lock it, and makes a new one.
        with suppress(OSError):  # Windows removes it afterwards
            path.unlink()
        lock.release()

"""One process at a time works in the folder of a video."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ..files import FileError, read_json

SECONDS_BETWEEN_LOOKS = 2.0  # at who holds a lock that is waited for


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        process_id: Its number.
        host: The machine that it runs on.
        since: When it took the lock, in local time.
    """

    process_id: int
    host: str
    since: str

    @classmethod
    def this_process(cls) -> Holder:
        """This process, now."""
        return cls(os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S"))

    @property
    def is_stopped(self) -> bool:
        """Whether it is known to be frozen (by Ctrl-Z, SIGSTOP or a debugger); only Linux tells."""
        if self.host != socket.gethostname() or sys.platform != "linux":
            return False
        try:
            status = Path(f"/proc/{self.process_id}/stat").read_text(encoding="utf-8")
        except OSError:
            return False
        return status.rpartition(")")[2].split()[0] in "Tt"

    def __str__(self) -> str:
        """In words, with what can be done."""
        where = f"process {self.process_id} on {self.host}, since {self.since}"
        if self.is_stopped:
            return f"{where}, which is stopped: let it go on (kill -CONT {self.process_id}) or end it (kill -KILL)"
        return f"{where}; it goes on here when that process ends"


@contextmanager
def locked(folder: Path, tell_holder: Callable[[str], None], wait: bool = True) -> Iterator[bool]:
    """Keeps other processes, on other machines of a shared disk, too, from working in a folder.

    The lock is a hidden file beside the folder that is gone afterwards. One that a killed process left locks nothing.

    Args:
        folder: Needn't exist; the one above it must.
        tell_holder: Told in words who holds the lock, within seconds, and again when that changes.
        wait: Whether to wait until the folder is free.

    Yields:
        Whether it is locked now; always True after waiting.

    Raises:
        OSError: If the lock can't be made.
    """
    name = hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:16]
    path = folder.with_name(f".{name}.lock")
    lock = FileLock(path)
    told = None
    while True:
        try:
            lock.acquire(timeout=SECONDS_BETWEEN_LOOKS if wait and told else 0)
            break
        except Timeout:
            holder = describe_holder(path)
            if holder != told:
                tell_holder(holder)
            told = holder
            if not wait:
                yield False
                return
    try:
        with suppress(OSError):  # only for messages
            path.write_text(json.dumps(asdict(Holder.this_process())), encoding="utf-8")
        yield True
    finally:
        # While it is held: filelock refuses a file that was removed before it could lock it, and makes a new one.
        with suppress(OSError):  # Windows removes it afterwards
            path.unlink()
        lock.release()


def describe_holder(path: Path) -> str:
    """Who holds a lock, in words."""
    try:
        return str(Holder(**read_json(path)))
    except (FileError, TypeError):  # it is taking the lock or letting it go just now
        return "another process"

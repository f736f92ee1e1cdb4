"""Processes that a test has started, as Linux lists them."""

import time
from pathlib import Path


def members(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(group) == session and state != "Z":
                found.append(int(entry.name))
    return found


def all_end(session: int, seconds: float = 10) -> bool:
    """Whether every process of a session ends in time."""
    deadline = time.monotonic() + seconds
    while members(session) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not members(session)

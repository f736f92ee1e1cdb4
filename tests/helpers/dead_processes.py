"""What processes that were killed leave."""

import os
from pathlib import Path

from ifc_hf.files import temporary_name


def part_of_a_dead_process(name: str) -> str:
    """Name that a process of this machine, which is gone, has given to its unfinished `name`."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return temporary_name(Path(name)).name.replace(f"-{os.getpid()}-", f"-{pid}-")

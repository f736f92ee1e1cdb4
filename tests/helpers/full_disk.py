"""A disk that is full, for one process."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Lets no file of this process grow beyond so many bytes, as a full disk wouldn't."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    writes_no_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # Python would cut its own files short
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_no_bytecode
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

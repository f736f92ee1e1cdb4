"""What commands say on the standard error."""

import errno
import sys

# These faults have a reader in mind; of others, the class says more than the text.
EXPECTED = (OSError, ValueError, ImportError)
# Of the machine, not of one input: the next input would meet them as well.
MACHINE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EPIPE}


def one_line(error: BaseException) -> str:
    """The message of an error in one line, after its class unless that is a plain one."""
    text = " ".join(str(error).split())
    if isinstance(error, EXPECTED) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def print_error(text: str) -> None:
    """Writes a line that begins with `error: `; what it can't encode is escaped."""
    print(f"error: {text}".encode(errors="backslashreplace").decode(), file=sys.stderr, flush=True)


def machine_fault(error: BaseException) -> int | None:
    """The number of the operating system's error if it is one of `MACHINE_FAULTS`, looking behind the error, too."""
    seen: BaseException | None = error
    while seen is not None:
        number = getattr(seen, "errno", None)
        if number in MACHINE_FAULTS:
            return number
        seen = seen.__cause__ or seen.__context__
    return None

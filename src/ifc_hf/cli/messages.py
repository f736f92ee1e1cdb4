"""What commands say on the standard error."""

import errno
import sys

# These faults have a reader in mind; of others, the class says more than the text.
EXPECTED = (OSError, ValueError, ImportError)
# Of the machine, not of one input: the next input would meet them as well.
MACHINE_FAULTS = {
    errno.ENOSPC: "the disk is full; make room and start again",
    errno.EDQUOT: "the disk quota is used up; make room and start again",
    errno.EROFS: "the disk can't be written to any more",
    errno.EPIPE: "nobody reads the output any more",
}


def one_line(error: BaseException) -> str:
    """The message of an error in one line, after its class unless that is a plain one."""
    text = " ".join(str(error).split())
    if isinstance(error, EXPECTED) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def print_error(text: str) -> None:
    """Writes a line that begins with `error: `; what it can't encode is escaped."""
    print(f"error: {text}".encode(errors="backslashreplace").decode(), file=sys.stderr, flush=True)


def machine_fault(error: BaseException) -> str | None:
    """What is wrong with the machine, if that is what an error is about, or one that it was raised from."""
    seen: BaseException | None = error
    while seen is not None:
        number = getattr(seen, "errno", None)
        if number in MACHINE_FAULTS:
            return MACHINE_FAULTS[number]
        seen = seen.__cause__ or seen.__context__
    return None


def lost_process(error: BaseException) -> str | None:
    """What to say if an error is that another process of the same run has ended or doesn't answer."""
    is_of_network = type(error).__name__ in ("DistError", "DistBackendError", "DistNetworkError", "DistStoreError")
    if not is_of_network and "gloo" not in str(error):
        return None
    return (
        "another process of this run has ended, or has not answered for so long that it was given up: see its own "
        "messages, and start the run again"
    )

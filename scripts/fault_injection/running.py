"""Starts a command in a session of its own, disturbs it, and looks for what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from ifc_hf.processes import end_with_parent

from .commands import COMMANDS, Command

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
MARKER, CAMPAIGN = "IFC_HF_FAULT_CAMPAIGN", str(os.getpid())  # a variable that tells the processes of a campaign
LONGEST_RUN_SECONDS = 400.0
ORPHAN_SECONDS = 5.0  # that the other processes of a command have to end after it
LOOK_SECONDS = 0.004


@dataclass
class Run:
    """A command that runs, or did.

    Attributes:
        pid: Its process, which leads a session.
        place: The folder that it runs in; what it says lies beside it.
        ended: Gives its exit code, minus the signal's number if one ended it; None while it runs.
        exit_code: The same, when it was last looked at.
        cpu_seconds: Processor time that it had taken then, with its children.
    """

    pid: int
    place: Path
    ended: Callable[[], int | None]
    exit_code: int | None = None
    cpu_seconds: float = 0.0

    @property
    def errors(self) -> str:
        """What it wrote to the standard error."""
        return errors_file(self.place).read_text(encoding="utf-8", errors="replace")

    def poll(self) -> bool:
        """Whether it runs; notes how much processor time it has taken, and its exit code at its end."""
        if self.exit_code is None:
            self.cpu_seconds = max(self.cpu_seconds, cpu_seconds(self.pid))
            self.exit_code = self.ended()
        return self.exit_code is None

    def wait(self, seconds: float) -> bool:
        """Waits for its end; returns whether it came in time."""
        deadline = time.monotonic() + seconds
        while self.poll():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True


def errors_file(place: Path) -> Path:
    """Where the standard error of a command goes: beside its folder, which may be a full disk."""
    return place.with_name(f"{place.name}.errors")


def changed_environment(place: Path) -> dict[str, str]:
    """Variables that a command gets."""
    return {MARKER: CAMPAIGN, "TMPDIR": str(place / "temporary"), "HF_HUB_OFFLINE": "1"}


def start_program(command: Command, place: Path, inputs: Path) -> Run:
    """Starts the command line of a command in its folder."""
    with open(errors_file(place), "wb") as errors:
        process = subprocess.Popen(
            command.line(inputs), cwd=place, env={**os.environ, **changed_environment(place)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
        )  # fmt: skip
    return Run(process.pid, place, process.poll)


class ForkServer:
    """A process that has imported the libraries, and that forks one for every command.

    It is a process of its own because nothing else may happen in it, such as the starting of threads.
    """

    def __init__(self) -> None:
        self.connection, other = Pipe()
        if os.fork() == 0:
            try:
                serve(other)
            finally:
                os._exit(0)
        other.close()

    def start(self, command: Command, place: Path, inputs: Path) -> Run:
        """Starts a command in its folder."""
        self.connection.send((command.name, place, inputs))
        pid = self.connection.recv()
        return Run(pid, place, lambda: self.connection.recv() if self.connection.poll() else None)


def serve(connection: Connection) -> None:
    """Forks a process for every request, one after the other; sends its number, and its exit code at its end."""
    end_with_parent(os.getppid())
    import_libraries()
    while True:
        name, place, inputs = connection.recv()
        pid = os.fork()
        if pid == 0:
            become(COMMANDS[name], place, inputs)
        connection.send(pid)
        connection.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def become(command: Command, place: Path, inputs: Path) -> None:
    """Lets this process run a command and end."""
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(changed_environment(place))
        tempfile.tempdir = None
        os.chdir(place)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(errors_file(place), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        code = command.call()(command.filled(inputs))
    except BaseException:
        traceback.print_exc()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # the command has ended
            signal.signal(number, signal.SIG_IGN)
        sys.stderr.flush()
        os._exit(code)


def import_libraries() -> None:
    """Imports what the commands import, so that a forked run needn't."""
    import accelerate  # noqa: F401
    import datasets  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import torch.export
    import torch.onnx  # noqa: F401

    import ifc_hf.cli.main
    import ifc_hf.export
    import ifc_hf.outputs.worker
    import ifc_hf.scoring.track_pictures
    import ifc_hf.training.session  # noqa: F401
    import make_clips  # noqa: F401
    from ifc_hf.model import image_processing_ifc, modeling_ifc, video_segmenter  # noqa: F401


def session_of(pid: int) -> tuple[int, str, float]:
    """Session, state and processor seconds of a process.

    Raises:
        OSError: If it is gone.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # State, parent, group, session, ...; user and system time, and those of children that were waited for.
    return int(fields[3]), fields[0], sum(map(int, fields[11:13])) / CLOCK_TICKS


def members(session: int) -> list[int]:
    """Living processes of a session, and those that carry the mark of the campaign in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                own_session, state, _ = session_of(int(entry.name))
                is_marked = f"{MARKER}={CAMPAIGN}".encode() in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if state not in "ZX" and (own_session == session or is_marked):
                found.append(int(entry.name))
    return found


def cpu_seconds(pid: int) -> float:
    """Processor seconds of a process and of those that it started and that live."""
    total = 0.0
    for member in children(pid):
        try:
            total += session_of(member)[2]
        except OSError:
            continue
    return total


def children(pid: int) -> list[int]:
    """A process and those that it started, and so on."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(child for number in listed for child in children(int(number)))]


def end_orphans(session: int) -> list[int]:
    """Waits for all processes of a command to end; ends those that don't, and returns them."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (found := members(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return found

"""Rounds of faults: an undisturbed run for comparison, then a fault, a restart in the same folder, and the checks."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .checks import broken_files, leftovers, names_in, words
from .commands import Command, result_of
from .inputs import write_inputs
from .outcome import Outcome
from .ranks import disturb_rank
from .running import LONGEST_RUN_SECONDS, ForkServer, Run, end_orphans, start_program

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
KINDS = (*SIGNALS, "disk")
ROOMY_BYTES = 1 << 30


@dataclass
class Undisturbed:
    """What a command does when nothing disturbs it.

    Attributes:
        result: Digests of the files of its result.
        names: All names that it leaves.
        cpu_seconds: Processor time that it takes.
        disk_bytes: Most that its folder holds, beyond what is there before.
    """

    result: dict[str, str]
    names: set[str]
    cpu_seconds: float
    disk_bytes: int


class Campaign:
    """Injects faults into commands.

    Args:
        work: Folder for the inputs and the runs.
        with_fork_server: Whether commands are to be started by "fork", too.
    """

    def __init__(self, work: Path, with_fork_server: bool) -> None:
        self.inputs, self.place = work / "inputs", work / "place"
        self._fork_server = ForkServer() if with_fork_server else None
        write_inputs(self.inputs)
        self._undisturbed: dict[tuple[str, str], Undisturbed] = {}

    def _start(self, command: Command, start: str) -> Run:
        if start == "fork" and self._fork_server is not None:
            return self._fork_server.start(command, self.place, self.inputs)
        return start_program(command, self.place, self.inputs)

    def undisturbed(self, command: Command, start: str) -> Undisturbed:
        """The command alone, on a disk with room; measured once.

        Raises:
            RuntimeError: If it fails.
        """
        key = command.name, start
        if key not in self._undisturbed:
            with disk(self.place, ROOMY_BYTES):
                command.prepare(self.place, self.inputs)
                before = most = used_bytes(self.place)
                run = self._start(command, start)
                deadline = time.monotonic() + LONGEST_RUN_SECONDS
                while run.poll() and time.monotonic() < deadline:
                    most = max(most, used_bytes(self.place))
                    time.sleep(0.002)
                if run.exit_code != 0:
                    raise RuntimeError(f"{command.name}, undisturbed: exit code {run.exit_code}\n{run.errors}")
                most = max(most, used_bytes(self.place))
                result, names = result_of(command, self.place), names_in(self.place)
                end_orphans(run.pid)
            self._undisturbed[key] = Undisturbed(result, names, run.cpu_seconds, most - before)
        return self._undisturbed[key]

    def inject(self, command: Command, kind: str, start: str, draw: random.Random) -> Outcome:
        """One fault at a moment that is drawn, the restart, and all checks."""
        expected = self.undisturbed(command, start)
        outcome = Outcome(command.name, kind, start, kind == "SIGINT" or draw.random() < 0.5, draw.random())
        began = time.monotonic()
        if kind == "disk":
            self._on_full_disk(command, outcome, expected)
        else:
            fresh(self.place)
            command.prepare(self.place, self.inputs)
            run = self._start(command, start)
            self._send(run, outcome, expected)
            self._look(command, run, outcome)
            self._restart(command, outcome, expected)
            shutil.rmtree(self.place)
        outcome.seconds = round(time.monotonic() - began, 1)
        return outcome

    def disturb_rank(self, kind: str, draw: random.Random) -> Outcome:
        """Kills or freezes a process of a training on two."""
        fresh(self.place)
        (self.place / "temporary").mkdir()
        return disturb_rank(kind, self.inputs, self.place, draw)

    def _send(self, run: Run, outcome: Outcome, expected: Undisturbed) -> None:
        """Sends the signal when the command has taken its share of the processor time."""
        moment = outcome.share * expected.cpu_seconds
        while run.poll() and run.cpu_seconds < moment:
            time.sleep(0.003)
        outcome.struck = run.exit_code is None
        if outcome.struck:
            number = getattr(signal, outcome.kind)
            only_first = outcome.kind == "SIGKILL" or not outcome.to_group
            outcome.to_group = not only_first
            (os.kill if only_first else os.killpg)(run.pid, number)

    def _on_full_disk(self, command: Command, outcome: Outcome, expected: Undisturbed) -> None:
        """Runs on a disk that has room for a share of what is written, and again with more room."""
        with disk(self.place, ROOMY_BYTES):
            command.prepare(self.place, self.inputs)
            room = used_bytes(self.place) + int(outcome.share * expected.disk_bytes)
            resize(self.place, room)
            run = self._start(command, outcome.start)
            if not run.wait(LONGEST_RUN_SECONDS):
                outcome.findings.append("hang")
            outcome.struck = run.exit_code != 0
            self._look(command, run, outcome)
            resize(self.place, ROOMY_BYTES)
            self._restart(command, outcome, expected)

    def _look(self, command: Command, run: Run, outcome: Outcome) -> None:
        """At what is there after the fault."""
        if not run.wait(LONGEST_RUN_SECONDS):
            outcome.findings.append(f"hang: runs {LONGEST_RUN_SECONDS:.0f} s after the fault")
            os.killpg(run.pid, signal.SIGKILL)
            run.wait(LONGEST_RUN_SECONDS)
        outcome.exit_code = run.exit_code
        outcome.struck = outcome.struck and run.exit_code != 0  # a signal may come when all is done
        outcome.findings += [f"orphan {pid}" for pid in end_orphans(run.pid)]
        if outcome.struck:
            outcome.findings += words(outcome.kind, run.exit_code, run.errors)
        outcome.findings += [f"broken after the fault: {problem}" for problem in broken_files(self.place)]

    def _restart(self, command: Command, outcome: Outcome, expected: Undisturbed) -> None:
        """Starts the command again and compares."""
        is_whole = command.refuses_result and result_of(command, self.place) == expected.result
        run = self._start(command, outcome.start)
        if not run.wait(LONGEST_RUN_SECONDS):
            outcome.findings.append("hang: after the restart")
            os.killpg(run.pid, signal.SIGKILL)
            run.wait(LONGEST_RUN_SECONDS)
        if run.exit_code != 0 and not (is_whole and run.exit_code == 1):
            outcome.findings.append(f"restart: exit code {run.exit_code}: {run.errors[-300:]}")
        outcome.findings += [f"restart: orphan {pid}" for pid in end_orphans(run.pid)]
        result = result_of(command, self.place)
        wrong = sorted(
            name for name in result.keys() | expected.result if result.get(name) != expected.result.get(name)
        )
        outcome.findings += [f"restart: differs: {name}" for name in wrong[:5]]
        outcome.findings += [f"restart: broken: {problem}" for problem in broken_files(self.place)]
        outcome.findings += [f"restart: left over: {name}" for name in leftovers(self.place, expected.names)]


def fresh(place: Path) -> None:
    """An empty folder."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)


@contextmanager
def disk(place: Path, size: int) -> Iterator[None]:
    """A folder that is a disk of its own, of a limited size (tmpfs, which takes root's rights)."""
    fresh(place)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def resize(place: Path, size: int) -> None:
    """Gives such a disk another size, in bytes; whole pages."""
    subprocess.run(["mount", "-o", f"remount,size={max(size, 4096)}", str(place)], check=True)


def used_bytes(place: Path) -> int:
    """What lies on the disk of a folder."""
    usage = os.statvfs(place)
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize

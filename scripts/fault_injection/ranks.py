"""A training on two processes, one of which is killed or frozen: the other one has to end within its timeout."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from .commands import SCRIPTS
from .outcome import Outcome
from .running import changed_environment, end_orphans, members

NAME, KINDS = "train on 2 ranks", ("rank SIGKILL", "rank SIGSTOP")
TIMEOUT_SECONDS = 30
# What torchrun gives a process that doesn't heed SIGTERM before it sends SIGKILL, which a frozen one heeds.
LAUNCHER_SECONDS = 30
SLACK_SECONDS = 60  # for a machine with other work
START_SECONDS = 400
SAID = re.compile(r"^error: another process of this run has ended, or has not answered", re.MULTILINE)


def disturb_rank(kind: str, inputs: Path, place: Path, draw: random.Random) -> Outcome:
    """Starts the training, stops a process of it in one of its steps, and waits for the end of all."""
    outcome = Outcome(NAME, kind, "exec", to_group=False, share=draw.random())
    began = time.monotonic()
    rank = draw.randrange(2)
    errors = place.with_name(f"{place.name}.errors")
    with open(errors, "wb") as stream:
        launcher = subprocess.Popen(
            training(inputs), cwd=place, env={**os.environ, **changed_environment(place), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    try:
        while "step 3/" not in errors.read_text(errors="replace"):
            if launcher.poll() is not None or time.monotonic() > began + START_SECONDS:
                raise RuntimeError(f"{NAME} did not begin:\n{errors.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        time.sleep(outcome.share)
        os.kill(process_of(rank, launcher.pid), signal.SIGKILL if kind == "rank SIGKILL" else signal.SIGSTOP)
        outcome.struck = True
        struck = time.monotonic()
        try:
            outcome.exit_code = launcher.wait(TIMEOUT_SECONDS + LAUNCHER_SECONDS + SLACK_SECONDS)
        except subprocess.TimeoutExpired:
            outcome.findings.append("hang")
        outcome.seconds_to_end = round(time.monotonic() - struck, 1)
    finally:
        if launcher.poll() is None:
            launcher.kill()
        outcome.findings += [f"orphan {pid}" for pid in end_orphans(launcher.pid)]
    if outcome.exit_code == 0:
        outcome.findings.append("exit code 0, expected an error")
    if kind == "rank SIGSTOP" and not SAID.search(errors.read_text(errors="replace")):
        outcome.findings.append(f"no line says it: {errors.read_text(errors='replace')[-300:]}")
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def training(inputs: Path) -> list[str]:
    """The command line of a training that would last for hours."""
    settings = (
        f"ddp_timeout={TIMEOUT_SECONDS}", "max_steps=1000000", "per_device_train_batch_size=1", "use_cpu=true",
        "save_strategy=no", "eval_strategy=no", "dataloader_num_workers=1",
    )  # fmt: skip
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}",
        str(SCRIPTS / "train.py"), "--recipe", f"{inputs}/recipe.json", "--data", f"{inputs}/data", "--output",
        "output", "--cache-dir", "cache", "--set", *settings,
    ]  # fmt: skip


def process_of(rank: int, session: int) -> int:
    """Number of the process of a rank, not of one of its workers."""
    for pid in members(session):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if f"RANK={rank}".encode() in environment and parent == session:
            return pid
    raise RuntimeError(f"no process of rank {rank}")

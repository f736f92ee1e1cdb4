"""Feeds the fourteen readers of other people's files with damaged and hostile inputs.

    python scripts/fuzz_readers.py --findings fuzzing                # a million inputs, weighted by their cost
    python scripts/fuzz_readers.py --findings fuzzing --reader rle --inputs 10000
    python scripts/fuzz_readers.py --findings fuzzing --replay       # tries the findings once more

A run goes on where the last one with the same folder has stopped. A finding is any error of a class that the reader
doesn't document, or that doesn't come from a `raise` of the package; more than 5 seconds; more than 2 GiB; the death
of the process; or two ways of reading that disagree. Needs Linux and `pip install "ifc_hf[fuzz]"`.
"""

import argparse
import importlib.metadata
import json
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fuzzing.child import Beacon, Judge, fuzz, note
from fuzzing.readers import READERS
from ifc_hf.files import write_json

SECONDS_AT_A_TIME = 120.0  # for one reader, then the next one has its turn
SECONDS_WITHOUT_INPUT = 60.0  # after which a process counts as hanging
PACKAGES = ("atheris", "numpy", "pillow", "pycocotools", "av", "torch", "transformers", "orjson", "msgspec")
INTERRUPTED = 72  # what libFuzzer ends with after SIGTERM
ENDED_BY_US = (0, INTERRUPTED, -signal.SIGTERM)


def main() -> None:
    """Runs the campaign, or one process of it."""
    arguments = read_arguments()
    for folder in (arguments.findings, arguments.findings / "corpus"):
        folder.mkdir(parents=True, exist_ok=True)
    if arguments.child:
        corpus = arguments.findings / "corpus" / arguments.child
        fuzz(arguments.child, arguments.inputs, arguments.seed, arguments.findings, corpus, arguments.beacon)
    elif arguments.replay:
        replay(arguments.findings)
    else:
        campaign(arguments)


def campaign(arguments: argparse.Namespace) -> None:
    """Gives every reader its turns until all inputs are read or the time is over."""
    state_file = arguments.findings / "state.json"
    state: dict[str, Any] = json.loads(state_file.read_text()) if state_file.exists() else {}
    share = (
        1.0 if arguments.inputs is None else arguments.inputs / sum(READERS[name].inputs for name in arguments.reader)
    )
    goals = {name: round(READERS[name].inputs * share) for name in arguments.reader}
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="ifc_hf_fuzz_") as scratch:
        while time.monotonic() < end:
            left = {name: goal for name, goal in goals.items() if state.get(name, {}).get("inputs", 0) < goal}
            if not left:
                break
            for name, goal in left.items():
                done = state.setdefault(name, {"inputs": 0, "seconds": 0.0, "processes": 0})
                count, seconds = run_child(name, goal - done["inputs"], done["processes"], arguments, Path(scratch))
                done["inputs"] += count
                done["seconds"] += seconds
                done["processes"] += 1
                write_json(state_file, state, indent=1)
                report(arguments, state)
                print(f"{name:12} {done['inputs']:9,} of {goal:,}, {count / seconds:7.0f} a second", flush=True)
                if time.monotonic() > end:
                    break


def run_child(name: str, inputs: int, number: int, arguments: argparse.Namespace, scratch: Path) -> tuple[int, float]:
    """Runs one process; returns how many inputs it has read and its seconds. Its death or silence is a finding."""
    beacon = scratch / f"{name}.beacon"
    (arguments.findings / "corpus" / name).mkdir(exist_ok=True)
    command = [sys.executable, __file__, "--child", name, "--inputs", str(inputs), "--beacon", str(beacon)]
    command += ["--seed", str(1 + arguments.seed + 1000 * number), "--findings", str(arguments.findings)]
    start = time.monotonic()
    with open(arguments.findings / "log.txt", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        count, since = 0, start
        while process.poll() is None:
            time.sleep(0.25)
            now, data = Beacon.read(beacon) if beacon.exists() else (0, b"")
            if now != count:
                count, since = now, time.monotonic()
            elif count and time.monotonic() - since > SECONDS_WITHOUT_INPUT:
                process.kill()
                note(arguments.findings, name, data, "hang", f"no answer in {SECONDS_WITHOUT_INPUT:.0f} s", name)
            if time.monotonic() - start > SECONDS_AT_A_TIME:
                process.terminate()
        process.wait()
    count, data = Beacon.read(beacon) if beacon.exists() else (0, b"")
    beacon.unlink(missing_ok=True)
    if not count:
        raise SystemExit(f"{name}: the process read nothing; see {arguments.findings}/log.txt")
    if process.returncode not in (*ENDED_BY_US, -signal.SIGKILL):
        last_line = (arguments.findings / "log.txt").read_text(errors="replace").strip().splitlines()[-1:]
        text = f"the process ended with {process.returncode}: {' '.join(last_line)[:200]}"
        note(arguments.findings, name, data, "death", text, name)
    return count, time.monotonic() - start


def report(arguments: argparse.Namespace, state: dict[str, Any]) -> None:
    """Writes the figures so far, and all findings that are kept."""
    findings = [json.loads(path.read_text()) for path in sorted(arguments.findings.glob("*-*.json"))]
    if arguments.output is None:
        return
    write_json(
        arguments.output,
        {
            "command": shlex.join(["python", "scripts/fuzz_readers.py", *sys.argv[1:]]),
            "seed": arguments.seed,
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
            | {"python": platform.python_version()},
            "inputs": sum(done["inputs"] for done in state.values()),
            "readers": state,
            "findings": findings,
        },
        indent=1,
    )


def replay(folder: Path) -> None:
    """Reads the kept findings once more and notes which are mended."""
    for path in sorted(folder.glob("*-*.json")):
        known = json.loads(path.read_text())
        data, name = path.with_suffix(".input").read_bytes(), known["reader"]
        with tempfile.TemporaryDirectory() as scratch:
            again = Path(scratch) / "again"
            again.mkdir()
            Judge(name, READERS[name].prepare(Path(scratch)), again)(data)
            known["is_mended"] = not any(again.iterdir())
        write_json(path, known, indent=1)
        print(f"{path.stem}: {'mended' if known['is_mended'] else 'still there'}")


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--findings", type=Path, required=True, help="folder for findings, corpus and state")
    parser.add_argument("--reader", nargs="+", choices=sorted(READERS), default=list(READERS))
    parser.add_argument("--inputs", type=int, help="in all; default: a million for all readers")
    parser.add_argument("--minutes", type=float, default=24 * 60.0, help="stop after so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file for the figures, such as results/fuzzing.json")
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm"), help="folder in memory for the files")
    parser.add_argument("--replay", action="store_true", help="only try the findings in the folder once more")
    parser.add_argument("--child", choices=sorted(READERS), help=argparse.SUPPRESS)
    parser.add_argument("--beacon", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(words)


if __name__ == "__main__":
    main()

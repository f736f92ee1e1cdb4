#!/usr/bin/env python
"""Kills, interrupts and starves the package's commands of disk at random moments, and looks at what is left.

    python scripts/inject_faults.py --moments 50 --report results/faults.json
    python scripts/inject_faults.py --command predict --moments 2

Every round takes one moment for each command and kind of fault: SIGKILL, SIGTERM, SIGINT, and a full disk (a tmpfs of
limited size, so this needs Linux and root). The same command, started again in the same folder, has to give the result
of a run that was never disturbed. Nothing half-written may carry a final name, no temporary file and no process may be
left, and the message must be one line, with the right exit code. Moments are shares of the processor time that the
undisturbed run takes, and of the disk that it fills, drawn evenly. The report is written after every fault; the same
command line goes on with it.
"""

import argparse
import platform
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fault_injection import ranks
from fault_injection.campaign import KINDS, Campaign
from fault_injection.commands import COMMANDS
from ifc_hf.files import read_json, write_json

PACKAGES = ("ifc_hf", "torch", "transformers", "accelerate", "datasets")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the campaign.

    Args:
        arguments: Those after the program's name; default: the command line's.

    Returns:
        0 if nothing was found, else 1.
    """
    args = make_parser().parse_args(arguments)
    report = read_report(args.report, args.seed)
    wanted = [
        (moment, name, kind, start)
        for moment in range(args.moments)
        for name in args.command or COMMANDS
        for kind in args.kind or (ranks.KINDS if name == ranks.NAME else KINDS)
        for start in args.start or ["exec" if moment % args.exec_every == 0 else "fork"]
    ]
    done = {(row["moment"], row["command"], row["kind"], row["start"]) for row in report["outcomes"]}
    missing = [entry for entry in wanted if entry not in done]
    campaign = Campaign(args.work, with_fork_server=any(start == "fork" for *_, start in missing))
    found = False
    for moment, name, kind, start in (progress := tqdm(missing, unit="fault", smoothing=0)):
        progress.set_postfix_str(f"{name} {kind}")
        draw = random.Random(f"{args.seed} {moment} {name} {kind} {start}")
        if name == ranks.NAME:
            outcome = campaign.disturb_rank(kind, draw)
        else:
            outcome = campaign.inject(COMMANDS[name], kind, start, draw)
        if outcome.findings:
            found = True
            progress.write(f"moment {moment}: {name}, {kind} at {outcome.share:.2f}: {'; '.join(outcome.findings)}")
        report["outcomes"].append({"moment": moment, **asdict(outcome)})
        report["counts"] = count(report["outcomes"])
        write_json(args.report, report, indent=1)
    for line in report["counts"]:
        print(line)
    return int(found)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", nargs="+", choices=(*COMMANDS, ranks.NAME), help="default: all but the last")
    parser.add_argument("--kind", nargs="+", choices=(*KINDS, *ranks.KINDS), help="default: all of the command")
    parser.add_argument("--moments", type=int, default=50, help="rounds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--start",
        nargs="+",
        choices=("exec", "fork"),
        help="exec: the real command line; fork: of a process that has imported the libraries, which takes a tenth of "
        "the time (default: see --exec-every)",
    )
    parser.add_argument(
        "--exec-every", type=int, default=5, help="of so many rounds, the first one uses exec (default: %(default)s)"
    )
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir(), "ifc_hf_faults"), help="default: %(default)s"
    )
    parser.add_argument("--report", type=Path, default=Path("results/faults.json"), help="default: %(default)s")
    return parser


def read_report(path: Path, seed: int) -> dict[str, Any]:
    """The report of an earlier call with the same seed, or an empty one.

    Raises:
        ValueError: If its seed or its versions are others.
    """
    head = {
        "command": f"python scripts/inject_faults.py --seed {seed}",
        "seed": seed,
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
    }
    if not path.exists():
        return {**head, "counts": [], "outcomes": []}
    report = read_json(path)
    if {name: report[name] for name in head} != head:
        raise ValueError(f"{path} is of another seed or of other versions: take another --report")
    return report


def count(outcomes: list[dict[str, Any]]) -> list[str]:
    """One line for every command and kind of fault."""
    keys = Counter((row["command"], row["kind"]) for row in outcomes)
    lines = []
    for command, kind in keys:
        rows = [row for row in outcomes if (row["command"], row["kind"]) == (command, kind)]
        struck, wrong = sum(row["struck"] for row in rows), sum(bool(row["findings"]) for row in rows)
        lines.append(f"{command}, {kind}: {struck} faults in {len(rows)} runs, {wrong} with findings")
    return lines


if __name__ == "__main__":
    sys.exit(main())

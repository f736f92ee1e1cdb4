"""Command blocks of Markdown files: finding them, making them small, and a program that runs those of one file.

The program (`python docs_blocks.py BLOCKS.json`) runs blocks in their order in the current folder: Python in one
common namespace, everything else in bash.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from command_server import command_server

LANGUAGES = ("bash", "console", "python", "sh")
BLOCK = re.compile(r"^(?:<!-- not run:(?P<reason>[^\n]*)-->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)

# What makes a command harmless here or short, without another program being run: (pattern, replacement).
SMALLER = [
    (r"^pip install .*", ":"),  # the tests run in an environment that has everything
    (r"--nproc_per_node 8", "--nproc_per_node 1"),
    (
        r"accelerate launch --multi_gpu --num_processes 8",
        "accelerate launch --cpu --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no",
    ),
    (
        r"^(.*(?:ifc-hf train|scripts/train\.py) .*)$",
        r"\1 --set max_steps=1 per_device_train_batch_size=1 gradient_accumulation_steps=1 eval_steps=1 save_steps=1 "
        "dataloader_num_workers=0 use_cpu=true report_to=none bf16=false",
    ),
    (r"max_steps=6000, per_device_train_batch_size=2\)", 'max_steps=1, use_cpu=True, report_to="none")'),
    (r"w\('shapes', 800, 6", "w('shapes', 4, 3"),
    (
        r"--repeats 2 --windows 5x1x12 36x1x36 --peak-frames 36",
        "--repeats 1 --windows 2x1x2 --size 64 96 --peak-frames",
    ),
    (r"--measure-peak 36 144", "--measure-peak 2 2 --size 64 96"),
    (r"--frames 2000", "--frames 12"),
    (r"(bunny\.mp4 -o outputs/first)$", r"\1 --frames :22"),
    (r"read_frames\(sample_clip\(\)\)", "list(read_frames(sample_clip()))[:21]"),
    (r"(export|push) ifc-r50-ytvis", r"\1 my_model"),  # whatever the size of the network
    (r"(benchmark_evaluation\.py) --videos 30 --repeats 3", r"\1 --repeats 1 --videos 2 --frames 3"),
    (r"(count_operations\.py)$", r"\1 --windows 2x1x2 --size 64 96"),
    (r"(benchmark_tracking\.py)$", r"\1 --frames 30 --tracks 3 --size 6 8"),
    (r"(benchmark_predict\.py)$", r"\1 --frames 3 --repeats 1 --size 96 128"),
    (r"(benchmark_data\.py)$", r"\1 --videos 10 --frames 5 --size 48 64 --batches 1 --repeats 1 --workers 0"),
]


@dataclass
class Block:
    """A fenced block of commands.

    Attributes:
        place: "FILE:LINE" of its first line of code.
        language: One of `LANGUAGES`.
        code: Made small.
        reason: Why it is not run; None if it is.
    """

    place: str
    language: str
    code: str
    reason: str | None


def blocks_of(path: Path) -> list[Block]:
    """The command blocks of a Markdown file."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        if match["language"] in LANGUAGES:
            place, reason = f"{path.name}:{line}", match["reason"]
            found.append(Block(place, match["language"], smaller(match["code"]), reason and reason.strip()))
    return found


def smaller(code: str) -> str:
    """The code with lines that a backslash continues joined, and `SMALLER` applied."""
    code = re.sub(r" *\\\n *", " ", code)
    code = re.sub(r"^\$ ", "", code, flags=re.M)
    code = re.sub(r"[ \t]+#.*$", "", code, flags=re.M)
    for pattern, replacement in SMALLER:
        code = re.sub(pattern, replacement, code, flags=re.M)
    return code


def write_blocks(blocks: list[Block], path: Path) -> None:
    """Writes what the program reads."""
    path.write_text(json.dumps([asdict(block) for block in blocks]), encoding="utf-8")


def main() -> int:
    """Runs the blocks of a file; stops at the first that fails and says which."""
    blocks = [Block(**entry) for entry in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))]
    with tempfile.TemporaryDirectory() as folder, command_server(Path(folder)) as path:
        return run_blocks(blocks, {**os.environ, "PATH": path})


def run_blocks(blocks: list[Block], environment: dict[str, str]) -> int:
    """Runs the blocks, those of a shell in an environment; returns the exit code."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    start = time.monotonic()
    for block in blocks:
        print(f"== {block.place}, {time.monotonic() - start:.1f} s after the start", flush=True)
        if block.language == "python":
            try:
                exec(compile(block.code, block.place, "exec"), namespace)
            except Exception:
                traceback.print_exc()
                return 1
        elif subprocess.run(["bash", "-euo", "pipefail", "-c", block.code], env=environment).returncode:
            print(f"{block.place}: failed", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the benchmarks write: their figures, with the machine and the versions that they were measured on."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


def write_report(path: Path, report: dict[str, Any], packages: Sequence[str]) -> None:
    """Write a report as a whole or not at all.

    Args:
        path: JSON to write.
        report: Configuration and figures.
        packages: Names of the packages whose versions count.
    """
    report = {**report, "machine": describe_machine(), "versions": {"python": platform.python_version()}}
    report["versions"] |= {name: importlib.metadata.version(name) for name in packages}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def describe_machine() -> dict[str, Any]:
    """Processor, memory, load and accelerator; a high load says that others were at work, too."""
    names = [line.partition(":")[2].strip() for line in proc_lines("cpuinfo") if line.startswith("model name")]
    memory = [line.split()[1] for line in proc_lines("meminfo") if line.startswith("MemTotal")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory[0]) / 2**20, 1) if memory else None,
        "load_average_1_minute": round(os.getloadavg()[0], 1),
        "torch_threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def proc_lines(name: str) -> list[str]:
    """Lines of a file in /proc; none where there is no such file."""
    path = Path("/proc") / name
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []

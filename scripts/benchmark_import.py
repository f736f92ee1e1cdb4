"""Times `import ifc_hf` beyond `import torch, transformers`: median over fresh processes, as JSON.

Usage: python scripts/benchmark_import.py [--repeats 7] [--output results/benchmark_import.json]
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from ifc_hf.benchmark import write_report

PROGRAM = """
import time
import torch, transformers
start = time.perf_counter()
import ifc_hf
print(time.perf_counter() - start)
"""


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="processes to start, after one to warm up")
    parser.add_argument("--output", type=Path, default=Path("results/benchmark_import.json"))
    arguments = parser.parse_args()

    seconds = [import_seconds() for _ in range(arguments.repeats + 1)][1:]
    report = {
        "import_ifc_hf_median_seconds": round(statistics.median(seconds), 4),
        "import_ifc_hf_seconds": [round(value, 4) for value in seconds],
    }
    print(json.dumps(report, indent=2))
    write_report(arguments.output, report, packages=("ifc_hf", "torch", "transformers"))


def import_seconds() -> float:
    """Seconds that `import ifc_hf` takes in a fresh process."""
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    return float(result.stdout)


if __name__ == "__main__":
    main()

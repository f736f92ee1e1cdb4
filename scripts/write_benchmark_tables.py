"""Writes the tables of docs/benchmarks.md that come from `results/*.json`, so that no figure is copied by hand.

    python scripts/write_benchmark_tables.py

A table stands between the lines `<!-- NAME -->` and `<!-- end -->`.
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> None:
    """Brings the page up to date."""
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(page: str) -> str:
    """The page with its tables made anew."""
    report = json.loads((ROOT / "results" / "benchmark_inference.json").read_text(encoding="utf-8"))
    for name, table in (("inference", inference_table(report)), ("inference machine", machine_line(report))):
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->\n)", re.DOTALL)
        page = pattern.sub(lambda match, table=table: f"{match[1]}{table}{match[2]}", page)
    return page


def inference_table(report: dict[str, Any]) -> str:
    """Milliseconds per frame of every window, stage and engine, and the ratios of the totals."""
    windows = report["seconds_per_frame"]
    columns = [(window, engine) for window, result in windows.items() for engine in result["engines"]]
    lines = [
        row("stage", *(f"{window}: {engine}" for window, engine in columns)),
        row("---", *("---:" for _ in columns)),
    ]
    first_window, first_engine = columns[0]
    for stage in windows[first_window]["engines"][first_engine]:
        seconds = (windows[window]["engines"][engine][stage] for window, engine in columns)
        lines.append(row(stage, *(f"{1e3 * value:.0f}" for value in seconds)))
    ratios = (windows[window]["ratios"][engine] for window, engine in columns)
    lines.append(row("ratio", *(f"{ratio:.2f}" for ratio in ratios)))
    return "".join(lines)


def machine_line(report: dict[str, Any]) -> str:
    """What was measured on, in one paragraph."""
    machine, versions = report["machine"], report["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Machine: {machine['cpu']}, {machine['torch_threads']} threads; float32 matrix product "
        f"{report['matrix_product_gflops']:.0f} GFLOP/s. Versions: {named}.\n"
    )


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()

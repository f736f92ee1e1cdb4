"""Writes the tables of measured figures into the pages, from `results/*.json`: no figure is copied by hand.

    python scripts/write_benchmark_tables.py

A table stands between the lines `<!-- NAME -->` and `<!-- end -->`, and NAME is one of `TABLES`.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/benchmarks.md", "docs/inference.md", "docs/training.md")
FPS_OF_LAG = 25  # of the source that the table of lags takes as an example


def main() -> None:
    """Brings the pages up to date."""
    for name in PAGES:
        page = ROOT / name
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(page: str) -> str:
    """The page with its tables made anew."""
    pattern = re.compile(r"(<!-- ([\w ]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}{match[3]}", page)


def read(name: str) -> dict[str, Any]:
    """A report of `results/`."""
    content: dict[str, Any] = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return content


def inference() -> str:
    """Milliseconds per frame of every window, stage and engine, and the ratios of the totals."""
    windows = read("benchmark_inference")["seconds_per_frame"]
    columns = [(window, engine) for window, result in windows.items() for engine in result["engines"]]
    first_window, first_engine = columns[0]
    rows = [
        (stage, *(f"{1e3 * windows[window]['engines'][engine][stage]:.0f}" for window, engine in columns))
        for stage in windows[first_window]["engines"][first_engine]
    ]
    rows.append(("ratio", *(f"{windows[window]['ratios'][engine]:.2f}" for window, engine in columns)))
    return table(("stage", *(f"{window}: {engine}" for window, engine in columns)), rows)


def floors() -> str:
    """What the stages would take at the speed of a matrix product, and how far the engines are from it."""
    report, operations = read("benchmark_inference"), read("operations")["giga_multiply_adds_per_frame"]
    rows = []
    for window, result in report["seconds_per_frame"].items():
        engines = list(result["engines"])
        for stage, giga in operations[window].items():
            floor = 2 * giga / report["matrix_product_gflops"]
            ratios = (f"{result['engines'][engine][stage] / floor:.2f}" for engine in engines)
            rows.append((window, stage, f"{giga:.1f}", f"{1e3 * floor:.0f}", *ratios))
    return table(("window", "stage", "G multiply-adds per frame", "floor, ms", *engines), rows)


def inference_machine() -> str:
    """Where the engines were measured."""
    report = read("benchmark_inference")
    rate = f"float32 matrix product {report['matrix_product_gflops']:.0f} GFLOP/s, "
    return machine_line(report, rate)


def peaks() -> str:
    """Peak memory by window and length."""
    report = read("benchmark_inference")
    reference = read("reference_inference")
    rows = [(name, f"{gib:.2f}") for name, gib in report["peak_memory_gib"].items()]
    rows += [(f"reference, {name}", f"{gib:.1f}") for name, gib in reference["peak_memory_gib"].items()]
    return table(("process that streams with", "GiB"), rows)


def speed() -> str:
    """Seconds per frame of the engines, beside the reference's."""
    report, reference = read("benchmark_inference"), read("reference_inference")
    windows = report["seconds_per_frame"]
    engines = [engine for engine in next(iter(windows.values()))["engines"] if engine != "plain"]
    rate = f"{report['matrix_product_gflops']:.0f} GFLOP/s"
    rows = [
        (
            f"here, engine `{engine}`",
            rate,
            *(f"{result['engines'][engine]['total']:.2f}" for result in windows.values()),
        )
        for engine in engines
    ]
    seconds = (f"{value:.2f}" for value in reference["seconds_per_frame"].values())
    rows.append(("reference, another machine", f"{reference['matrix_product_gflops']} GFLOP/s", *seconds))
    names = [f"T = {window.split('x')[0]}, S = {window.split('x')[1]}" for window in windows]
    memory = "; ".join(f"{name}: {gib:.2f} GiB" for name, gib in report["peak_memory_gib"].items())
    theirs = "; ".join(f"{name}: {gib} GiB" for name, gib in reference["peak_memory_gib"].items())
    return table(("", "matrix product", *names), rows) + f"\nPeak memory here: {memory}. The reference's: {theirs}.\n"


def long_videos() -> str:
    """Memory of long videos; what the script measures has changed, so only what every version writes is shown."""
    report = read("benchmark_memory")
    stream, predict = report["stream"], report["predict"]
    before = ("`pipeline(...).stream(video)`, up to frame 100", f"{stream['first_frames_mib']:.0f} MiB")
    after = ("the same, later", f"{stream['later_frames_mib']:.0f} MiB ({100 * stream['growth']:+.1f} %)")
    rows = [before, after, (f"`ifc-hf predict`, {predict['frames']} frames, peak", f"{predict['peak_mib']:.0f} MiB")]
    return table(("", "memory of the process"), rows) + "\n" + machine_line(report)


def predict() -> str:
    """`ifc-hf predict` and its halves."""
    report = read("benchmark_predict")
    names = {"segment": "find the tracks", "write": "draw and write", "whole": "both, in one run"}
    rows = [
        (name, f"{report[part]['seconds']:.1f}", f"{report[part]['cpu_seconds']:.1f}") for part, name in names.items()
    ]
    rows.append(("both over the slower half", f"{report['whole_over_slower_half']:.2f}", ""))
    rows.append(
        ("CPU seconds of both over the cores, over the slower half", f"{report['floor_over_slower_half']:.2f}", "")
    )
    arguments = report["arguments"]
    size = "x".join(map(str, arguments["size"]))
    film = f"A film of {arguments['frames']} frames of {size}, {arguments['threads']} threads.\n"
    return table(("", "seconds", "CPU seconds"), rows) + "\n" + film + machine_line(report)


def tracker() -> str:
    """One update of the tracker."""
    report = read("benchmark_tracking")
    arguments = report["arguments"]
    size = "x".join(map(str, arguments["size"]))
    what = f"{arguments['tracks']} tracks, {size}, T = {arguments['num_frames']}, S = 1"
    quarters = [f"{report[f'milliseconds_{quarter}_quarter']:.1f} ms" for quarter in ("first", "last")]
    change = f"{100 * report['growth']:+.1f} %"
    head = ("", "median", f"first quarter of {arguments['frames']} frames", "last quarter", "change")
    return table(head, [(what, f"{report['milliseconds']:.1f} ms", *quarters, change)]) + "\n" + machine_line(report)


def scoring() -> str:
    """CPU seconds of the metric and of the plain way."""
    report = read("benchmark_evaluation")
    phases = ("load", "iou", "accumulate", "total")
    rows = [(side, *(f"{report[side][phase]:.2f}" for phase in phases)) for side in ("plain", "ours")]
    rows.append(("ratio", *(f"{100 * report['ratio'][phase]:.1f} %" for phase in phases)))
    arguments = report["arguments"]
    sets = (
        f"{arguments['videos']} videos of {arguments['frames']} frames, {'x'.join(map(str, arguments['size']))}, "
        f"each with {arguments['tracks']} annotated and {arguments['predictions']} predicted tracks; medians of "
        f"{arguments['repeats']} runs in turn.\n"
    )
    return table(("CPU seconds", *phases), rows) + "\n" + sets + machine_line(report)


def reader() -> str:
    """First load, first batch and clips per second."""
    report = read("benchmark_data")
    first = report["first_load"]
    rows = [
        ("first load: JSON, every mask and frame checked, Arrow written", f"{first['load_ytvis']:.2f} s of CPU"),
        (
            "the least: JSON parsed, every frame looked for",
            f"{first['least']:.2f} s of CPU; ratio {first['ratio']:.1f}",
        ),
        ("first batch", f"{report['seconds_to_first_batch']:.1f} s"),
        ("first batch once cached", f"{report['seconds_to_first_batch_again']:.1f} s"),
    ]
    rows += [
        (f"clips of 5 frames per second, {workers} workers", f"{clips:.1f}")
        for workers, clips in report["clips_per_second"].items()
    ]
    sets = (
        f"{report['videos']} videos of {report['frames']} frames, {'x'.join(map(str, report['size']))}, "
        f"{first['masks']} masks, {first['megabytes']:.0f} MB of JSON.\n"
    )
    return table(("reader", "figure"), rows) + "\n" + sets + machine_line(report)


def training_step() -> str:
    """One training step against a dense matching."""
    report = read("benchmark_training")
    rows = [
        (
            name,
            f"{report[side]['matching_seconds']:.2f}",
            f"{report[side]['step_seconds']:.1f}",
            f"{report[side]['peak_mib']:.0f}",
        )
        for side, name in (("ours", "here"), ("dense", "dense matching"))
    ]
    size = "x".join(map(str, report["size"]))
    what = f"ResNet-50, T = {report['frames']}, {size}, {report['instances']} instances.\n"
    head = ("training step", "matching, CPU seconds", "step, CPU seconds", "peak, MiB")
    return table(head, rows) + "\n" + what + machine_line(report)


def lag() -> str:
    """How far answers are behind a live source."""
    report = read("benchmark_latency")
    rows = []
    for window, figures in report["windows"].items():
        num_frames, clip_stride = window.split("x")
        least, most = figures["least_lag_frames"], figures["most_lag_frames"]
        work = figures["milliseconds_per_frame"]
        behind = 1e3 * most / FPS_OF_LAG
        frames = str(least) if least == most else f"{least} to {most}"
        rows.append((num_frames, clip_stride, frames, f"{work:.0f}", f"{behind:.0f} + {work:.0f}"))
    head = (
        "T",
        "S",
        "frames behind",
        "ms of work for a frame",
        f"ms behind at {FPS_OF_LAG} frames per second, at most",
    )
    return table(head, rows) + "\n" + machine_line(report)


def machine_line(report: Mapping[str, Any], more: str = "") -> str:
    """What was measured on, in one line."""
    machine = report["machine"]
    named = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    load = f"load {machine['load_average_1_minute']} when it ended"
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['torch_threads']} threads"
    return f"Machine: {where}, {more}{load}; {named}.\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; all columns but the first to the right."""
    lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


TABLES: dict[str, Callable[[], str]] = {
    function.__name__.replace("_", " "): function
    for function in (
        *(inference, floors, inference_machine, peaks, speed, long_videos, predict, tracker, scoring, reader),
        *(training_step, lag),
    )
}


if __name__ == "__main__":
    main()

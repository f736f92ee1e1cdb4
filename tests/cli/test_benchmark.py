"""`ifc-hf benchmark`: figures that add up, where they were measured, and refusals."""

import json
from itertools import islice

import pytest

from exported_models import tiny_checkpoint
from ifc_hf import IfcVideoSegmenter
from ifc_hf.benchmark import STAGES, StageClock, TimedPass
from ifc_hf.cli.main import main
from ifc_hf.loading import load_checkpoint
from ifc_hf.model.video_files import read_frames
from ifc_hf.samples import sample_clip


def benchmark(*arguments: object) -> int:
    return main(["benchmark", *map(str, arguments)])


def test_figures_add_up_and_say_where_they_come_from(tmp_path, capsys):
    report_file = tmp_path / "report.json"
    options = ("--max-frames", 6, "--num-frames", 3, "--clip-stride", 2, "--size", "48x64", "--repeats", 2)
    assert benchmark(tiny_checkpoint(), *options, "-o", report_file) == 0
    report = json.loads(report_file.read_text())
    milliseconds = report["milliseconds_per_frame"]
    assert set(milliseconds) == {"decode", *STAGES, "rest", "total"}
    assert all(value > 0 for value in milliseconds.values())
    rate = report["frames_per_second"]
    assert rate["min"] <= rate["median"] <= rate["max"]
    assert rate["min"] <= 1000 / milliseconds["total"] * 1.001 and 1000 / milliseconds["total"] <= rate["max"] * 1.001
    assert report["frames"] == 6
    assert 0.1 < report["peak_memory_gib"] < 64
    assert report["settings"]["num_frames"] == 3 and report["settings"]["size"] == {"height": 48, "width": 64}
    assert {"cpu", "cores", "load_average_1_minute"} <= set(report["machine"])
    assert {"ifc_hf", "torch", "av"} <= set(report["versions"])
    output = capsys.readouterr().out
    assert "frames per second: " in output and "matching" in output and f"Wrote {report_file}" in output


def test_stages_within_stages_count_once():
    clock = StageClock()
    inner = clock.timed("inner", lambda: sum(range(200_000)))
    clock.timed("outer", inner)()
    assert clock.seconds["inner"] > clock.seconds["outer"] >= 0


def test_a_timed_pass_gives_the_same_tracks():
    segmenter = IfcVideoSegmenter(*load_checkpoint(tiny_checkpoint()), num_frames=2)
    frames = list(islice(read_frames(sample_clip()), 4))
    timed = TimedPass(StageClock(), segmenter, frames)
    assert len(list(timed)) == 4
    assert timed.tracks() == segmenter(frames)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--video", "none.mp4"), "none.mp4: no such file or folder"), (("-o", "/dev/null/x.json"), "/dev/null")],
)
def test_failure_is_one_line(arguments, message, capsys):
    assert benchmark(tiny_checkpoint(), "--max-frames", 3, "--repeats", 1, "--size", "48x64", *arguments) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line

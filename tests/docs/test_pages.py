"""What pages say of tests and of figures is so."""

import json
import re

import pytest

from paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED_TEST = re.compile(r"\b(tests/[\w/]+\.py)(?:::(\w+))?")
HABIT = re.compile(r"^\| (.+?) \| (.+?) \| (y|partly|no) \| (.+) \|$", re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_tests_that_a_page_names_exist(page):
    for path, name in NAMED_TEST.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).is_file(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"


def test_every_habit_that_works_names_its_test():
    rows = HABIT.findall((ROOT / "docs/faq.md").read_text(encoding="utf-8"))
    assert len(rows) > 25
    for habit, _, here, reason in rows:
        assert here != "y" or NAMED_TEST.search(reason) or "scripts/" in reason, habit
        assert len(reason) > 10, habit
    sources = {source.partition(" (")[0] for _, source, _, _ in rows}
    assert {"Ultralytics", "supervision", "SAM2's demo", "sentence-transformers", "Transformers"} <= sources


def test_the_guide_tells_the_times_that_were_measured():
    measured = json.loads((ROOT / "results/guide.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    for step, taken in measured["steps"].items():
        assert re.search(rf"^\| `{step}` \|.*\| {taken['processor_seconds']:.0f} \|$", page, re.M), step
    score = 100 * measured["score"]["AP"]
    assert f"AP of {score:.0f} %" in page


def test_the_recorded_session_shows_the_first_commands_of_the_readme():
    picture = (ROOT / "docs/session.svg").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r'class="command"[^>]*>\$ (.*?)<', picture)
    assert "ifc-hf predict my_clip.mp4 -o results" in commands and commands[0].startswith("ifc-hf demo")
    assert "docs/session.svg" in readme and "ifc-hf predict my_clip.mp4 -o results" in readme
    assert len(picture) < 10_000

"""The figures of the pages are those of `results/`."""

import re

import pytest

from paths import ROOT, load_script

tables = load_script("write_benchmark_tables")
TABLE = re.compile(r"<!-- ([\w ]+) -->\n.*?<!-- end -->\n", re.DOTALL)


@pytest.mark.parametrize("page", tables.PAGES)
def test_a_page_is_what_the_script_writes(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert tables.with_tables(text) == text, "run python scripts/write_benchmark_tables.py"


def test_the_benchmarks_have_every_table_of_a_benchmark_and_no_other_figures():
    page = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert set(TABLE.findall(page)) == set(tables.TABLES) - {"speed", "lag"}
    outside = TABLE.sub("", page)
    assert "|" not in outside
    assert not re.findall(r"\d (?:s|ms|seconds|MiB|GiB|GFLOP/s|%)\b", outside)


def test_an_unknown_table_is_named():
    with pytest.raises(KeyError, match="no such table"):
        tables.with_tables("<!-- no such table -->\n<!-- end -->\n")

"""Values of a JSON against the types of dataclasses."""

from dataclasses import dataclass, field

import pytest

from ifc_hf.outputs.typed_json import typed


@dataclass
class Inner:
    label: str | None
    score: float


@dataclass
class Outer:
    count: int
    inner: Inner
    numbers: dict[int, int] = field(default_factory=dict)


def test_a_field_that_may_be_none_may_be_missing():
    content = {"count": 1, "inner": {"score": 2}, "numbers": {"3": 4}}
    assert typed(content, Outer, "file") == Outer(1, Inner(None, 2), {3: 4})


@pytest.mark.parametrize("number", [10**400, 2**63, -(2**64), float("nan"), float("inf"), True, "1", None])
@pytest.mark.parametrize("path", ["count", "score"])
def test_a_number_is_finite_and_of_64_bits(number, path):
    inner = {"label": "a", "score": number if path == "score" else 0.5}
    content = {"count": number if path == "count" else 1, "inner": inner, "numbers": {}}
    with pytest.raises(ValueError, match=rf"file\.(inner\.)?{path}: expected"):
        typed(content, Outer, "file")


@pytest.mark.parametrize("content", [{"count": 1}, {"count": 1, "inner": {}, "numbers": {}, "other": 1}, [], None])
def test_an_object_has_its_fields_and_no_others(content):
    with pytest.raises(ValueError, match="file: expected"):
        typed(content, Outer, "file")

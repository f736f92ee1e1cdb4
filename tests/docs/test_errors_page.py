"""Every message that docs/errors.md quotes is one of the code."""

import ast
import re
from functools import cache

import pytest

from paths import ROOT

ROW = re.compile(r"^\| `(.*)` \| (.*) \|$", re.M)
MESSAGES = [row[0].replace("\\|", "|") for row in ROW.findall((ROOT / "docs/errors.md").read_text(encoding="utf-8"))]
FORMATS = re.compile(r"%[sdgr]")
DIFFERS = "…"


@cache
def texts_of_the_code() -> list[str]:
    """All texts of the package, with `…` for what is put into them."""
    found = []
    for path in (ROOT / "src/ifc_hf").rglob("*.py"):
        if path.is_symlink() or "checkpoints" in path.parts:
            continue
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if id(node) in docstrings:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else DIFFERS for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(FORMATS.sub(DIFFERS, node.value))
    return found


def test_the_page_has_messages():
    assert len(MESSAGES) > 50 and len(set(MESSAGES)) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_is_one_of_the_code(message):
    pieces = message.split(DIFFERS)
    longest = max(pieces, key=len)
    pattern = re.compile(".*?".join(map(re.escape, pieces)), re.S)
    assert any(longest in text and pattern.search(text) for text in texts_of_the_code())

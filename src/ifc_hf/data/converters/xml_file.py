"""XML files, read without what XML can do beyond elements, attributes and text."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from ..problems import DataSetError
from .common import fail
from .pictures import check_file

DEEPEST = 64  # nested elements; CVAT's files have about ten


def read_xml(path: Path) -> ElementTree.Element:
    """Root of an XML file.

    A document type declaration is refused: only there can a file define entities, which expand to gigabytes or name
    other files. No annotation tool writes one.

    Raises:
        DataSetError: If the file is missing or no XML, has such a declaration, or is nested too deeply.
    """
    file = str(check_file(path))
    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            fail("bad XML", f"its elements are nested more than {DEEPEST} deep", file)
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*declaration: object) -> None:
        fail("bad XML", f"has a document type declaration ({declaration[0]}), which may define entities", file)

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        with open(path, "rb") as stream:
            parser.ParseFile(stream)
        return builder.close()
    except DataSetError:
        raise
    except (OSError, expat.ExpatError, LookupError, ValueError) as error:
        fail("bad XML", f"can't be read as XML: {error}", file)

"""Changes of inputs that keep their structure, so that they get past the parser of JSON, XML, PNG or zip.

A mutation takes a random generator and the bytes of an input; it raises `ValueError` if they have no such structure.
"""

import copy
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, TypeAlias
from xml.etree import ElementTree

Mutation: TypeAlias = Callable[[random.Random, bytes], bytes]

HOSTILE_VALUES = (
    *(None, True, False, 0, 1, -1, 2, 7, 255, 1000, 2**15, 2**16, 2**28, 2**31 - 1, 2**31, 2**32, 2**53, 2**62),
    *(2**63 - 1, 2**63, 2**64, -(2**31), -(2**63), 10**20, 10**400, 0.0, -0.0, 0.5, 1.0, 1e-320, 1e18, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "a", "0", "1", "-1", "1e9", "NaN", "null", "\0", "..", "."),
    *("../x", "/etc/passwd", "/dev/zero", "a/../../b", "C:\\x", "\\\\host\\x", "~", "-", "file:///etc/passwd"),
    *("http://127.0.0.1:9/x", "\ud800", "\U0001f600", "ı", "\u202e", "a" * 300, "x" * 5000, "{0}", "%s", "\r\n", "²"),
    *([], {}, [[]], [None], [{}], {"": None}, {"id": 1}, [0, 0, 0, 0], [1, 2], [[0, 0, 5, 0, 5, 5]], [1e9] * 6),
    *({"size": [4, 6], "counts": "0h0"}, {"size": [2**40, 2**40], "counts": []}, {"size": [1, 1], "counts": [0, 1]}),
    *({"size": [4, 6], "counts": [2**63, 1]}, {"size": [0, 0], "counts": ""}),
    *({"size": [4, 6], "counts": "PPPPPPPPPPP8"},),
)  # fmt: skip
HOSTILE_TEXTS = tuple(
    str(value) for value in HOSTILE_VALUES if not isinstance(value, list | dict) and value != 10**400
)
DEEPEST = 200  # of lists within lists that a mutation makes; the parsers refuse deeper ones than some thousand


def mutate_json(generator: random.Random, data: bytes) -> bytes:
    """Changes one to four values of a JSON document."""
    content = json.loads(data)
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        content = _change_somewhere(generator, content)
    return json.dumps(content, ensure_ascii=generator.random() < 0.9).encode("utf-8", "surrogatepass")


def _change_somewhere(generator: random.Random, content: Any) -> Any:
    places = list(_places(content))
    if not places or generator.random() < 0.01:
        return copy.deepcopy(generator.choice(HOSTILE_VALUES))
    parent, key = generator.choice(places)
    _change(generator, content, parent, key, places)
    return content


def _places(content: Any) -> Any:
    """Every (container, key) of a document."""
    pending = [content] if isinstance(content, dict | list) else []
    while pending:
        container = pending.pop()
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in items:
            yield container, key
            if isinstance(value, dict | list):
                pending.append(value)


def _change(generator: random.Random, content: Any, parent: Any, key: Any, places: list[tuple[Any, Any]]) -> None:
    value = parent[key]
    action = generator.randrange(10)
    if action == 0:
        del parent[key]
    elif action == 1 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(value))
    elif action == 1:
        parent[str(generator.choice(HOSTILE_TEXTS))] = value
    elif action == 2:  # a value from elsewhere in the document, of the wrong type more often than not
        other, other_key = generator.choice(places)
        parent[key] = copy.deepcopy(other[other_key]) if other_key in _keys(other) else None
    elif action == 3:
        for _ in range(generator.choice((1, 2, DEEPEST))):
            value = [value] if generator.random() < 0.7 else {"a": value}
        parent[key] = value
    elif action in (4, 5) and isinstance(value, int | float) and not isinstance(value, bool):
        steps = (1, -1, 0.5, value, -2 * value) if abs(value) < 2**70 else (1, -1)
        parent[key] = value + generator.choice(steps)
    elif action in (4, 5) and isinstance(value, str) and value:
        parent[key] = _change_text(generator, value)
    elif action == 6 and isinstance(value, list) and value:
        parent[key] = value[: generator.randrange(len(value))] if generator.random() < 0.5 else value * 2
    elif action == 7 and isinstance(value, str | bool | int):
        parent[key] = str(value) if not isinstance(value, str) else len(value)
    else:
        parent[key] = copy.deepcopy(generator.choice(HOSTILE_VALUES))


def _keys(container: Any) -> Any:
    return container if isinstance(container, dict) else range(len(container))


def _change_text(generator: random.Random, text: str) -> str:
    place = generator.randrange(len(text))
    choice = generator.randrange(4)
    if choice == 0:
        return text[:place] + text[place + 1 :]
    if choice == 1:
        return text[:place] + chr(generator.choice((48, 63, 80, 111, 0, 47, 112, 255, 0x2028))) + text[place + 1 :]
    if choice == 2:
        return text[:place] + generator.choice(HOSTILE_TEXTS)[:40] + text[place:]
    return text[:place] + text[place:] * 2


def mutate_xml(generator: random.Random, data: bytes) -> bytes:
    """Changes one to four elements of an XML document."""
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(str(error)) from error
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        element = generator.choice(list(root.iter()))
        action = generator.randrange(6)
        if action <= 2 and element.attrib:
            name = generator.choice(list(element.attrib))
            element.attrib[name] = _text_for_xml(generator, element.attrib[name])
        elif action == 3 and element.attrib:
            del element.attrib[generator.choice(list(element.attrib))]
        elif action == 4 and len(element):
            child = generator.choice(list(element))
            element.remove(child)
            if generator.random() < 0.6:
                generator.choice(list(root.iter())).extend([child, copy.deepcopy(child)])
        else:
            element.text = _text_for_xml(generator, element.text or "")
            if generator.random() < 0.1:
                element.tag = generator.choice(("box", "polygon", "mask", "track", "task", "size", "image"))
    return ElementTree.tostring(root, encoding="unicode").encode("utf-8", "surrogatepass")


def _text_for_xml(generator: random.Random, text: str) -> str:
    changed = _change_text(generator, text) if text and generator.random() < 0.5 else generator.choice(HOSTILE_TEXTS)
    return "".join(
        char for char in changed if char in "\t\n" or (ord(char) >= 32 and not 0xD800 <= ord(char) < 0xE000)
    )


PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def mutate_png(generator: random.Random, data: bytes) -> bytes:
    """Changes a chunk of the last PNG in an input and gives it the checksum of its new content."""
    start = data.rfind(PNG_HEAD)
    if start < 0:
        raise ValueError("no PNG")
    chunks, at = [], start + len(PNG_HEAD)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        raise ValueError("no chunk")
    place = generator.randrange(len(chunks))
    kind, content = chunks[place]
    if kind == b"IDAT" and generator.random() < 0.8:
        try:
            content = zlib.compress(_change_bytes(generator, zlib.decompress(content)))
        except zlib.error:
            content = _change_bytes(generator, content)
    elif kind == b"IHDR" and len(content) == 13 and generator.random() < 0.7:
        sizes = (0, 1, 2, 4, 6, 7, 255, 20_000, 2**16, 2**28, 2**31 - 1, 2**32 - 1)
        width, height, rest = content[:4], content[4:8], content[8:]
        side = struct.pack(">I", generator.choice(sizes))
        content = side + height + rest if generator.random() < 0.5 else width + side + rest
    elif generator.random() < 0.2:
        kind, content = generator.choice(chunks)
    else:
        content = _change_bytes(generator, content)
    chunks[place] = kind, content
    body = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return data[:start] + PNG_HEAD + body


def mutate_zip(generator: random.Random, data: bytes) -> bytes:
    """Changes the content of one file of a zip archive that isn't compressed, as torch writes them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, zlib.error, OverflowError) as error:
        raise ValueError(str(error)) from error
    if not members:
        raise ValueError("no file")
    # The pickle decides what is read, the other files hold numbers.
    pickles = [index for index, (name, _) in enumerate(members) if name.endswith(".pkl")]
    place = generator.choice(pickles) if pickles and generator.random() < 0.8 else generator.randrange(len(members))
    name, content = members[place]
    members[place] = name, _change_bytes(generator, content)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return target.getvalue()


def mutate_bytes(generator: random.Random, data: bytes) -> bytes:
    """Changes bytes, favouring the first of a file, where its numbers are declared."""
    return _change_bytes(generator, data)


def _change_bytes(generator: random.Random, data: bytes) -> bytes:
    if not data:
        return bytes([generator.randrange(256)])
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 3, 8))):
        place = generator.randrange(min(len(changed), generator.choice((16, 64, 256, 2**20))) or 1)
        action = generator.randrange(6)
        if action == 0:
            changed[place : place + 1] = b""
        elif action == 1:
            changed[place:place] = generator.randbytes(generator.choice((1, 2, 4, 8)))
        elif action == 2:
            size = generator.choice((1, 2, 4, 8))
            number = generator.choice((0, 1, 2**7, 2 ** (8 * size - 1) - 1, 2 ** (8 * size) - 1, 2 ** (4 * size)))
            order = generator.choice(("big", "little"))
            changed[place : place + size] = (number % 2 ** (8 * size)).to_bytes(size, order)
        elif action == 3 and len(changed) > 2:
            del changed[generator.randrange(1, len(changed)) :]
        else:
            changed[place] = (
                generator.randrange(256) if action == 4 else changed[place] ^ (1 << generator.randrange(8))
            )
        if not changed:
            return b"\0"
    return bytes(changed)

"""The one way in which converters read values: a declared type, or an error that names file and place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from ...model.limits import LIMITS, brief
from .common import fail

Integer = Annotated[int, msgspec.Meta(ge=-LIMITS.id, le=LIMITS.id)]
Identity = Integer | str  # tools number their images, categories and objects, or name them
Pixels = Annotated[int, msgspec.Meta(ge=1, le=LIMITS.pixels)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]

T = TypeVar("T")


class Record(msgspec.Struct):
    """An object of an annotation file; keys that it doesn't declare are passed over."""


def read_as(kind: type[T], value: Any, file: str, place: str) -> T:
    """Checks a value of a JSON file against a type.

    Args:
        kind: A `Record`, or any other type that msgspec knows.
        value: As `read_data_file` gives it.
        file: The file, for messages.
        place: Where in the file, e.g. "images[3]", for messages.

    Raises:
        DataSetError: If the value is of another type: with file, place and both types.
    """
    return _convert(kind, value, file, place, strict=True)


def read_list(kind: type[T], values: Any, file: str, place: str) -> list[T]:
    """Checks every entry of a list; otherwise like `read_as`."""
    entries = read_as(list[Any], values, file, place)
    return [_convert(kind, entry, file, f"{place}[{index}]", strict=True) for index, entry in enumerate(entries)]


def read_texts(kind: type[T], texts: Mapping[str, str], file: str, place: str) -> T:
    """Checks texts, as XML has them: "7" is an integer where one is declared; otherwise like `read_as`."""
    return _convert(kind, texts, file, place, strict=False)


def _convert(kind: type[T], value: Any, file: str, place: str, strict: bool) -> T:
    try:
        return msgspec.convert(value, kind, strict=strict)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        # msgspec ends its messages with the path below the value: " - at `$.file_name`".
        message, _, path = str(error).partition(" - at `$")
        name = f" ({_name(value)})" if _name(value) else ""
        return fail("wrong type", f"{place}{path.rstrip('`')}{name}: {message[:1].lower()}{message[1:]}", file)


def _name(value: Any) -> str:
    """What an object calls itself, so that a person finds it in a long file."""
    known: Iterable[str] = ("id", "name", "file_name") if isinstance(value, Mapping) else ()
    return next((f"{key} {brief(value[key])}" for key in known if isinstance(value.get(key), int | str)), "")

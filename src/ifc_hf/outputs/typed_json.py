"""From parsed JSON to dataclasses, every value checked against the annotated type."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from ..model.limits import brief, is_id, is_number


def typed(content: Any, hint: Any, where: str) -> Any:
    """A value of an annotated type.

    Args:
        content: Parsed JSON.
        hint: A dataclass, `int`, `float`, `str`, `bool`, `None`, a `list` or `dict` of these, a union of these, or
            `Any`. Keys of a `dict[int, ...]` are texts in JSON.
        where: Names the value in the error.

    Returns:
        The value.

    Raises:
        ValueError: If a value is of another type, a number is not finite or beyond 64 bits, or an object lacks a field
            or has others.
    """
    if hint is Any:
        return content
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return typed_union(content, arguments, where)
    if is_dataclass(hint) and isinstance(hint, type):
        return typed_object(content, hint, where)
    if origin is list and isinstance(content, list):
        return [typed(item, arguments[0], where) for item in content]
    if origin is dict and isinstance(content, dict):
        return {typed_key(key, arguments[0], where): typed(item, arguments[1], where) for key, item in content.items()}
    if hint is NoneType and content is None:
        return None
    if hint is float and type(content) in (int, float) and is_number(content):
        return content
    if hint in (int, str, bool) and type(content) is hint and (hint is not int or is_id(content)):
        return content
    raise ValueError(f"{where}: expected {hint}, got {type(content).__name__}")


def typed_union(content: Any, hints: tuple[Any, ...], where: str) -> Any:
    """A value of the first type that fits."""
    for hint in hints:
        try:
            return typed(content, hint, where)
        except ValueError:
            continue
    raise ValueError(f"{where}: expected one of {hints}, got {type(content).__name__}")


def typed_object(content: Any, kind: type, where: str) -> Any:
    """A dataclass; fields that may be None may be missing."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected an object, got {type(content).__name__}")
    hints = hints_of(kind)
    missing = [name for name in hints if name not in content and NoneType not in get_args(hints[name])]
    if missing or set(content) - set(hints):
        raise ValueError(f"{where}: expected the fields {sorted(hints)}, got {brief(sorted(content))}")
    return kind(**{name: typed(content.get(name), hint, f"{where}.{name}") for name, hint in hints.items()})


@cache
def hints_of(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    hints = get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind)}


def typed_key(key: str, hint: Any, where: str) -> Any:
    """A key of an object; JSON knows texts alone."""
    if hint is not int:
        return key
    if not key.isdecimal():
        raise ValueError(f"{where}: expected numbers as keys, got {brief(key)}")
    return int(key)

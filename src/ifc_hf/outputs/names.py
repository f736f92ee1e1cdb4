"""Names of videos: those of the folders of their results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from urllib.parse import unquote, urlparse

from ..model.video_inputs import STANDARD_INPUT, is_address, is_pattern
from .files import RESULTS_FILES

MOST_NAME_BYTES = 200  # of a folder; file systems take 255, and names of parts are longer


def folder_names(places: Sequence[str | int]) -> list[str]:
    """A name for each of several videos, which no other has, and which is that of a folder and leads nowhere else.

    It is the last of the names in a place, with as many of those before as tell all videos apart; or, where these are
    the same, a number. Names that differ in upper and lower case alone are one, as they are on some file systems.

    Args:
        places: As in `VideoSource`.
    """
    parts = [name_parts(place) for place in places]
    short = names = [plain_name(own[-1]) for own in parts]
    for depth in range(2, 1 + max(map(len, parts), default=0)):
        names = with_others_for_shared(names, [plain_name("_".join(own[-depth:])) for own in parts])
    return numbered(with_others_for_shared(names, short))


def with_others_for_shared(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """The names, but for those that are there more than once the others."""
    return [other if is_shared else name for name, other, is_shared in zip(names, others, shared(names), strict=True)]


def shared(names: Sequence[str]) -> list[bool]:
    """Of each name, whether there is another like it."""
    times = Counter(map(str.casefold, names))
    return [times[name.casefold()] > 1 for name in names]


def numbered(names: Sequence[str]) -> list[str]:
    """The names, with numbers behind those that are there more than once."""
    are_shared = shared(names)
    taken = {name.casefold() for name, is_shared in zip(names, are_shared, strict=True) if not is_shared}
    distinct = []
    for name, is_shared in zip(names, are_shared, strict=True):
        if is_shared:
            candidates = (f"{name}_{number}" for number in count(1))
            name = next(candidate for candidate in candidates if candidate.casefold() not in taken)
            taken.add(name.casefold())
        distinct.append(name)
    return distinct


def name_parts(place: str | int) -> list[str]:
    """Names that tell a video from others, the nearest last: those of its folders, and its own without suffix."""
    if isinstance(place, int):
        return [f"camera{place}"]
    if place == STANDARD_INPUT:
        return ["stdin"]
    if is_address(place):
        address = urlparse(place)
        folders = [address.netloc.rpartition("@")[2].replace(":", "_")]  # without a password
        names = unquote(address.path).split("/")
    else:
        path = Path(place).parent if is_pattern(place) else Path(place)
        folders = list(path.resolve().parts[1:] if path.is_dir() else path.absolute().parent.parts[1:])
        names = [] if path.is_dir() else [path.name]
    folders, names = ([part for part in parts if part.strip(". ")] for parts in (folders, names))
    if names:
        stem = Path(names[-1]).stem
        names[-1] = stem if stem.strip(". ") else names[-1]
    return [*folders, *names] or ["video"]


def plain_name(name: str) -> str:
    """A text as the name of a folder directly within the output: no way out of it, no other file's name."""
    safe = "".join("_" if letter in "/\\\0" else letter for letter in name)
    while len(os.fsencode(safe)) > MOST_NAME_BYTES:
        safe = safe[:-1]
    if not safe.strip(". ") or safe.lower() in RESULTS_FILES:
        return f"{safe}_"
    return safe

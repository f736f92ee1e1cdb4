"""One numbering of the classes for all splits of a data set: a class has the same id in each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...model.limits import brief
from ..parse import parse_ytvis
from ..problems import DataSetError, read_data_file
from .common import Source, fail
from .pictures import check_file
from .schema import Name, read_list


def read_class_file(path: Path) -> list[str]:
    """Class names in the order of their ids: a line each, or a JSON list.

    Raises:
        DataSetError: If the file is missing or no text, there is no name, or one is there twice.
    """
    file = str(check_file(path))
    if path.suffix.lower() == ".json":
        names = read_list(Name, read_data_file(path), file, "classes")
    else:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            fail("wrong format", f"not UTF-8 text: {error}", file)
        names = [line.strip() for line in lines if line.strip()]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        fail("duplicate category", f"expected names, each of them once; twice: {brief(twice)}", file)
    return names


def number_classes(source: Source, output: Path, split: str, classes: Sequence[str] | None) -> list[str]:
    """All class names in the order of their ids, from 1.

    They are the given ones, else those of the splits that are in the output already, else those of the source: in the
    tool's order, then others in the order of the alphabet.

    Args:
        source: What is to be written.
        output: The data set's folder.
        split: Name of the split, which is replaced if it is there.
        classes: The names that the user gives.

    Raises:
        DataSetError: If a track has another class, a split in the output numbers its classes in another way, or there
            is no class at all.
    """
    names, origin = list(classes or []), "the given classes"
    for json_file in sorted(path for path in output.glob("*.json") if path.stem != split):
        found = _classes_of(json_file)
        if found and names and found != names:
            message = f"numbers its classes as {brief(found)}, {origin} are {brief(names)}: expected one numbering"
            fail("other classes", f"{message}; convert all splits into a new folder with --classes", str(json_file))
        names, origin = found or names, str(json_file) if found else origin
    used = {track.category for video in source.videos for track in video.tracks.values()}
    if not names:
        names = [*source.categories, *sorted(used - set(source.categories))]
        if not names:
            fail("bad category", "there is no class: no object has one, and none is listed", source.file)
        return names
    for video in source.videos:
        for identity, track in video.tracks.items():
            if track.category not in names:
                message = f"class {brief(track.category)} is none of {origin}: {brief(names)}; name all with --classes"
                fail("unknown category", message, source.file, video.name, identity)
    return names


def _classes_of(json_file: Path) -> list[str]:
    """Class names of a split in the YouTube-VIS format; [] for a JSON that is none."""
    content = read_data_file(json_file)
    if not isinstance(content, dict) or not {"videos", "categories"} <= set(content):
        return []
    parsed = parse_ytvis({"videos": [], "categories": content["categories"]}, str(json_file))
    if parsed.problems:
        raise DataSetError(parsed.problems)
    if parsed.category_ids != list(range(1, len(parsed.category_ids) + 1)):
        message = f"its category ids are {brief(parsed.category_ids)}, those of a conversion 1, 2, 3 and so on"
        fail("other classes", f"{message}: convert into a folder of its own and merge", str(json_file))
    return parsed.label_names

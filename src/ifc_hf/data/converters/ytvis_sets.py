"""Data sets in the YouTube-VIS format, to be merged into one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..check import read_split
from ..parse import ParsedSplit
from ..problems import raise_if_fatal
from ..records import VideoRecord
from .common import AnnotatedVideo, Source, Track, fail, folder_name
from .pictures import below


def read_sets(roots: Sequence[Path], split: str, allow_outside: bool) -> Source:
    """Reads one split of several data sets.

    Classes are one if their names are equal, whatever their ids. A video keeps its name; where two sets have a video
    of that name, the set's is put before it.

    Args:
        roots: The data sets' folders.
        split: Name of the split in each of them.
        allow_outside: Let file names lead out of the sets.

    Returns:
        All videos, in the order of the sets.

    Raises:
        DataSetError: If a set can't be used, has no annotations, or class names differ only in case, spaces or
            underscores: it isn't known whether they mean one class.
    """
    files: list[str] = []
    categories: dict[str, str] = {}  # file of the first set that has the class
    found: list[tuple[Path, AnnotatedVideo]] = []
    for root in roots:
        location, parsed = read_split(root, None, split, allow_outside)
        raise_if_fatal(parsed.problems)
        if not parsed.has_annotations:
            fail("wrong format", "has no annotations: its videos would count as videos without objects", parsed.file)
        for name in parsed.label_names:
            similar = next((known for known in categories if known != name and _plain(known) == _plain(name)), None)
            if similar is not None:
                message = f"class {name!r}, and {similar!r} in {categories[similar]}: make the names equal"
                fail("other classes", message, parsed.file)
            categories.setdefault(name, parsed.file)
        files.append(parsed.file)
        found += [(root, _as_video(video, parsed, location.image_folder, allow_outside)) for video in parsed.videos]
    counts = Counter(video.name for _, video in found)
    for root, video in found:
        if counts[video.name] > 1:
            video.name = folder_name(f"{root.absolute().name}_{video.name}", str(root))
    return Source(", ".join(files), list(categories), [video for _, video in found])


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _as_video(record: VideoRecord, parsed: ParsedSplit, image_folder: Path, allow_outside: bool) -> AnnotatedVideo:
    names = [name.replace("\\", "/") for name in record.file_names]
    folder = names[0].rpartition("/")[0]
    pictures = [below(image_folder, name, allow_outside, parsed.file) for name in names]
    name = folder_name(folder or f"video_{record.id}", parsed.file)
    assert record.height is not None and record.width is not None
    video = AnnotatedVideo(name, record.height, record.width, pictures)
    class_of = dict(zip(parsed.category_ids, parsed.label_names, strict=True))
    for number, track in enumerate(record.tracks):
        masks = {frame: rle for frame, rle in enumerate(track.segmentations) if rle is not None}
        video.tracks[number] = Track(class_of[track.category_id], track.is_crowd, masks)
    return video

"""Leaving out what is wrong in an annotation file, as the authors' readers do silently, with a list of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..model.limits import is_id
from ..model.rle import SegmentationError, checked_polygons
from .parse import ParsedSplit, parse_ytvis
from .problems import Problem

PER_FRAME = ("segmentations", "bboxes", "areas")
MOST_LISTED = 20


def parse_sound(content: Any, file: str, noun: str = "video") -> ParsedSplit:
    """Parses a file as `parse_ytvis` does, without what is wrong in its annotations.

    A frame whose mask or box can't be used becomes one where the object is absent, a polygon that can't be used among
    others is left out alone, and an annotation that has nothing left, or is wrong as a whole, is left out.

    Args:
        content: As for `parse_ytvis`; its annotations are changed.
        file: The file's name, for messages.
        noun: What messages call a video.

    Returns:
        The sound rest; `dropped` has what was left out, `problems` what is wrong apart from annotations.

    Raises:
        DataSetError: If the content is no such file at all.
    """
    dropped: list[Problem] = []
    trimmed: set[tuple[object, int | None]] = set()
    while True:  # every round takes something out
        parsed = parse_ytvis(content, file, noun)
        wrong = [problem for problem in parsed.problems if problem.fatal and problem.annotation_id is not None]
        in_frames = [problem for problem in wrong if problem.frame is not None]
        if not in_frames:
            # What is wrong as a whole is left out by the parser already; without a mask left, a track says so now.
            known = {problem.annotation_id for problem in dropped}
            dropped += [problem for problem in wrong if problem.annotation_id not in known]
            parsed.problems = [problem for problem in parsed.problems if problem not in wrong]
            parsed.dropped = dropped
            return parsed
        dropped += in_frames
        _blank(content, in_frames, trimmed)


def list_dropped(file: str, dropped: Sequence[Problem]) -> str:
    """Says how many annotations were touched, and lists where."""
    number = len({problem.annotation_id for problem in dropped})
    lines = [f"{file}: {number} annotations dropped, or the frames of them that can't be used:"]
    lines += [f"  {problem}" for problem in dropped[:MOST_LISTED]]
    rest = len(dropped) - MOST_LISTED
    return "\n".join(lines + ([f"  and {rest} more; `ifc-hf dataset check` lists all"] if rest > 0 else []))


def _blank(content: Any, problems: Sequence[Problem], trimmed: set[tuple[object, int | None]]) -> None:
    """Removes polygons that can't be used, or, the second time, all that an annotation has on a frame."""
    videos, annotations = _first_by_id(content["videos"]), _first_by_id(content["annotations"])
    for problem in problems:
        annotation, frame = annotations[problem.annotation_id], problem.frame
        assert frame is not None
        segmentations, video = annotation["segmentations"], videos[annotation["video_id"]]
        sound = _sound_polygons(segmentations[frame], video["height"], video["width"])
        place = (problem.annotation_id, frame)
        if problem.kind == "invalid polygon" and sound and place not in trimmed:
            trimmed.add(place)
            annotation["segmentations"] = [*segmentations[:frame], sound, *segmentations[frame + 1 :]]
            continue
        for name in PER_FRAME:
            if isinstance(annotation.get(name), list):
                annotation[name] = [None if i == frame else value for i, value in enumerate(annotation[name])]


def _first_by_id(entries: Sequence[Any]) -> dict[Any, Any]:
    """Entries by their ids; of two with one id the first, as the parser takes them."""
    found: dict[Any, Any] = {}
    for entry in entries:
        if isinstance(entry, dict) and is_id(entry.get("id")):
            found.setdefault(entry["id"], entry)
    return found


def _sound_polygons(segmentation: Any, height: int, width: int) -> list[Any]:
    """The polygons of a list that can be used, if it has some that can't; otherwise none."""
    if not isinstance(segmentation, list) or not all(isinstance(polygon, list) for polygon in segmentation):
        return []
    sound = []
    for polygon in segmentation:
        try:
            checked_polygons([polygon], height, width)
        except SegmentationError:
            continue
        sound.append(polygon)
    return sound if len(sound) < len(segmentation) else []

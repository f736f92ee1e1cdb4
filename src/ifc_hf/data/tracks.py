"""Entries of annotation and result files as tracks: checked, compressed and measured, many at once.

There is one reader for training and for scoring. What differs is what it reports to: a `Report` keeps every problem of
a data set, or raises the first one and tolerates what the official evaluator tolerates.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..model.limits import LIMITS, brief, is_id, is_number
from ..model.rle import (
    IntArray,
    Rle,
    SegmentationError,
    as_compressed,
    check_frame_size,
    checked_polygons,
    measure_rles,
)
from .problems import Problem
from .records import TrackRecord, VideoRecord

BOX_TOLERANCE_PIXELS = 2.0  # polygons are annotated between pixels: their boxes differ from the mask's by about one


@dataclass(frozen=True, slots=True)
class Entry:
    """One annotation or prediction as the file has it.

    Attributes:
        content: Its dict.
        id: The annotation's id; a prediction's position, from 1.
        video: Its video.
        is_prediction: Whether it has a score; it may differ from the video in size and length where that is tolerated.
        where: How scoring calls it in messages.
    """

    content: Mapping[str, Any]
    id: int
    video: VideoRecord
    is_prediction: bool = False
    where: str = ""


class Report(Protocol):
    """Takes what is wrong, and says what is wanted.

    Attributes:
        for_training: Whether names of categories and pictures, boxes and polygons are read, and tracks need a mask.
    """

    for_training: bool

    def problem(self, problem: Problem) -> None:
        """Keeps or raises what is wrong with a file, category or video.

        Raises:
            ValueError: If the first problem ends the reading.
        """

    def __call__(
        self,
        entry: Entry,
        kind: str,
        message: str,
        frame: int | None = None,
        fatal: bool = True,
        tolerable: bool = False,
    ) -> None:
        """Keeps or raises what is wrong with a track.

        Args:
            entry: Where it is.
            kind: Short name to count by.
            message: What was expected and what came.
            frame: Where in the entry.
            fatal: Whether the track can't be used.
            tolerable: Whether the official evaluator accepts it silently.

        Raises:
            ValueError: If the first problem ends the reading.
        """


@dataclass(slots=True)
class Draft:
    """A track that is being read."""

    entry: Entry
    category_id: int
    is_crowd: bool
    score: float
    segmentations: list[Rle | None]
    present: list[int] = field(default_factory=list)
    outlined: list[int] = field(default_factory=list)  # frames of which the file has polygons
    is_refused: bool = False
    mask_areas: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    mask_boxes: IntArray = field(default_factory=lambda: np.zeros((0, 4), dtype=np.int64))
    boxes: list[list[float] | None] = field(default_factory=list)

    @property
    def has_boxes(self) -> bool:
        """Whether the file states boxes."""
        return self.entry.content.get("bboxes") is not None

    def of_present(self, values: Sequence[Any]) -> list[Any]:
        """Of values for every frame those of the frames with a mask."""
        return [values[frame] for frame in self.present]


def read_tracks(entries: Sequence[Entry], category_ids: Container[int], report: Report) -> list[TrackRecord | None]:
    """Reads and checks tracks; their masks are decompressed and measured together.

    Args:
        entries: With `category_id`, `segmentations`, and optionally `iscrowd`, `areas`, `bboxes` (xywh); predictions
            with `score`.
        category_ids: Those of the file.
        report: Takes what is wrong.

    Returns:
        The tracks in order; None for those with a fatal problem.
    """
    drafts = [_read_structure(entry, category_ids, report) for entry in entries]
    sound = [draft for draft in drafts if draft is not None]
    _measure(sound, report)
    if report.for_training:
        _read_boxes([draft for draft in sound if not draft.is_refused], report)
    return [None if draft is None or draft.is_refused else _finish(draft, report) for draft in drafts]


def _read_structure(entry: Entry, category_ids: Container[int], report: Report) -> Draft | None:
    """Everything of an entry but what its masks say."""
    content, video, is_refused = entry.content, entry.video, False

    def refuse(kind: str, message: str, frame: int | None = None) -> None:
        nonlocal is_refused
        is_refused = True
        report(entry, kind, message, frame)

    category_id = content.get("category_id")
    if not is_id(category_id):
        got = brief(category_id) if "category_id" in content else "nothing"
        refuse("unknown category", f"category_id: expected an integer, got {got}")
    elif category_id not in category_ids:
        message = f"category_id is {category_id}, the categories have {_shorten(category_ids)}: the track is left out"
        report(entry, "unknown category", message, tolerable=True)
        is_refused = report.for_training
    is_crowd = content.get("iscrowd") or 0
    if not isinstance(is_crowd, int | float) or is_crowd not in (0, 1):
        refuse("bad annotation", f"iscrowd: expected 0 or 1, got {brief(is_crowd)}")
    score = content.get("score") if entry.is_prediction else 1.0
    if not is_number(score):
        refuse("bad score", f"score: expected a finite number, got {brief(score)}")
    segmentations = content.get("segmentations")
    if not isinstance(segmentations, list):
        kind = "None in the wrong place" if segmentations is None else "bad annotation"
        refuse(kind, f"segmentations: expected a list, got {type(segmentations).__name__}")
    elif video.length is not None and len(segmentations) != video.length:
        message = f"{len(segmentations)} segmentations for {video.length} frames"
        report(entry, "wrong length", message, tolerable=entry.is_prediction)
        is_refused = is_refused or not entry.is_prediction
    if not is_refused and not entry.is_prediction:
        assert isinstance(segmentations, list)
        for name in ("bboxes", "areas") if report.for_training else ("areas",):
            values = content.get(name, [])
            if not isinstance(values, list):
                kind = "None in the wrong place" if values is None else "bad annotation"
                refuse(kind, f"{name}: expected a list of {len(segmentations)}, got {type(values).__name__}")
            elif name in content and len(values) != len(segmentations):
                refuse("wrong length", f"{name}: expected a list of {len(segmentations)}, got {len(values)} entries")
    if is_refused:
        return None
    assert isinstance(segmentations, list) and is_number(score) and is_id(category_id)
    draft = Draft(entry, int(category_id), bool(is_crowd), float(score), [None] * len(segmentations))
    _compress(draft, segmentations, report)
    return draft


def _compress(draft: Draft, segmentations: Sequence[Any], report: Report) -> None:
    """Brings the masks into one form; strings are not checked yet."""
    entry, video = draft.entry, draft.entry.video
    draft.present = [frame for frame, mask in enumerate(segmentations) if mask is not None and mask != []]
    if _are_plain([segmentations[frame] for frame in draft.present], [video.height, video.width]):
        draft.segmentations = [mask or None for mask in segmentations]
        return
    differs = False
    for frame in draft.present:
        segmentation = segmentations[frame]
        if isinstance(segmentation, list):
            draft.outlined.append(frame)
        try:
            rle = as_compressed(segmentation, video.height, video.width)
            draft.segmentations[frame] = rle
            if video.height is not None and video.width is not None:
                check_frame_size(rle["size"], video.height, video.width)
        except SegmentationError as error:
            tolerable = entry.is_prediction and error.kind == "wrong RLE size"
            if not (tolerable and differs):
                report(entry, error.kind, str(error), frame, tolerable=tolerable)
            differs = differs or tolerable
            draft.is_refused = draft.is_refused or not tolerable


def _are_plain(segmentations: Sequence[Any], size: list[int | None]) -> bool:
    """Whether all are compressed RLEs of a size and nothing else, as most are; asked without a loop in Python."""
    return (
        set(map(type, segmentations)) <= {dict}
        and set(map(len, segmentations)) <= {2}
        and [mask.get("size") for mask in segmentations].count(size) == len(segmentations)
        and {type(mask.get("counts")) for mask in segmentations} <= {str}
    )


def _measure(drafts: Sequence[Draft], report: Report) -> None:
    """Fills in areas and boxes of the masks; where one of many can't be used, looks at each track and frame alone."""
    kept = [draft for draft in drafts if not draft.is_refused]
    rles = [draft.segmentations[frame] for draft in kept for frame in draft.present]
    try:
        measures = measure_rles([rle for rle in rles if rle is not None], with_boxes=report.for_training)
    except SegmentationError as error:
        if len(kept) > 1:
            for draft in kept:
                _measure([draft], report)
        else:
            frame = kept[0].present[error.index]
            kept[0].is_refused = True
            report(kept[0].entry, error.kind, str(error), frame)
        return
    start = 0
    for draft in kept:
        end = start + len(draft.present)
        draft.mask_areas = np.zeros(len(draft.segmentations), dtype=np.int64)
        draft.mask_areas[draft.present] = measures.areas[start:end]
        if measures.boxes_xywh is not None:
            draft.mask_boxes = measures.boxes_xywh[start:end]
        start = end


def _finish(draft: Draft, report: Report) -> TrackRecord | None:
    """The track, with what the file says about boxes and areas."""
    entry = draft.entry
    areas = polygons = None
    if report.for_training:
        areas = _training_areas(draft)
        polygons = _polygons(draft)
        if not draft.present:
            draft.is_refused = True
            message = f"track with no mask: all of its {len(draft.segmentations)} segmentations are None"
            report(entry, "empty track", message)
    elif "areas" in entry.content and not entry.is_prediction:
        areas = entry.content["areas"]
        for frame, area in enumerate(areas):
            if area is not None and not is_area(area):
                message = f"area: expected None or a number of 0 or more, got {brief(area)}"
                report(entry, "bad annotation", message, frame)
    if draft.is_refused:
        return None
    return TrackRecord(
        entry.id, draft.category_id, draft.segmentations, draft.mask_areas, draft.is_crowd, draft.score, areas,
        draft.boxes if report.for_training else None, polygons,
    )  # fmt: skip


def _read_boxes(drafts: Sequence[Draft], report: Report) -> None:
    """Fills in boxes xywh of all frames, of the file or else of the masks; of all tracks at once if all are sound."""
    of_file = [box for draft in drafts if draft.has_boxes for box in draft.of_present(draft.entry.content["bboxes"])]
    numbers = _boxes_as_array(of_file)
    if numbers is None and len(drafts) > 1:
        for draft in drafts:
            _read_boxes([draft], report)
        return
    start = 0
    for draft in drafts:
        draft.boxes = [None] * len(draft.segmentations)
        boxes = draft.mask_boxes.astype(np.float64)
        if draft.has_boxes:
            listed = draft.entry.content["bboxes"]
            absent = set(range(len(listed))).difference(draft.present)
            if numbers is None or not all(_is_no_box(listed[frame]) for frame in absent):
                _report_boxes(draft, listed, report)
            end = start + len(draft.present)
            boxes = boxes if numbers is None else numbers[start:end]
            start = end
        for frame, box in zip(draft.present, boxes.tolist(), strict=True):
            draft.boxes[frame] = box
    _compare_boxes([draft for draft in drafts if not draft.is_refused], report)


def _boxes_as_array(listed: Sequence[Any]) -> npt.NDArray[np.float64] | None:
    """(N, 4) xywh, or None if one of them is no box."""
    if not set(map(type, listed)) <= {list} or not set(map(len, listed)) <= {4}:
        return None
    sides = list(chain.from_iterable(listed))
    if not set(map(type, sides)) <= {int, float}:
        return None
    try:
        numbers = np.array(sides, dtype=np.float64).reshape(-1, 4)
    except OverflowError:
        return None
    return numbers if np.isfinite(numbers).all() and (numbers[:, 2:] >= 0).all() else None


def _report_boxes(draft: Draft, listed: Sequence[Any], report: Report) -> None:
    """Says which boxes can't be used."""
    for frame, (segmentation, box) in enumerate(zip(draft.segmentations, listed, strict=True)):
        kind = "None in the wrong place"
        if segmentation is None and not _is_no_box(box):
            message = f"the segmentation is None, but the box is {brief(box)}: expected both or neither"
        elif segmentation is not None and box is None:
            message = "the box is None, but there is a segmentation: expected both or neither"
        elif segmentation is not None and _boxes_as_array([box]) is None:
            kind, message = "bad box", f"expected a box [x, y, width, height] in pixels, got {brief(box)}"
            if isinstance(box, list) and len(box) == 4 and all(is_number(n) or isinstance(n, float) for n in box):
                is_finite = all(is_number(number) for number in box)
                reason = "has a negative width or height" if is_finite else "has a NaN or infinite number"
                message = f"box {reason}: {brief(box)}"
        else:
            continue
        draft.is_refused = True
        report(draft.entry, kind, message, frame)


def _is_no_box(box: Any) -> bool:
    """Whether this is how tools write the box of an absent object."""
    return box is None or box == [] or box == [0, 0, 0, 0]


def _compare_boxes(drafts: Sequence[Draft], report: Report) -> None:
    """Notes boxes with a side more than `BOX_TOLERANCE_PIXELS` from the mask's own, and masks without a pixel."""
    places = [(draft, frame) for draft in drafts for frame in draft.present]
    boxes = np.array([draft.boxes[frame] for draft, frame in places], dtype=np.float64).reshape(-1, 4)
    mask_boxes = np.concatenate([np.zeros((0, 4)), *(draft.mask_boxes for draft in drafts)])
    sides, mask_sides = (
        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1) for xywh in (boxes, mask_boxes)
    )
    is_off = np.abs(sides - mask_sides).max(axis=1, initial=0) > BOX_TOLERANCE_PIXELS
    is_empty = (mask_boxes[:, 2:] == 0).any(axis=1)
    for index in np.flatnonzero(is_off | is_empty).tolist():
        draft, frame = places[index]
        if is_empty[index]:
            report(draft.entry, "empty mask", "the mask has no pixel", frame, fatal=False)
        else:
            message = f"box {boxes[index].tolist()} (xywh), but the mask spans {mask_boxes[index].tolist()}"
            report(draft.entry, "box off", message, frame, fatal=False)


def _training_areas(draft: Draft) -> list[float | None]:
    """Areas of all frames, of the file where it has a number, else of the masks."""
    areas: list[float | None] = [None] * len(draft.segmentations)
    of_masks = draft.of_present(draft.mask_areas.tolist())
    of_file = draft.of_present(draft.entry.content.get("areas") or areas)
    if not _are_areas(of_file):
        of_file = [area if is_area(area) else of_mask for area, of_mask in zip(of_file, of_masks, strict=True)]
    for frame, area in zip(draft.present, of_file, strict=True):
        areas[frame] = float(area)
    return areas


def _are_areas(values: Sequence[Any]) -> bool:
    """Whether all are areas; asked without a loop in Python."""
    if not values or not set(map(type, values)) <= {int, float} or max(values) > LIMITS.id:
        return not values
    return math.isfinite(sum(values)) and min(values) >= 0


def is_area(value: Any) -> bool:
    """Whether a value is a number of 0 or more."""
    return is_number(value) and value >= 0


def _polygons(draft: Draft) -> list[list[list[float]] | None]:
    """Polygons of the frames where the file has those."""
    video, listed = draft.entry.video, draft.entry.content["segmentations"]
    polygons: list[list[list[float]] | None] = [None] * len(draft.segmentations)
    for frame in draft.outlined:
        assert video.height is not None and video.width is not None
        polygons[frame] = checked_polygons(listed[frame], video.height, video.width)
    return polygons


def _shorten(category_ids: Any) -> str:
    ids = sorted(category_ids)
    return f"ids {ids}" if len(ids) <= 6 else f"{len(ids)} ids from {min(ids)} to {max(ids)}"

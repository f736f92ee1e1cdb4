"""The `datasets` builder behind `load_ytvis` and `load_coco`: an annotation file, parsed once, as an Arrow file."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets.exceptions import DatasetGenerationError

from ..files import collection_paused, content_hash
from .frames import MISSING, frame_problems
from .invalid import list_dropped
from .layout import SplitLocation
from .parse import ID_ZERO, ParsedSplit
from .problems import DataSetError, Problem
from .records import VideoRecord

logger = logging.getLogger(__name__)
# Part of the cache key: to be raised when rows of the same file come out differently.
ROW_FORMAT = 4

SEGMENTATION = {"size": datasets.List(datasets.Value("int32")), "counts": datasets.Value("string")}
BOX = datasets.List(datasets.Value("float64"))
POLYGONS = datasets.List(datasets.List(datasets.Value("float64")))
ROWS_AT_ONCE = 100  # that are turned into columns together
MakeRow: TypeAlias = Callable[[VideoRecord, Mapping[int, int], Path], Mapping[str, Any]]


class AnnotationBuilder(datasets.ArrowBasedBuilder):
    """Rows of one split of one annotation file.

    Args:
        parse: Reads the annotation file.
        make_row: Turns a video, given the label index of every category id and the folder of the frames, into a row.
        make_features: Features of the rows, given the names of the classes.
        location: The split.
        noun: What messages call a video.
        **kwargs: Of the `datasets` builder.
    """

    def __init__(
        self,
        parse: Callable[[], ParsedSplit],
        make_row: MakeRow,
        make_features: Callable[[list[str]], datasets.Features],
        location: SplitLocation,
        noun: str,
        **kwargs: Any,
    ) -> None:
        self.parse = parse
        self.make_row = make_row
        self.make_features = make_features
        self.location = location
        self.noun = noun
        super().__init__(**kwargs)

    def _info(self) -> datasets.DatasetInfo:
        # The names of the classes are in the JSON: a cached data set brings its features along, a new one gets them
        # when the file is read.
        return datasets.DatasetInfo()

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        parsed = self.parse()
        videos = [video for video in parsed.videos if self.location.holds(video.id, video.length or 0)]
        problems = self._check(parsed, videos)
        if problems:
            raise DataSetError(problems)
        self.info.features = self.make_features(parsed.label_names)
        # The description is the one free field that travels with a data set.
        self.info.description = json.dumps({
            "file": parsed.file, "category_ids": parsed.category_ids, "has_annotations": parsed.has_annotations,
            "dropped": list_dropped(parsed.file, parsed.dropped) if parsed.dropped else None,
        })  # fmt: skip
        return [
            datasets.SplitGenerator(name=datasets.Split.TRAIN, gen_kwargs={"videos": videos, "labels": parsed.labels})
        ]

    def _generate_tables(self, videos: list[VideoRecord], labels: dict[int, int]) -> Iterator[tuple[Any, pa.Table]]:
        image_folder = self.location.image_folder.resolve()  # the rows outlive the current directory
        schema = self.info.features.arrow_schema
        for start in range(0, len(videos), ROWS_AT_ONCE):
            rows = [self.make_row(video, labels, image_folder) for video in videos[start : start + ROWS_AT_ONCE]]
            yield datasets.builder.Key(0, start), pa.Table.from_pylist(rows, schema=schema)

    def _check(self, parsed: ParsedSplit, videos: list[VideoRecord]) -> list[Problem]:
        """Everything that keeps the split from being used; of the frames' sizes, only the first of every video."""
        problems = [problem for problem in parsed.problems if problem.fatal]
        for problem in parsed.problems:
            if problem.kind == ID_ZERO:
                logger.warning("%s", problem)
        if not videos and not problems:
            part = f"of {len(parsed.videos)} {self.noun}s none belongs to {self.location.subset!r}"
            message = part if self.location.subset else f"there is no {self.noun}"
            problems.append(Problem(f"no {self.noun}", message, parsed.file))
        return problems + frame_problems(videos, self.location.frames, parsed.file, False, self.noun)


def build(
    parse: Callable[[], ParsedSplit],
    make_row: MakeRow,
    make_features: Callable[[list[str]], datasets.Features],
    location: SplitLocation,
    source_hash: str,
    invalid_annotations: str,
    noun: str,
    cache_dir: str | os.PathLike[str] | None,
) -> datasets.Dataset:
    """Returns the split, from the cache if the file, the folder and the options are those of an earlier call.

    Args:
        parse: See `AnnotationBuilder`, as the other arguments that are not listed.
        make_row: See there.
        make_features: See there.
        location: The split.
        source_hash: Hash of the annotations' content.
        invalid_annotations: "error" or "drop".
        noun: What messages call a video.
        cache_dir: Where the Arrow files go; the usual cache of `datasets` if None.

    Raises:
        ValueError: If `invalid_annotations` is neither.
        DataSetError: With all problems.
    """
    if invalid_annotations not in ("error", "drop"):
        raise ValueError(f'invalid_annotations: expected "error" or "drop", got {invalid_annotations!r}')
    image_folder = str(location.image_folder.resolve())
    left_out = None if location.left_out is None else content_hash(location.left_out)
    key = json.dumps([ROW_FORMAT, noun, source_hash, image_folder, location.subset, left_out, invalid_annotations])
    builder = AnnotationBuilder(
        parse, make_row, make_features, location, noun,
        cache_dir=None if cache_dir is None else str(cache_dir),
        dataset_name=f"ifc_{noun}s", hash=hashlib.sha256(key.encode()).hexdigest(),
    )  # fmt: skip
    is_cached = os.path.exists(builder.cache_dir)
    try:
        with collection_paused():
            builder.download_and_prepare()
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, OSError):  # such as a full disk, which the wrapping would hide
            raise error.__cause__ from error
        raise
    dataset = builder.as_dataset(split=datasets.Split.TRAIN)
    if dropped := json.loads(dataset.info.description)["dropped"]:  # said of a cached set, too
        logger.warning(dropped)
    if is_cached:  # frames may have gone since; a new split has just been checked
        check_frames(dataset, location, noun)
    return dataset


def check_frames(dataset: datasets.Dataset, location: SplitLocation, noun: str) -> None:
    """Looks for all frames of a data set without reading its rows.

    Raises:
        DataSetError: With the number of missing frames, or what else keeps them from being read, the first of them,
            and its video.
    """
    column = "frames" if "frames" in dataset.features else "image"
    table = dataset.data.table
    frames = table[column].combine_chunks()
    if column == "frames":
        parents, frames = pc.list_parent_indices(frames).to_pylist(), pc.list_flatten(frames)
    else:
        parents = list(range(len(frames)))
    paths = pc.struct_field(frames, "path").to_pylist()
    files, start = location.frames, os.path.join(location.image_folder.resolve(), "")
    found = [None if path is None else files.problem(path.removeprefix(start)) for path in paths]
    index = next((i for i, problem in enumerate(found) if problem is not None), None)
    if index is None:
        return
    kind, message = found[index] or ("", "")
    if kind == MISSING:
        missing = sum(problem is not None and problem[0] == MISSING for problem in found)
        message = f"{missing} of {len(paths)} frames are missing, first {paths[index]}"
    video_id = table[f"{noun}_id"][parents[index]].as_py()
    file = str(location.annotation_file or location.image_folder)
    raise DataSetError([Problem(kind, message, file, f"{noun} {video_id}")])

"""`load_ytvis`: YouTube-VIS 2019, 2021, 2022, OVIS and everything in their format, one row a video."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets

from ..files import content_hash
from .builder import BOX, POLYGONS, SEGMENTATION, build
from .invalid import parse_sound
from .layout import HELD_OUT_SPLITS, SplitLocation, locate_ytvis
from .parse import ParsedSplit, parse_ytvis
from .problems import read_data_file
from .records import VideoRecord, objects_of
from .vos_folder import palette_folder_hash, parse_palette_folder


def load_ytvis(
    root: str | os.PathLike[str],
    version: str | None = None,
    split: str = "train",
    streaming: bool = False,
    num_shards: int = 16,
    annotation_file: str | os.PathLike[str] | None = None,
    image_folder: str | os.PathLike[str] | None = None,
    invalid_annotations: str = "error",
    cache_dir: str | os.PathLike[str] | None = None,
    allow_outside: bool = False,
) -> datasets.Dataset | datasets.IterableDataset:
    """Loads a split of a video instance segmentation data set in YouTube-VIS format.

    Everything is checked before the first row comes: the JSON, every mask, that every frame is there. Pictures are
    not decoded. The JSON is read once: later calls take the rows from the cache as long as its content is the same.

    A row: `video_id`, `width`, `height`, `length` (L), `frames` (L times `{"path", "bytes"}`), `objects`: a list of
    `id`, `category` (label index), `category_id` (of the JSON), `iscrowd`, and per frame, None where the object is
    absent, `segmentations` (`{"size": [H, W], "counts": str}`), `bboxes` (xywh, pixels), `areas` (pixels), and
    `polygons` (lists of `[x0, y0, x1, y1, ...]` in pixels) where the file has those.

    Args:
        root: The data set's folder, or the folder that holds it as `ytvis_2019`, `ytvis_2021`, `ytvis_2022`, `ovis`.
        version: "2019", "2021", "2022", "ovis", or None for any other in this format.
        split: "train", "valid", "test" or the name of another file; "train_sub" and "val_sub" are
            `instances_train_sub.json` and `instances_val_sub.json` where the folder has them, else a fixed division of
            train.json (90 % and 10 %, see `is_held_out`); "valid_long" and "valid_short" divide 2022's valid.json.
            Files without annotations give rows without objects.
        streaming: Return an `IterableDataset`.
        num_shards: Number of shards of that (at most one per video); workers share them.
        annotation_file: The JSON, if it is not where `root` has it.
        image_folder: What the file names in the JSON start from, if it is not where `root` has it.
        invalid_annotations: "error", or "drop" the tracks and the frames of tracks that can't be used, with a warning
            that counts and lists them: tracks without a mask, boxes without masks, polygons of two points, ...
        cache_dir: Where the Arrow files go; the usual cache of `datasets` if None.
        allow_outside: Read frames that names or links lead to outside of the image folder: for those who link their
            frames on purpose.

    Returns:
        The rows. `features["objects"].feature["category"].names` are the classes; see also `ifc_hf.data.labels`.

    Raises:
        DataSetError: (a ValueError) Naming file, video, annotation and frame.

    Example:
        >>> dataset = load_ytvis("datasets", version="2019", split="train_sub")  # doctest: +SKIP
        >>> dataset[0]["frames"][0]["path"]  # doctest: +SKIP
        'datasets/ytvis_2019/train/JPEGImages/0a2f2bd294/00000.jpg'
    """
    if annotation_file is not None and image_folder is not None:
        location = SplitLocation(Path(annotation_file), Path(image_folder))
    else:
        found = locate_ytvis(root, version, split)
        location = replace(
            found,
            annotation_file=found.annotation_file if annotation_file is None else Path(annotation_file),
            image_folder=found.image_folder if image_folder is None else Path(image_folder),
        )
    location = replace(location, allow_outside=allow_outside)
    if location.annotation_file is None:
        stem = "train" if location.subset in HELD_OUT_SPLITS else split
        parse = partial(parse_palette_folder, location.image_folder, stem, allow_outside)
        source_hash = palette_folder_hash(location.image_folder, stem, allow_outside)
    else:
        parse = partial(read_ytvis, location.annotation_file, drop=invalid_annotations == "drop")
        source_hash = content_hash(location.annotation_file)
    dataset = build(parse, make_row, make_features, location, source_hash, invalid_annotations, "video", cache_dir)
    return as_stream(dataset, num_shards) if streaming else dataset


def read_ytvis(annotation_file: Path, drop: bool = False) -> ParsedSplit:
    """Reads and parses a YouTube-VIS file, without what is wrong in its annotations if asked to."""
    parse = parse_sound if drop else parse_ytvis
    return parse(read_data_file(annotation_file), str(annotation_file))


def make_row(video: VideoRecord, labels: Mapping[int, int], image_folder: Path) -> Mapping[str, Any]:
    """A video of a `ParsedSplit` as a row."""
    start = os.path.join(image_folder, "")  # joining every name would take longer than all the rest
    return {
        "video_id": video.id,
        "width": video.width,
        "height": video.height,
        "length": video.length,
        "frames": [{"path": start + name if name[0] != os.sep else name, "bytes": None} for name in video.file_names],
        "objects": objects_of(video, labels),
    }


def make_features(label_names: list[str]) -> datasets.Features:
    """Features of the rows."""
    return datasets.Features({
        "video_id": datasets.Value("int64"),
        "width": datasets.Value("int32"),
        "height": datasets.Value("int32"),
        "length": datasets.Value("int32"),
        # Image() would decode every frame of a video on access, to train on five of them.
        "frames": datasets.List(datasets.Image(decode=False)),
        "objects": datasets.List({
            "id": datasets.Value("int64"),
            "category": datasets.ClassLabel(names=label_names),
            "category_id": datasets.Value("int64"),
            "iscrowd": datasets.Value("int8"),
            "segmentations": datasets.List(SEGMENTATION),
            "bboxes": datasets.List(BOX),
            "areas": datasets.List(datasets.Value("float64")),
            "polygons": datasets.List(POLYGONS),
        }),
    })  # fmt: skip


def as_stream(dataset: datasets.Dataset, num_shards: int) -> datasets.IterableDataset:
    """Shards of the prepared Arrow file: workers map it into memory instead of parsing the JSON once each."""
    stream = dataset.to_iterable_dataset(num_shards=max(1, min(num_shards, len(dataset))))
    stream.info.description = dataset.info.description
    return stream

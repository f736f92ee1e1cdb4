"""`load_coco`: COCO's instances, one row an image, for the image stage and joint training."""

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
from .layout import SplitLocation, locate_coco
from .parse import ParsedSplit, coco_as_ytvis, parse_ytvis
from .problems import read_data_file
from .records import VideoRecord, objects_of
from .ytvis import as_stream


def load_coco(
    root: str | os.PathLike[str],
    split: str = "train2017",
    streaming: bool = False,
    num_shards: int = 64,
    invalid_annotations: str = "error",
    cache_dir: str | os.PathLike[str] | None = None,
    annotation_file: str | os.PathLike[str] | None = None,
    image_folder: str | os.PathLike[str] | None = None,
    allow_outside: bool = False,
) -> datasets.Dataset | datasets.IterableDataset:
    """Loads a split of COCO (or of another data set in its format and layout).

    A row: `image_id`, `width`, `height`, `image` (`{"path", "bytes"}`, not decoded), `objects`: a list of `id`,
    `category` (label index), `category_id`, `iscrowd`, `segmentation` (compressed RLE), `polygons` (lists of
    `[x0, y0, x1, y1, ...]` in pixels where the file has those, else None), `bbox` (xywh, pixels), `area` (pixels).

    Args:
        root: The `coco` folder, or the folder that holds it.
        split: "train2017" or "val2017": `annotations/instances_<split>.json` and the folder `<split>`. Or "train",
            "valid", "test" in the layout of Roboflow: `<split>/_annotations.coco.json` beside the images.
        streaming: Return an `IterableDataset`.
        num_shards: Number of shards of that.
        invalid_annotations: "error", or "drop" the objects that can't be used, with a warning that counts and lists
            them.
        cache_dir: Where the Arrow files go; the usual cache of `datasets` if None.
        annotation_file: The JSON, if it is not where `root` has it.
        image_folder: What the file names in the JSON start from, if it is not where `root` has it.
        allow_outside: Read images that names or links lead to outside of the image folder: for those who link their
            images on purpose.

    Returns:
        The rows, in the order of the JSON.

    Raises:
        DataSetError: (a ValueError) Naming file, image and annotation.
    """
    if annotation_file is not None and image_folder is not None:
        location = SplitLocation(Path(annotation_file), Path(image_folder), allow_outside=allow_outside)
    else:
        found = locate_coco(root, split)
        location = replace(
            found,
            annotation_file=found.annotation_file if annotation_file is None else Path(annotation_file),
            image_folder=found.image_folder if image_folder is None else Path(image_folder),
            allow_outside=allow_outside,
        )
    assert location.annotation_file is not None
    source_hash = content_hash(location.annotation_file)
    parse = partial(read_coco, location.annotation_file, drop=invalid_annotations == "drop")
    dataset = build(parse, make_row, make_features, location, source_hash, invalid_annotations, "image", cache_dir)
    return as_stream(dataset, num_shards) if streaming else dataset


def read_coco(annotation_file: Path, drop: bool = False) -> ParsedSplit:
    """Reads and parses a COCO file, without what is wrong in its annotations if asked to."""
    file, parse = str(annotation_file), parse_sound if drop else parse_ytvis
    return parse(coco_as_ytvis(read_data_file(annotation_file), file), file, noun="image")


def make_row(image: VideoRecord, labels: Mapping[int, int], image_folder: Path) -> Mapping[str, Any]:
    """An image of a `ParsedSplit` as a row."""
    of_image = {"segmentation": "segmentations", "polygons": "polygons", "bbox": "bboxes", "area": "areas"}
    objects = [
        {
            **{name: item[name] for name in ("id", "category", "category_id", "iscrowd")},
            **{name: item[column][0] for name, column in of_image.items()},
        }
        for item in objects_of(image, labels)
    ]
    return {
        "image_id": image.id,
        "width": image.width,
        "height": image.height,
        "image": {"path": os.path.join(image_folder, image.file_names[0]), "bytes": None},
        "objects": objects,
    }


def make_features(label_names: list[str]) -> datasets.Features:
    """Features of the rows."""
    return datasets.Features({
        "image_id": datasets.Value("int64"),
        "width": datasets.Value("int32"),
        "height": datasets.Value("int32"),
        "image": datasets.Image(decode=False),
        "objects": datasets.List({
            "id": datasets.Value("int64"),
            "category": datasets.ClassLabel(names=label_names),
            "category_id": datasets.Value("int64"),
            "iscrowd": datasets.Value("int8"),
            "segmentation": SEGMENTATION,
            "polygons": POLYGONS,
            "bbox": BOX,
            "area": datasets.Value("float64"),
        }),
    })  # fmt: skip

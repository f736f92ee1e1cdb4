"""Put the pictures themselves into a data set, to share it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import datasets


def embed_frames(dataset: datasets.Dataset, batch_size: int = 8) -> datasets.Dataset:
    """Replaces paths by the bytes of the files, so that `push_to_hub`, `save_to_disk` and `to_parquet` hold all of it.

    Without this, paths of this machine would be uploaded. The files are copied as they are, not encoded anew.

    Args:
        dataset: Rows of `load_ytvis` or `load_coco`.
        batch_size: Rows in memory at a time; a video has about 5 MB.

    Returns:
        The same rows with `{"bytes": ..., "path": file name}` in place of paths, and features that decode pictures on
        access, as users of the Hub expect. For training, cast back: `without_decoding(dataset)`.

    Raises:
        FileNotFoundError: If a frame is missing.
    """
    column = picture_column(dataset)
    embedded = dataset.map(
        _read_pictures, fn_kwargs={"column": column}, features=dataset.features, desc="Embedding frames",
        writer_batch_size=batch_size,
    )  # fmt: skip
    picture = datasets.Image()
    return embedded.cast_column(column, datasets.List(picture) if column == "frames" else picture)


def without_decoding(dataset: datasets.Dataset) -> datasets.Dataset:
    """Rows whose pictures stay bytes or paths on access: only the frames that are sampled get decoded."""
    column = picture_column(dataset)
    picture = datasets.Image(decode=False)
    return dataset.cast_column(column, datasets.List(picture) if column == "frames" else picture)


def picture_column(dataset: datasets.Dataset) -> str:
    """`frames` of a video data set, `image` of an image data set.

    Raises:
        ValueError: If the rows have neither.
    """
    for column in ("frames", "image"):
        if column in dataset.features:
            return column
    raise ValueError(f"expected rows with 'frames' or 'image', got the columns {sorted(dataset.features)}")


def _read_pictures(row: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    if column == "image":
        return {column: _read_picture(row[column])}
    return {column: [_read_picture(frame) for frame in row[column]]}


def _read_picture(picture: Mapping[str, Any]) -> Mapping[str, Any]:
    if picture["bytes"] is not None:
        return picture
    with open(picture["path"], "rb") as stream:
        return {"bytes": stream.read(), "path": os.path.basename(picture["path"])}

"""A picture of some clips: a row of frames per clip, and the same row with the outlines of its objects."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ifc_hf.files import read_json, whole_file
from ifc_hf.model.masks import decode_rle
from ifc_hf.outputs.instances import track_color

from .writer import TRACKS_FILE, SplitFolder, clip_name

TILE_WIDTH = 240
JPEG_QUALITY = 88


def write_contact_sheet(
    root: str | os.PathLike[str],
    split: str,
    output_format: str = "ytvis",
    num_clips: int = 8,
    num_columns: int = 6,
) -> Path:
    """Writes `contact_sheet_<split>.jpg` into the data set's folder.

    Args:
        root: Folder that `generate_dataset` wrote to.
        split: Which split.
        output_format: That of the data set.
        num_clips: Number of clips to show, the first ones.
        num_columns: Frames to show of each, at equal distances; of stills, one.

    Returns:
        The picture's path.
    """
    clips = SplitFolder.of(Path(root), split, output_format).clips
    rows: list[NDArray[np.uint8]] = []
    for index in range(num_clips):
        folder = clips / clip_name(index)
        if not folder.is_dir():
            break
        tracks = read_json(folder / TRACKS_FILE)["tracks"]
        files = sorted(folder.glob("*.jpg"))
        chosen = np.linspace(0, len(files) - 1, min(num_columns, len(files))).round().astype(int).tolist()
        frames = [cv2.imread(str(files[t])) for t in chosen]
        rows.append(np.hstack([tile(frame) for frame in frames]))
        outlined = []
        for t, frame in zip(chosen, frames, strict=True):
            for number, track in enumerate(tracks):
                if track["segmentations"][t] is not None:
                    mask = decode_rle(track["segmentations"][t]).astype(np.uint8)
                    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
                    color_bgr = track_color(number)[::-1]
                    cv2.drawContours(frame, outlines, -1, color_bgr, max(1, round(1.5 * frame.shape[1] / TILE_WIDTH)))
            outlined.append(tile(frame))
        rows.append(np.hstack(outlined))
    path = Path(root) / f"contact_sheet_{split}.jpg"
    _, encoded = cv2.imencode(".jpg", np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    with whole_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
    return path


def tile(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame at the size of the sheet."""
    size_wh = (TILE_WIDTH, round(TILE_WIDTH * frame.shape[0] / frame.shape[1]))
    return cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA)

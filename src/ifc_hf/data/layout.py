"""Where the authors' folders keep annotation files and frames, and which videos a split holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..model.limits import is_id
from .frames import FrameFiles
from .problems import DataSetError, Problem, read_data_file

VERSION_FOLDERS = {"2019": "ytvis_2019", "2021": "ytvis_2021", "2022": "ytvis_2022", "ovis": "ovis"}
VERSIONS = (*VERSION_FOLDERS, "coco")
# {} is the split's name. The first that exists is taken.
YTVIS_ANNOTATIONS = (
    "{}.json", "annotations/{}.json", "annotations_{}.json", "annotations/annotations_{}.json", "{}/instances.json",
    "{}/annotations.json", "instances_{}.json", "annotations/instances_{}.json", "{}_instances.json",
)  # fmt: skip
COCO_ANNOTATIONS = ("annotations/instances_{}.json", "{}/_annotations.coco.json")
YTVIS_FRAMES = ("{}/JPEGImages", "JPEGImages/{}", "Images/{}", "{}_images", "{}")
# Where detectron2, and so the authors' code, looks for `coco`, `ytvis_2019`, ...
ROOT_VARIABLE = "DETECTRON2_DATASETS"
ALIASES = {"valid": ("val", "validation"), "val": ("valid",), "validation": ("valid", "val")}
HELD_OUT_SPLITS = ("train_sub", "val_sub")
LENGTH_SPLITS = ("valid_long", "valid_short", "test_long", "test_short")
HELD_OUT_PERCENT = 10
# The longest video of YouTube-VIS 2019 and 2021 has 36 frames; what 2022 added is longer.
LONGEST_SHORT_VIDEO = 36


@dataclass(frozen=True)
class SplitLocation:
    """Where one split lies.

    Attributes:
        annotation_file: The JSON; None for a folder with palette PNGs (YouTube-VOS, DAVIS).
        image_folder: Folder that the file names in the JSON start from.
        subset: None for the whole file, else "train_sub", "val_sub", "long" or "short".
        left_out: An annotation file whose videos don't belong to this split.
        allow_outside: Whether frames may lie outside of the image folder; see `files.inside`.
    """

    annotation_file: Path | None
    image_folder: Path
    subset: str | None = None
    left_out: Path | None = None
    allow_outside: bool = False

    @property
    def frames(self) -> FrameFiles:
        """The files of the image folder."""
        return FrameFiles(self.image_folder, self.allow_outside)

    def holds(self, video_id: int, length: int) -> bool:
        """Whether a video of the file belongs to this split."""
        if video_id in self._left_out_ids:
            return False
        if self.subset in HELD_OUT_SPLITS:
            return is_held_out(video_id) == (self.subset == "val_sub")
        if self.subset in ("long", "short"):
            return (length > LONGEST_SHORT_VIDEO) == (self.subset == "long")
        return True

    @cached_property
    def _left_out_ids(self) -> frozenset[int]:
        content = read_data_file(self.left_out) if self.left_out is not None else {"videos": []}
        videos = content.get("videos") if isinstance(content, dict) else None
        if not isinstance(videos, list) or not all(
            isinstance(video, dict) and is_id(video.get("id")) for video in videos
        ):
            message = "expected a list 'videos' of dicts with an integer 'id'"
            raise DataSetError([Problem("wrong format", message, str(self.left_out))])
        return frozenset(video["id"] for video in videos)


def is_held_out(video_id: int) -> bool:
    """Whether a training video belongs to `val_sub`: about 10 % do, whatever the machine, order or other videos.

    The first 8 hexadecimal digits of SHA-256 of the id in decimal, as a number modulo 100, are below 10.
    """
    return int(hashlib.sha256(str(video_id).encode()).hexdigest()[:8], 16) % 100 < HELD_OUT_PERCENT


def locate_ytvis(root: str | os.PathLike[str], version: str | None = None, split: str = "train") -> SplitLocation:
    """Finds a split's annotation file and frames.

    Args:
        root: The data set's folder, or the folder that holds it under its usual name (`ytvis_2019`, `ovis`, ...).
        version: "2019", "2021", "2022", "ovis" or None: any other in the same format.
        split: "train", "valid", "test", or whatever a file is called; "train_sub" and "val_sub" divide train.json,
            unless they are files of their own (`instances_train_sub.json`) whose frames lie in `train`; if only one of
            them is, the other one is the rest of train.json. "valid_long" and "valid_short" divide 2022's valid.json.

    Returns:
        The location; without an annotation file if there is none but a folder with palette PNGs is.

    Raises:
        ValueError: If the version is unknown.
        DataSetError: If there is no annotation file or no folder with frames: with the places looked at.
    """
    if version is not None and version not in VERSION_FOLDERS:
        raise ValueError(f"version: expected one of {sorted(VERSION_FOLDERS)} or None, got {version!r}")
    folder = Path(root)
    if version is not None and (folder / VERSION_FOLDERS[version]).is_dir():
        folder = folder / VERSION_FOLDERS[version]
    stem, subset, left_out = split, None, None
    if split in HELD_OUT_SPLITS:
        file = _first(folder, YTVIS_ANNOTATIONS, (split,))
        left_out = _first(folder, YTVIS_ANNOTATIONS, [name for name in HELD_OUT_SPLITS if name != split])
        image_folder = _first(folder, YTVIS_FRAMES, (split, "train"))
        if file is not None and image_folder is not None:
            return SplitLocation(file, image_folder)
        stem, subset = "train", None if left_out else split
    elif split in LENGTH_SPLITS and not _first(folder, YTVIS_ANNOTATIONS, (split,)):
        stem, _, subset = split.partition("_")
    stems = (stem, *ALIASES.get(stem, ()))
    annotation_file = _first(folder, YTVIS_ANNOTATIONS, stems)
    image_folder = _first(folder, YTVIS_FRAMES, (*stems, stem.partition("_")[0]))
    if annotation_file is None and not is_palette_folder(folder, stems):
        raise DataSetError([Problem("missing JSON", _not_found(folder, version, stems), str(folder))])
    if annotation_file is None and image_folder is None:  # DAVIS keeps all splits together, by resolution
        image_folder = next(iter(sorted((folder / "JPEGImages").glob("*p"))), None)
    if image_folder is None:
        places = ", ".join(pattern.format(stem) for pattern in YTVIS_FRAMES)
        message = f"no folder with frames of split {split!r}; looked for {places}"
        raise DataSetError([Problem("missing frame", message, str(folder))])
    return SplitLocation(annotation_file, image_folder, subset, left_out)


def existing_root(root: str | os.PathLike[str] | None, option: str) -> str | os.PathLike[str]:
    """The folder that was given, else that of the environment's DETECTRON2_DATASETS.

    Args:
        root: The folder; None if none was given.
        option: What the message says to give.

    Raises:
        ValueError: If there is neither.
    """
    root = os.environ.get(ROOT_VARIABLE) if root is None else root
    if not root:
        raise ValueError(f"expected a folder of data: give {option}, or set {ROOT_VARIABLE}")
    return root


def locate_coco(root: str | os.PathLike[str], split: str = "train2017") -> SplitLocation:
    """Finds `annotations/instances_<split>.json` and the folder `<split>`, or `<split>/_annotations.coco.json`.

    Args:
        root: The `coco` folder, or the folder that holds it.
        split: "train2017", "val2017", ...; "train", "valid", "test" of Roboflow's exports.

    Raises:
        DataSetError: If either is missing.
    """
    folder = Path(root)
    if not _first(folder, COCO_ANNOTATIONS, (split,)) and (folder / "coco").is_dir():
        folder = folder / "coco"
    annotation_file = _first(folder, COCO_ANNOTATIONS, (split,))
    if annotation_file is None:
        message = f"no such file (split {split!r}), and no {COCO_ANNOTATIONS[1].format(split)}"
        raise DataSetError([Problem("missing JSON", message, str(folder / COCO_ANNOTATIONS[0].format(split)))])
    image_folder = _first(folder, ("{}", "images/{}"), (split,))
    if image_folder is None:
        raise DataSetError([Problem("missing frame", f"no folder {split} with the images", str(folder))])
    return SplitLocation(annotation_file, image_folder)


def is_palette_folder(folder: Path, stems: tuple[str, ...]) -> bool:
    """Whether masks lie as PNGs in `<split>/Annotations` (YouTube-VOS) or `Annotations` (DAVIS, with ImageSets)."""
    return any((folder / stem / "Annotations").is_dir() for stem in stems) or (
        (folder / "Annotations").is_dir() and (folder / "ImageSets").is_dir()
    )


def _first(folder: Path, patterns: Sequence[str], stems: Sequence[str]) -> Path | None:
    for stem in stems:
        for pattern in patterns:
            if (folder / pattern.format(stem)).exists():
                return folder / pattern.format(stem)
    return None


def _not_found(folder: Path, version: str | None, stems: tuple[str, ...]) -> str:
    if not folder.is_dir():
        return "no such folder"
    looked_for = ", ".join(pattern.format(stem) for stem in stems for pattern in YTVIS_ANNOTATIONS)
    if version == "2022" and stems[0] == "train":
        return 'YouTube-VIS 2022 has no training split of its own: it trains on that of 2021 (version="2021")'
    return f"no annotation file of split {stems[0]!r}; looked for {looked_for}"

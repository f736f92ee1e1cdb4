"""`generate_dataset`: composes clips in parallel and writes them as a data set, so that it can be interrupted."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm.auto import tqdm

from ifc_hf.data.synthetic import describe_masks
from ifc_hf.files import read_json, remove_leftovers, whole_folder, write_json
from ifc_hf.processes import become_worker, worker_context

from .compositing import render_clip
from .library import AssetLibrary
from .scene import draw_scene

GENERATOR_VERSION = 2  # to be raised by any change that changes a picture
FORMATS = ("ytvis", "coco")
MIN_SIDE = 32
TRACKS_FILE, SETTINGS_FILE = "tracks.json", "settings.json"


@dataclass(frozen=True)
class Settings:
    """All that determines the clips of a split, apart from how many there are.

    Attributes:
        split: "train", "val-style" or "val-photo".
        profile: Of the assets, "permissive" or "full".
        seed: Of everything that is drawn.
        num_frames: T of every clip.
        height: H of the frames, pixels.
        width: W of the frames, pixels.
        output_format: "ytvis" (2019), or "coco" for stills.
        manifest_sha256: Of the assets.
        generator_version: Of this code.
    """

    split: str
    profile: str
    seed: int
    num_frames: int
    height: int
    width: int
    output_format: str
    manifest_sha256: str
    generator_version: int = GENERATOR_VERSION

    def __post_init__(self) -> None:
        if self.output_format not in FORMATS:
            raise ValueError(f"format: expected one of {FORMATS}, got {self.output_format!r}")
        if self.num_frames < 1 or self.seed < 0 or min(self.height, self.width) < MIN_SIDE:
            raise ValueError(
                f"expected at least 1 frame, a seed from 0 and sides of {MIN_SIDE} pixels; got {self.num_frames} "
                f"frames, seed {self.seed} and size {self.height}x{self.width}"
            )
        if self.output_format == "coco" and self.num_frames != 1:
            raise ValueError(f"format 'coco' holds stills: expected 1 frame, got {self.num_frames}")

    @property
    def size_hw(self) -> tuple[int, int]:
        """(H, W) of the frames."""
        return self.height, self.width


@dataclass(frozen=True)
class SplitFolder:
    """Where the parts of a split are written.

    Attributes:
        clips: Has a folder per clip, with its frames and `tracks.json`.
        settings: The stored `Settings`.
        annotations: The joint annotation file.
    """

    clips: Path
    settings: Path
    annotations: Path

    @classmethod
    def of(cls, root: Path, split: str, output_format: str) -> SplitFolder:
        """The layout that `load_ytvis` or `load_coco` reads."""
        folder = root / split
        if output_format == "coco":
            return cls(folder, folder / SETTINGS_FILE, root / "annotations" / f"instances_{split}.json")
        return cls(folder / "JPEGImages", folder / SETTINGS_FILE, folder / "instances.json")


def generate_dataset(
    root: str | os.PathLike[str],
    library: AssetLibrary,
    *,
    split: str,
    num_clips: int,
    profile: str = "permissive",
    num_frames: int = 24,
    size_hw: tuple[int, int] = (360, 640),
    seed: int = 0,
    num_workers: int | None = None,
    output_format: str = "ytvis",
) -> Path:
    """Writes a split of generated clips with exact masks, for `load_ytvis(root, split=split)`.

    The same settings always give the same bytes, whatever the number of workers and however often it was interrupted:
    a clip depends on the settings and its index only. What is there already is kept, so that the same call goes on
    after an interruption, and a larger `num_clips` adds clips.

    Args:
        root: Folder to write to; several splits may share it.
        library: Pictures of the split.
        split: "train", "val-style" or "val-photo".
        num_clips: Number of clips.
        profile: That of the library; goes into the file's info.
        num_frames: T of every clip.
        size_hw: (H, W) of the frames in pixels.
        seed: Seed of everything that is drawn.
        num_workers: Processes; all cores if None.
        output_format: "ytvis", or "coco" for stills (`num_frames=1`), for `load_coco(root, split)`.

    Returns:
        The annotation file.

    Raises:
        ValueError: If a number is out of range, or the folder holds clips of other settings.
        OSError: If the disk is full, or a worker was killed: with what to do. No half-written clip stays.
    """
    root = Path(root)
    settings = Settings(split, profile, seed, num_frames, *size_hw, output_format, library.manifest_sha256)
    num_workers = num_workers or os.cpu_count() or 1
    if num_clips < 1 or num_workers < 1:
        raise ValueError(f"expected at least 1 clip and 1 worker, got {num_clips} and {num_workers}")
    folder = SplitFolder.of(root, split, output_format)
    try:
        begin(folder, settings)
        missing = [index for index in range(num_clips) if not (folder.clips / clip_name(index)).is_dir()]
        with tqdm(total=num_clips, initial=num_clips - len(missing), desc=f"composing {split}", unit="clip") as bar:
            for _ in write_clips(library, settings, folder.clips, missing, num_workers):
                bar.update()
        return write_annotations(folder, library, settings, num_clips)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        message = f"no space left for {split} in {root}; free some and run the same command again, it goes on"
        raise OSError(errno.ENOSPC, message) from error


def begin(folder: SplitFolder, settings: Settings) -> None:
    """Stores the settings, or checks that the stored ones are the same; removes what an interrupted run left.

    Raises:
        ValueError: If they are not, or the folder holds something else.
    """
    if folder.settings.exists():
        stored = read_json(folder.settings)
        differences = [
            f"{name} {stored.get(name)!r}, not {value!r}"
            for name, value in asdict(settings).items()
            if stored.get(name) != value
        ]
        if differences:
            raise ValueError(
                f"{folder.settings.parent} was begun with {'; '.join(differences)}: go on with the same settings, or "
                "write to another folder"
            )
    elif folder.settings.parent.exists() and any(folder.settings.parent.iterdir()):
        raise ValueError(f"{folder.settings.parent} holds files of something else; write to another folder")
    folder.clips.mkdir(parents=True, exist_ok=True)
    write_json(folder.settings, asdict(settings))
    remove_leftovers(folder.clips)


def clip_name(index: int) -> str:
    """Name of the folder of clip number `index`."""
    return f"{index:06d}"


def write_clips(
    library: AssetLibrary, settings: Settings, clips: Path, indices: list[int], num_workers: int
) -> Iterator[int]:
    """Writes clips in parallel; yields the index of each when it is there."""
    if min(num_workers, len(indices)) <= 1:
        for index in indices:
            yield write_clip(library, settings, clips, index)
        return
    pool = ProcessPoolExecutor(
        min(num_workers, len(indices)),
        mp_context=worker_context(),
        initializer=start_worker,
        initargs=(os.getpid(), library, settings, clips),
    )
    try:
        for done in as_completed([pool.submit(write_clip_of_worker, index) for index in indices]):
            yield done.result()
    except BrokenExecutor as error:
        raise OSError(
            f"a process that composes clips was ended, perhaps for want of memory; run the same command again with "
            f"fewer than {num_workers} workers, it goes on"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_worker: tuple[AssetLibrary, Settings, Path]


def start_worker(parent_pid: int, library: AssetLibrary, settings: Settings, clips: Path) -> None:
    """Ties a worker process to its parent and keeps what all its clips have in common."""
    global _worker
    become_worker(parent_pid)
    _worker = library, settings, clips


def write_clip_of_worker(index: int) -> int:
    """`write_clip` in a worker process."""
    return write_clip(*_worker, index)


def write_clip(library: AssetLibrary, settings: Settings, clips: Path, index: int) -> int:
    """Composes clip number `index` and writes its folder, as a whole or not at all; returns the index."""
    # The split's name is part of the seed: the same index must not give the same motion in training and validation.
    rng = np.random.default_rng([settings.seed, zlib.crc32(settings.split.encode()), index])
    scene = draw_scene(library, settings.split, rng, settings.num_frames, settings.size_hw)
    clip = render_clip(scene, rng, settings.num_frames, settings.size_hw)
    with whole_folder(clips / clip_name(index)) as unfinished:
        for t, frame in enumerate(clip.frames):
            options = [cv2.IMWRITE_JPEG_QUALITY, scene.film.quality]
            _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), options)
            (unfinished / f"{t:05d}.jpg").write_bytes(encoded.tobytes())
        tracks = [
            {"label": label, "asset": asset_id, **describe_masks(masks)}
            for label, asset_id, masks in zip(clip.labels, clip.asset_ids, clip.masks, strict=True)
        ]
        write_json(unfinished / TRACKS_FILE, {"tracks": tracks, "licences": scene.licences})
    return index


def write_annotations(folder: SplitFolder, library: AssetLibrary, settings: Settings, num_clips: int) -> Path:
    """Joins the annotations of the first `num_clips` clips into one file of the wanted format."""
    category_ids = {label: index + 1 for index, label in enumerate(library.labels)}
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    licences: set[str] = set()
    is_coco = settings.output_format == "coco"
    for index in range(num_clips):
        content = read_json(folder.clips / clip_name(index) / TRACKS_FILE)
        licences.update(content["licences"])
        names = [f"{clip_name(index)}/{t:05d}.jpg" for t in range(settings.num_frames)]
        head = {"id": index + 1, "width": settings.width, "height": settings.height}
        videos.append(
            {**head, "file_name": names[0]} if is_coco else {**head, "length": len(names), "file_names": names}
        )
        for track in content["tracks"]:
            ids = {"id": len(annotations) + 1, "category_id": category_ids[track["label"]], "iscrowd": 0}
            if is_coco:
                shape = {name: track[f"{name}s"][0] for name in ("segmentation", "area")}
                annotations.append({**ids, "image_id": index + 1, **shape, "bbox": track["bboxes"][0]})
            else:
                shape = {name: track[name] for name in ("segmentations", "bboxes", "areas")}
                annotations.append(
                    {**ids, "video_id": index + 1, "length": len(names), "asset": track["asset"], **shape}
                )
    categories = [{"id": number, "name": label, "supercategory": "object"} for label, number in category_ids.items()]
    info = {"description": "generated clips", **asdict(settings), "licences": sorted(licences)}
    noun = "images" if is_coco else "videos"
    write_json(folder.annotations, {"info": info, noun: videos, "categories": categories, "annotations": annotations})
    return folder.annotations

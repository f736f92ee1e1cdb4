"""The fourteen readers of other people's files, each with the errors that it documents."""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from . import seeds
from .mutations import Mutation, mutate_bytes, mutate_json, mutate_png, mutate_xml, mutate_zip

Read: TypeAlias = Callable[[bytes], object]
MOST_DECODED = 2**16  # pixels of a mask that is decoded to compare it


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        prepare: Makes what the reader needs in a folder and returns the function that reads one input.
        declared: Modules and names of the error classes that it documents.
        seeds: Makes valid inputs.
        mutations: Changes that keep the structure of its inputs.
        inputs: Of a whole campaign of a million: many where one costs little.
        passed_on: Classes that a library's own errors may have; they come as they are, and name the file.
    """

    prepare: Callable[[Path], Read]
    declared: tuple[str, ...]
    seeds: Callable[[], Sequence[bytes]]
    mutations: tuple[Mutation, ...]
    inputs: int
    passed_on: tuple[str, ...] = ()


class WrongResultError(Exception):
    """A reader took an input and made something else of it than a second way of reading."""


def prepare_rle(folder: Path) -> Read:
    """Reads an RLE as compressed, measured and decoded mask; all three must agree."""
    from ifc_hf.model.masks import decode_segmentation
    from ifc_hf.model.rle import SegmentationError, compress_segmentation, measure_rles

    def read(data: bytes) -> None:
        content = json.loads(data)
        rle, height, width = (content.get(key) for key in ("rle", "height", "width"))
        compressed = compress_segmentation(rle, height, width)
        measures = measure_rles([compressed], with_boxes=True)
        if height * width <= MOST_DECODED:
            try:
                mask = decode_segmentation(rle, height, width)
            except SegmentationError as error:
                raise WrongResultError("accepted once and refused the second time") from error
            if int(mask.sum()) != int(measures.areas[0]):
                raise WrongResultError(f"{int(mask.sum())} pixels in the mask, {measures.areas[0]} in its runs")

    return _of_json_object(read)


def prepare_polygon(folder: Path) -> Read:
    """Fills polygons."""
    from ifc_hf.model.rle import compress_segmentation, measure_rles

    def read(data: bytes) -> None:
        content = json.loads(data)
        rle = compress_segmentation(*(content.get(key) for key in ("polygons", "height", "width")))
        if not 0 <= measure_rles([rle]).areas[0] <= content["height"] * content["width"]:
            raise WrongResultError("the area is larger than the frame")

    return _of_json_object(read)


def _of_json_object(read: Read) -> Read:
    """Passes over what is no JSON object: there, reading JSON is not what is tried."""

    def read_object(data: bytes) -> None:
        try:
            is_object = isinstance(json.loads(data), dict)
        except (ValueError, RecursionError):
            return
        if is_object:
            read(data)

    return read_object


def prepare_ytvis(folder: Path) -> Read:
    """Reads a YouTube-VIS file for training, strictly and without what is wrong, and makes rows of it."""
    from ifc_hf.data.ytvis import make_features, make_row, read_ytvis

    return _annotation_reader(folder, read_ytvis, make_row, make_features)


def prepare_coco(folder: Path) -> Read:
    """Reads a COCO file in the same way."""
    from ifc_hf.data.coco import make_features, make_row, read_coco

    return _annotation_reader(folder, read_coco, make_row, make_features)


def _annotation_reader(folder: Path, read_file: Any, make_row: Any, make_features: Any) -> Read:
    import pyarrow

    from ifc_hf.data.frames import FrameFiles, frame_problems
    from ifc_hf.data.problems import raise_if_fatal

    path = folder / "train.json"
    write_frames(folder / "frames" / "v")

    def read(data: bytes) -> None:
        path.write_bytes(data)
        parsed = read_file(path)
        dropped = read_file(path, drop=True)
        if any(problem.annotation_id is not None and problem.fatal for problem in dropped.problems):
            raise WrongResultError("a problem of an annotation is left after they were dropped")
        for split in (parsed, dropped):
            files = FrameFiles(folder / "frames")
            problems = split.problems + frame_problems(split.videos, files, split.file, every_frame=True)
            "".join(map(str, problems))
            if not any(problem.fatal for problem in problems):
                schema = make_features(split.label_names).arrow_schema
                rows = [make_row(video, split.labels, folder) for video in split.videos]
                pyarrow.Table.from_pylist(rows, schema=schema)
        raise_if_fatal(parsed.problems)

    return read


def write_frames(folder: Path) -> None:
    """Writes two frames, 0.png and 1.png."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    for index in range(2):
        Image.fromarray(np.zeros((seeds.HEIGHT, seeds.WIDTH, 3), np.uint8)).save(folder / f"{index}.png")


def prepare_coco_video(folder: Path) -> Read:
    """Converts a COCO file of videos."""
    from ifc_hf.data.converters.coco_video import read_coco_video

    return _converter(folder, "annotations.json", "frames/v", read_coco_video, folder / "frames")


def prepare_cvat(folder: Path) -> Read:
    """Converts CVAT's XML."""
    from ifc_hf.data.converters.cvat import read_cvat_xml

    return _converter(folder, "annotations.xml", "images", read_cvat_xml)


def prepare_labelme(folder: Path) -> Read:
    """Converts a folder of two frames, one with a labelme file."""
    from ifc_hf.data.converters.labelme import read_labelme

    return _converter(folder, "0.json", "", read_labelme)


def prepare_label_studio(folder: Path) -> Read:
    """Converts an export of Label Studio beside its frames."""
    from ifc_hf.data.converters.label_studio import read_label_studio

    return _converter(folder, "project.json", "", read_label_studio)


def _converter(folder: Path, name: str, pictures: str, read_source: Any, frames: Path | None = None) -> Read:
    """A converter of the file `name`, with two pictures in the folder of that name; the user names `frames`."""
    from ifc_hf.data.converters.classes import number_classes
    from ifc_hf.data.converters.writer import describe

    source, output = folder / "source", folder / "output"
    write_frames((source if frames is None else folder) / pictures)
    source.mkdir(exist_ok=True)

    def read(data: bytes) -> None:
        if name:
            (source / name).write_bytes(data)
        found = read_source(source, frames, False)
        json.dumps(describe(found, number_classes(found, output, "train", None)))

    return read


def prepare_mots(folder: Path) -> Read:
    """Converts a MOTS folder of one PNG; the input is labels.txt and the PNG."""
    from ifc_hf.data.converters.mots import read_mots_png

    read_folder = _converter(folder, "", "images", read_mots_png)
    instances = folder / "source" / "instances"
    instances.mkdir()

    def read(data: bytes) -> None:
        labels, _, png = data.partition(seeds.MOTS_SEPARATOR)
        (instances / "labels.txt").write_bytes(labels)
        (instances / "0.png").write_bytes(png)
        read_folder(b"")

    return read


def prepare_results(folder: Path) -> Read:
    """Scores a result file against an annotation file."""
    from ifc_hf.evaluation import evaluate_ytvis

    truth, results = folder / "truth.json", folder / "results.json"
    warnings.simplefilter("ignore", UserWarning)  # what the official evaluator tolerates
    warnings.simplefilter("error", RuntimeWarning)  # arithmetic with what is no number

    def read(data: bytes) -> None:
        content = json.loads(data)
        truth.write_text(json.dumps(content.get("truth")))
        results.write_text(json.dumps(content.get("results")))
        scores = evaluate_ytvis(truth, results)
        if not all(-1 <= value <= 1 for value in scores["stats"]):
            raise WrongResultError(f"a score is out of range: {scores['stats']}")

    return _of_json_object(read)


def prepare_tracks(folder: Path) -> Read:
    """Reads a tracks.json, filters its tracks and writes it again."""
    from ifc_hf.outputs.prediction import Prediction

    path, again = folder / "tracks.json", folder / "again.json"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        prediction = Prediction.load(path)
        if prediction is None:
            return
        settings = prediction.settings
        prediction.narrowed(type(settings)(**{**vars(settings), "threshold": 0.5, "classes": None}))
        prediction.save(again)
        if Prediction.load(again) is None:
            raise WrongResultError("what was written can't be read again")

    return read


def prepare_config(folder: Path) -> Read:
    """Reads the configuration of a model and of its processor, and processes a picture of 8x8 pixels."""
    import numpy as np

    from ifc_hf import IfcImageProcessor
    from ifc_hf.loading import load_config, named

    frames = np.zeros((1, 8, 8, 3), np.uint8)

    def read(data: bytes) -> None:
        content = json.loads(data)
        for name in ("config", "preprocessor_config"):
            (folder / f"{name}.json").write_text(json.dumps(content.get(name)))
        load_config(folder)
        processor = named(folder, "its processor can't be used", lambda: IfcImageProcessor.from_pretrained(folder))
        processor(frames, return_tensors="pt")

    return _of_json_object(read)


def prepare_pickle(folder: Path) -> Read:
    """Reads a checkpoint of other authors."""
    from ifc_hf.conversion.checkpoint_files import read_checkpoint

    path = folder / "model.pth"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_checkpoint(path)

    return read


def prepare_video(folder: Path) -> Read:
    """Decodes a video or a picture; the first byte of the input chooses the suffix."""
    import itertools
    import logging

    from ifc_hf.model.video_files import read_timed_frames

    logging.disable()

    def read(data: bytes) -> None:
        path = folder / f"v{seeds.VIDEO_SUFFIXES[(data[:1] or bytes(1))[0] % len(seeds.VIDEO_SUFFIXES)]}"
        path.write_bytes(data[1:])
        try:
            reading = read_timed_frames(path)
            times = [time for time, frame in itertools.islice(reading, 8)]
            reading.close()
        finally:
            path.unlink()
        if times != sorted(set(times)):
            raise WrongResultError(f"times don't rise: {times}")

    return read


DATA_SET_ERROR = ("ifc_hf.data.problems.DataSetError",)
SEGMENTATION_ERROR = ("ifc_hf.model.rle.SegmentationError",)

READERS = {
    "rle": Reader(prepare_rle, SEGMENTATION_ERROR, seeds.rle_seeds, (mutate_json,), 250_000),
    "polygon": Reader(prepare_polygon, SEGMENTATION_ERROR, seeds.polygon_seeds, (mutate_json,), 150_000),
    "ytvis": Reader(prepare_ytvis, DATA_SET_ERROR, seeds.ytvis_seeds, (mutate_json,), 90_000),
    "coco": Reader(prepare_coco, DATA_SET_ERROR, seeds.coco_seeds, (mutate_json,), 90_000),
    "coco-video": Reader(prepare_coco_video, DATA_SET_ERROR, seeds.coco_video_seeds, (mutate_json,), 60_000),
    "cvat": Reader(prepare_cvat, DATA_SET_ERROR, seeds.cvat_seeds, (mutate_xml,), 50_000),
    "labelme": Reader(prepare_labelme, DATA_SET_ERROR, seeds.labelme_seeds, (mutate_json,), 60_000),
    "label-studio": Reader(prepare_label_studio, DATA_SET_ERROR, seeds.label_studio_seeds, (mutate_json,), 60_000),
    "mots": Reader(prepare_mots, DATA_SET_ERROR, seeds.mots_seeds, (mutate_png, mutate_bytes), 30_000),
    "results": Reader(prepare_results, ("builtins.ValueError",), seeds.results_seeds, (mutate_json,), 50_000),
    "tracks": Reader(prepare_tracks, (), seeds.tracks_seeds, (mutate_json,), 60_000),
    "config": Reader(
        prepare_config,
        ("builtins.ValueError",),
        seeds.config_seeds,
        (mutate_json,),
        10_000,
        passed_on=("builtins.OSError",),
    ),
    "pickle": Reader(
        prepare_pickle,
        ("ifc_hf.conversion.checkpoint_files.CheckpointError",),
        seeds.pickle_seeds,
        (mutate_zip, mutate_bytes),
        30_000,
    ),
    "video": Reader(
        prepare_video, ("ifc_hf.model.reading.VideoError",), seeds.video_seeds, (mutate_png, mutate_bytes), 10_000
    ),
}

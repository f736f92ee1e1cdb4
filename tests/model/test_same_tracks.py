"""One video, one checkpoint, five ways: all of them give the same tracks."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline

from hub_clients import run
from ifc_hf import IfcVideoSegmenter, default_checkpoint
from ifc_hf.cli.main import main
from ifc_hf.export import export_model
from ifc_hf.loading import load_checkpoint
from ifc_hf.model.masks import decode_rle
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.samples import sample_clip
from paths import SCRIPTS

Tracks = list[dict[str, Any]]
THRESHOLD = 0.1
NUM_FRAMES = 12
ONNX_EXAMPLE = SCRIPTS / "segment_with_onnxruntime.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with VideoWriter(path, fps=25) as writer:
        for frame in islice(read_frames(sample_clip()), NUM_FRAMES):
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def expected(video) -> Tracks:
    """Of the Python API."""
    model, processor = load_checkpoint(str(default_checkpoint()))
    tracks = IfcVideoSegmenter(model, processor, score_threshold=THRESHOLD, multi_label=False)(read_frames(video))
    assert tracks and sum(rle is not None for rle in tracks[0]["segmentations"]) == NUM_FRAMES
    return tracks


def with_pipeline(video: Path, folder: Path) -> Tracks:
    return pipeline("video-instance-segmentation", model=str(default_checkpoint()))(str(video), threshold=THRESHOLD)


def without_the_package(video: Path, folder: Path) -> Tracks:
    model, processor = load_checkpoint(str(default_checkpoint()))
    model.save_pretrained(folder / "saved")
    processor.save_pretrained(folder / "saved")
    program = (
        "import json; from transformers import pipeline\n"
        f"pipe = pipeline('video-instance-segmentation', model={str(folder / 'saved')!r}, trust_remote_code=True)\n"
        f"print(json.dumps(pipe({str(video)!r}, threshold={THRESHOLD})))"
    )
    return json.loads(run(program, folder / "cache").splitlines()[-1])


def with_command(video: Path, folder: Path) -> Tracks:
    arguments = ["predict", str(video), "-o", str(folder / "out"), "--threshold", str(THRESHOLD), "--save", "tracks"]
    assert main(arguments) == 0
    return json.loads((folder / "out" / "clip" / "tracks.json").read_text())["tracks"]


def with_onnxruntime(video: Path, folder: Path) -> Tracks:
    if importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is in the extra `export`")
    export_model(str(default_checkpoint()), folder / "onnx", "onnx")
    output = folder / "tracks.json"
    command = [sys.executable, str(ONNX_EXAMPLE), video, folder / "onnx", "-o", output, "--threshold", str(THRESHOLD)]
    subprocess.run([*map(str, command)], check=True)
    return json.loads(output.read_text())["tracks"]


@pytest.mark.parametrize("way", [with_pipeline, without_the_package, with_command, with_onnxruntime])
def test_tracks_are_the_same(way: Callable[[Path, Path], Tracks], video, expected, tmp_path):
    found = way(video, tmp_path)
    assert [(track["track_id"], track["label"]) for track in found] == [
        (track["track_id"], track["label"]) for track in expected
    ]
    for track, other in zip(found, expected, strict=True):
        assert track["score"] == pytest.approx(other["score"], abs=1e-3)
        for rle, other_rle in zip(track["segmentations"], other["segmentations"], strict=True):
            assert (rle is None) == (other_rle is None)
            if rle is not None:
                mask, other_mask = decode_rle(rle), decode_rle(other_rle)
                assert np.sum(mask & other_mask) > 0.999 * np.sum(mask | other_mask)

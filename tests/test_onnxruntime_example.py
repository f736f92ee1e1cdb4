"""The example that needs neither torch nor this package gives the tracks of the Python API."""

import importlib.util
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from exported_models import tiny_checkpoint, tiny_onnx_folder
from ifc_hf import IfcVideoSegmenter
from ifc_hf.loading import load_checkpoint
from ifc_hf.model.masks import decode_rle
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.samples import sample_clip
from paths import SCRIPTS

SCRIPT = SCRIPTS / "segment_with_onnxruntime.py"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is in the extra `export`"
)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with VideoWriter(path, fps=10) as writer:
        for frame in islice(read_frames(sample_clip()), 0, 40, 5):
            writer.write(frame[::2, ::2])
    return path


def run_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("window", [(3, 1), (3, 2), (2, 3), (12, 1)], ids="T={0[0]} S={0[1]}".format)
def test_tracks_are_those_of_the_python_api(window, video, tmp_path):
    num_frames, clip_stride = window
    segmenter = IfcVideoSegmenter(
        *load_checkpoint(tiny_checkpoint()), num_frames, clip_stride, score_threshold=0.1, multi_label=False
    )
    expected = segmenter(read_frames(video))
    result = run_script(
        video, tiny_onnx_folder(), "-o", tmp_path / "tracks.json",
        "--num-frames", num_frames, "--clip-stride", clip_stride, "--threshold", 0.1,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    tracks = json.loads((tmp_path / "tracks.json").read_text())["tracks"]
    assert len(tracks) == len(expected) > 0
    num_masks = 0
    for ours, theirs in zip(tracks, expected, strict=True):
        assert (ours["track_id"], ours["label"]) == (theirs["track_id"], theirs["label"])
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-5)
        for rle, other_rle in zip(ours["segmentations"], theirs["segmentations"], strict=True):
            assert (rle is None) == (other_rle is None)
            if rle is not None:
                mask, other_mask = decode_rle(rle), decode_rle(other_rle)
                assert np.sum(mask & other_mask) > 0.999 * np.sum(mask | other_mask)
                num_masks += 1
    assert num_masks > 0


def test_neither_torch_nor_transformers_nor_the_package_is_imported():
    program = f"import runpy, sys; runpy.run_path({str(SCRIPT)!r}); print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{name}'" in modules for name in ("torch", "transformers", "ifc_hf"))


@pytest.mark.parametrize("missing", ["video", "folder"])
def test_missing_input_is_said_in_one_line(missing, video, tmp_path):
    paths = [tmp_path / "none", tiny_onnx_folder()] if missing == "video" else [video, tmp_path / "none"]
    result = run_script(*paths, "-o", tmp_path / "tracks.json")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "none" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "tracks.json").exists()

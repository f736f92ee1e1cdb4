"""Folders that carry their own code: loading them with and without the package, and saving them again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModelForInstanceSegmentation, pipeline

from ifc_hf import IfcConfig, IfcImageProcessor
from ifc_hf.configuration_ifc import AUTO_MAP
from tiny_models import tiny_model

TASK = "video-instance-segmentation"
CODE_FILES = {
    "annotations_ifc.py", "configuration_efficientnet_lite.py", "configuration_ifc.py", "frames_ifc.py",
    "image_processing_ifc.py", "loss_ifc.py", "mask_utils_ifc.py", "modeling_efficientnet_lite.py", "modeling_ifc.py",
    "pipeline_ifc.py", "post_processing_ifc.py", "tracking_ifc.py", "video_inputs_ifc.py", "video_io.py",
    "video_segmenter_ifc.py",
}  # fmt: skip

# Stands for an environment without some packages, this one above all.
WITHOUT_PACKAGES = """
import sys
sys.modules.update(dict.fromkeys(MISSING))
"""

RUN_EVERYTHING = """
import json, numpy as np, torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForInstanceSegmentation, pipeline
trust = {"trust_remote_code": True}
config = AutoConfig.from_pretrained(FOLDER, **trust)
base = AutoModel.from_pretrained(FOLDER, **trust).eval()
model = AutoModelForInstanceSegmentation.from_pretrained(FOLDER, **trust).eval()
processor = AutoImageProcessor.from_pretrained(FOLDER, **trust)
video = np.load(FOLDER + "/video.npy")
with torch.no_grad():
    inputs = processor(video)
    masks = model(**inputs).masks_queries_logits
    memory = base(**inputs).memory_tokens
tracks = pipeline("video-instance-segmentation", model=FOLDER, **trust)(video, threshold=0.1, num_frames=3)
torch.save({"masks": masks, "memory": memory, "tracks": json.dumps(tracks)}, FOLDER + "/outputs.pt")
print([type(thing).__module__.partition(".")[0] for thing in (config, base, model, processor)])
"""

FROM_THE_FOLDER = "['transformers_modules', 'transformers_modules', 'transformers_modules', 'transformers_modules']\n"


def run(program: str, cache: Path, missing: tuple[str, ...] = ("ifc_hf",), **environment: str) -> str:
    """Runs a program where some packages are missing, with a cache of its own, and returns what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", f"MISSING = {missing}\n{WITHOUT_PACKAGES}\n{program}"],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (6, 40, 56, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, video: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "ifc.tiny"  # a dot in the name has to be harmless
    tiny_model(id2label={0: "cat", 1: "dog", 2: "bird"}).save_pretrained(folder)
    IfcImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(folder)
    np.save(folder / "video.npy", video)
    return folder


def code_files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix == ".py"}


def check_outputs(folder: Path, video: np.ndarray) -> None:
    """The outputs that `RUN_EVERYTHING` left are those of the package."""
    found = torch.load(folder / "outputs.pt")
    model = AutoModelForInstanceSegmentation.from_pretrained(folder).eval()
    with torch.no_grad():
        outputs = model(**AutoImageProcessor.from_pretrained(folder)(video))
    torch.testing.assert_close(found["masks"], outputs.masks_queries_logits)
    torch.testing.assert_close(found["memory"], outputs.memory_tokens)
    tracks = pipeline(TASK, model=str(folder))(video, threshold=0.1, num_frames=3)
    found_tracks = json.loads(found["tracks"])
    assert len(tracks) > 0
    assert [track["segmentations"] for track in found_tracks] == [track["segmentations"] for track in tracks]
    assert [(track["label"], pytest.approx(track["score"])) for track in found_tracks] == [
        (track["label"], track["score"]) for track in tracks
    ]


def test_saving_a_model_copies_all_code(folder):
    assert code_files(folder) == CODE_FILES
    config = json.loads((folder / "config.json").read_text())
    assert config["auto_map"] == AUTO_MAP
    assert config["custom_pipelines"][TASK]["impl"] == "pipeline_ifc.VideoInstanceSegmentationPipeline"


def test_without_the_package(folder, video, tmp_path):
    assert run(f"FOLDER = {str(folder)!r}\n{RUN_EVERYTHING}", tmp_path) == FROM_THE_FOLDER
    check_outputs(folder, video)


def test_code_loads_without_optional_libraries(folder, tmp_path):
    program = f"""
from transformers import AutoImageProcessor, AutoModelForInstanceSegmentation
model = AutoModelForInstanceSegmentation.from_pretrained({str(folder)!r}, trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained({str(folder)!r}, trust_remote_code=True)
print(tuple(model(**processor([__import__("PIL.Image").Image.new("RGB", (56, 40))])).masks_queries_logits.shape))
"""
    missing = ("ifc_hf", "av", "scipy", "pycocotools", "wrapt", "torchvision")
    assert run(program, tmp_path, missing) == "(1, 7, 1, 4, 6)\n"


@pytest.mark.slow
def test_saving_again_without_the_package(folder, video, tmp_path):
    by_pipeline, by_parts = tmp_path / "by_pipeline", tmp_path / "by_parts"
    for again in (by_pipeline, by_parts):
        again.mkdir()
        np.save(again / "video.npy", video)
    program = f"""
from transformers import AutoModelForInstanceSegmentation, AutoImageProcessor, pipeline
trust = {{"trust_remote_code": True}}
pipeline("{TASK}", model={str(folder)!r}, **trust).save_pretrained({str(by_pipeline)!r})
AutoModelForInstanceSegmentation.from_pretrained({str(folder)!r}, **trust).save_pretrained({str(by_parts)!r})
AutoImageProcessor.from_pretrained({str(folder)!r}, **trust).save_pretrained({str(by_parts)!r})
for FOLDER in ({str(by_pipeline)!r}, {str(by_parts)!r}):
    exec({RUN_EVERYTHING!r})
"""
    assert run(program, tmp_path / "cache") == 2 * FROM_THE_FOLDER
    for again in (by_pipeline, by_parts):
        assert code_files(again) == CODE_FILES
        check_outputs(again, video)


def test_with_the_package_no_trust_is_needed(folder):
    pipe = pipeline(TASK, model=str(folder))
    for thing in (pipe, pipe.model, pipe.model.config, pipe.image_processor, AutoConfig.from_pretrained(folder)):
        assert type(thing).__module__.startswith("ifc_hf.")


def test_trusting_needlessly_still_uses_the_package(folder):
    model = AutoModelForInstanceSegmentation.from_pretrained(folder, trust_remote_code=True)
    assert type(model).__module__ == "ifc_hf.modeling_ifc"


def test_saved_pipeline_loads_with_the_package(folder, tmp_path):
    pipeline(TASK, model=str(folder)).save_pretrained(tmp_path)
    assert code_files(tmp_path) == CODE_FILES
    assert type(pipeline(TASK, model=str(tmp_path))).__module__ == "ifc_hf.pipeline_ifc"


def test_saving_leaves_the_configuration_as_it_was(tmp_path):
    config = IfcConfig(num_labels=3)
    before = config.to_dict()
    config.save_pretrained(tmp_path)
    assert config.to_dict() == before
    assert IfcConfig.from_pretrained(tmp_path).to_dict() == before


def test_untrusted_code_is_refused(folder, tmp_path):
    program = f"""
from transformers import pipeline
try:
    pipeline("{TASK}", model={str(folder)!r}, trust_remote_code=False)
except ValueError as error:
    print("trust_remote_code=True" in str(error))
"""
    assert run(program, tmp_path) == "True\n"

"""Programs that load a model folder in fresh processes, with and without the package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForInstanceSegmentation, pipeline

import ifc_hf.model

TASK = "video-instance-segmentation"


# The folder is the list of what travels.
CODE_FILES = {path.name for path in Path(ifc_hf.model.__file__).parent.glob("[a-z]*.py")}


# Stands for an environment without some packages, this one above all.
WITHOUT_PACKAGES = """
import sys
sys.modules.update(dict.fromkeys(MISSING))
"""


RUN_EVERYTHING = """
import json, numpy as np, torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForInstanceSegmentation, pipeline
from transformers import AutoModelForUniversalSegmentation
trust = {"trust_remote_code": True}
config = AutoConfig.from_pretrained(FOLDER, **trust)
base = AutoModel.from_pretrained(FOLDER, **trust).eval()
model = AutoModelForInstanceSegmentation.from_pretrained(FOLDER, **trust).eval()
universal = AutoModelForUniversalSegmentation.from_pretrained(FOLDER, **trust).eval()
processor = AutoImageProcessor.from_pretrained(FOLDER, **trust)
video = np.load(FOLDER + "/video.npy")
with torch.no_grad():
    inputs = processor(video)
    masks = model(**inputs).masks_queries_logits
    memory = base(**inputs).memory_tokens
    assert torch.equal(universal(**inputs).masks_queries_logits, masks) and type(universal) is type(model)
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
        env={**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", **environment},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


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

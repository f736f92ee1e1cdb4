"""Folders that carry their own code: loading them with and without the package, and saving them again."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoConfig, AutoModelForInstanceSegmentation, pipeline

from hub_clients import CODE_FILES, FROM_THE_FOLDER, RUN_EVERYTHING, TASK, check_outputs, run
from ifc_hf import IfcConfig, IfcImageProcessor
from ifc_hf.model.configuration_ifc import AUTO_MAP
from tiny_models import tiny_model


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


def test_the_task_of_a_folder_is_found_without_the_package(folder, tmp_path):
    program = f"""
from transformers import pipeline
print(pipeline(model={str(folder)!r}, trust_remote_code=True).task)
"""
    assert run(program, tmp_path) == f"{TASK}\n"


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


@pytest.mark.parametrize("trust", [None, True], ids=["no trust", "needless trust"])
def test_the_task_of_a_folder_is_found(folder, trust):
    pipe = pipeline(model=str(folder), trust_remote_code=trust)
    assert type(pipe).__module__ == "ifc_hf.model.pipeline_ifc"
    assert "custom_pipelines" not in pipe.model.config.to_dict()


def test_trusting_needlessly_still_uses_the_package(folder):
    model = AutoModelForInstanceSegmentation.from_pretrained(folder, trust_remote_code=True)
    assert type(model).__module__ == "ifc_hf.model.modeling_ifc"


def test_saved_pipeline_loads_with_the_package(folder, tmp_path):
    pipeline(TASK, model=str(folder)).save_pretrained(tmp_path)
    assert code_files(tmp_path) == CODE_FILES
    assert type(pipeline(TASK, model=str(tmp_path))).__module__ == "ifc_hf.model.pipeline_ifc"


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

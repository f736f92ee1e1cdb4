"""What `import ifc_hf` brings, and what it leaves alone; each in a fresh process, because imports are for good."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ifc_hf

HEAVY_MODULES = [
    "accelerate",
    "av",
    "datasets",
    "evaluate",
    "matplotlib",
    "pandas",
    "pyarrow",
    "pycocotools",
    "scipy",
    "transformers.modeling_utils",
    "transformers.pipelines",
    "transformers.trainer",
]

SAVE_TINY_MODEL = """
from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation, IfcImageProcessor
config = IfcConfig(
    backbone_config={"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1],
                     "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"]},
    hidden_size=32, encoder_layers=1, decoder_layers=1, intermediate_size=32, num_queries=2, num_memory_tokens=2,
)
IfcForVideoInstanceSegmentation(config).save_pretrained(FOLDER)
IfcImageProcessor().save_pretrained(FOLDER)
"""

LOAD_BY_AUTO_CLASSES = """
names = [type(auto_class.from_pretrained(FOLDER)).__name__
         for auto_class in (AutoConfig, AutoModel, AutoModelForInstanceSegmentation, AutoModelForUniversalSegmentation,
                            AutoImageProcessor)]
assert names == [
    "IfcConfig", "IfcModel", "IfcForVideoInstanceSegmentation", "IfcForVideoInstanceSegmentation", "IfcImageProcessor"
], names
for backend in ("pil", "torchvision"):
    assert type(AutoImageProcessor.from_pretrained(FOLDER, backend=backend)).__name__ == "IfcImageProcessor"
"""

AUTO_CLASSES = """
from transformers import AutoConfig, AutoImageProcessor, AutoModel
from transformers import AutoModelForInstanceSegmentation, AutoModelForUniversalSegmentation
"""


def run(program: str) -> str:
    """Runs a program in a fresh interpreter and returns what it prints."""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    run(f"FOLDER = {str(folder)!r}\n{SAVE_TINY_MODEL}")
    return f"FOLDER = {str(folder)!r}\n"


def test_import_leaves_heavy_modules_alone():
    loaded = run(
        "import torch, transformers, sys; before = set(sys.modules); import ifc_hf; print(set(sys.modules) - before)"
    )
    new_modules = ast.literal_eval(loaded)
    assert "ifc_hf" in new_modules
    assert not new_modules.intersection(HEAVY_MODULES)


@pytest.mark.parametrize("name", ifc_hf.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ifc_hf, name).__name__ == name
    assert name in dir(ifc_hf)


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'ifc_hf' has no attribute 'IfcNothing'"):
        _ = ifc_hf.IfcNothing


def test_auto_classes_imported_after_the_package(saved_model):
    run(f"import ifc_hf\n{AUTO_CLASSES}{saved_model}{LOAD_BY_AUTO_CLASSES}")


def test_auto_classes_imported_before_the_package(saved_model):
    run(f"{AUTO_CLASSES}AutoModel, AutoImageProcessor\nimport ifc_hf\n{saved_model}{LOAD_BY_AUTO_CLASSES}")


@pytest.mark.parametrize("name", ["IfcForVideoInstanceSegmentation", "IfcImageProcessor", "IfcConfig"])
def test_auto_classes_imported_after_one_of_ours(saved_model, name):
    run(f"from ifc_hf import {name}\n{AUTO_CLASSES}{saved_model}{LOAD_BY_AUTO_CLASSES}")


def test_type_checkers_see_every_public_name():
    tree = ast.parse(Path(ifc_hf.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(ifc_hf.MODULE_OF) == set(ifc_hf.__all__)

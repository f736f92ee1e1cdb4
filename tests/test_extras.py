"""Whatever lacks a library says which extra to install: for every library of every extra that the package uses."""

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paths import ROOT

FOR_DEVELOPERS = {"browser", "dev", "fuzz", "notebook", "test"}
MODULE_OF = {"opencv-python-headless": "cv2"}  # where a distribution's module has another name
DRAW = "from ifc_hf.outputs.drawing import DrawingStyle, TrackDrawer; TrackDrawer(DrawingStyle())"
TIMELINE = "from ifc_hf.outputs.timeline import require_matplotlib; require_matplotlib()"
PRECISION = "from ifc_hf.scoring.track_pictures import plot_precision_recall; plot_precision_recall({}, 'curve.png')"
COMMAND = "from ifc_hf.cli.main import main; main({})"
TRAIN = "['train', '--recipe', 'cpu_small', '--data', '.', '--output', 'out']"
EVALUATE = "['evaluate', '--model', '.', '--data', '.', '--output', 'out']"
EXPORT = "from ifc_hf.export import export_model; export_model('model', 'out')"
ENGINE = "from ifc_hf.model.engine_exported import {0}; {0}(None, None)"
GRAPH = "from ifc_hf.model.engine_exported import onnx_bytes; onnx_bytes(None, {{}}, {{}}, [], '{0}')"
HTTP = f"import runpy; runpy.run_path({str(ROOT / 'scripts' / 'serve_http.py')!r}, run_name='service')"
USES = {
    ("draw", "matplotlib"): [TIMELINE, PRECISION],
    ("draw", "cv2"): [DRAW],
    ("draw", "supervision"): [DRAW],
    ("train", "accelerate"): [
        "from ifc_hf import IfcTrainer", "from ifc_hf import IfcTrainingArguments",
        COMMAND.format(TRAIN), COMMAND.format(EVALUATE),
    ],
    ("train", "datasets"): [
        "from ifc_hf import load_ytvis", "from ifc_hf import load_coco",
        COMMAND.format(TRAIN), COMMAND.format(EVALUATE),
    ],
    ("eval", "evaluate"): ["from ifc_hf import YtvisMap", "from ifc_hf.evaluation import YtvisMap"],
    ("hota", "trackeval"): ["from ifc_hf.evaluation import evaluate_hota; evaluate_hota({}, [])"],
    ("openvino", "openvino"): [ENGINE.format("OpenVinoEngine")],
    ("openvino", "onnx"): [GRAPH.format("openvino")],
    ("openvino", "onnxscript"): [GRAPH.format("openvino")],
    ("export", "onnxruntime"): [EXPORT, ENGINE.format("OnnxRuntimeEngine")],
    ("export", "onnx"): [EXPORT, GRAPH.format("export")],
    ("export", "onnxscript"): [EXPORT, GRAPH.format("export")],
    ("app", "gradio"): [COMMAND.format("['app']")],
    ("serve", "fastapi"): [HTTP],
    ("serve", "uvicorn"): [HTTP],
}  # fmt: skip
# One process imports what the cases share and forks for each library: a new one for each would import PyTorch again.
RUNNER = """
import contextlib, io, json, os, sys
import torch, ifc_hf.cli.main, ifc_hf.export, ifc_hf.model.engine_exported

for module, codes in json.loads(sys.argv[1]).items():
    if os.fork() == 0:
        sys.modules[module] = None
        messages = {}
        for code in codes:
            with contextlib.redirect_stderr(io.StringIO()) as output:
                try:
                    exec(code)
                except ImportError as error:
                    print(error, file=sys.stderr)
            messages[code] = output.getvalue()
        with open(f"{module}.json", "w") as file:
            json.dump(messages, file)
        os._exit(0)
    os.wait()
"""


def uses() -> list[tuple[str, str, str]]:
    return [(extra, module, code) for (extra, module), codes in USES.items() for code in codes]


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """What is said, by module and code."""
    folder = tmp_path_factory.mktemp("extras")
    codes = {module: sorted({code for _, name, code in uses() if name == module}) for _, module, _ in uses()}
    subprocess.run([sys.executable, "-c", RUNNER, json.dumps(codes)], cwd=folder, check=True, capture_output=True)
    said = {module: json.loads(Path(folder, f"{module}.json").read_text()) for module in codes}
    return {(module, code): said[module][code] for module in codes for code in codes[module]}


@pytest.mark.parametrize(("extra", "module", "code"), uses())
def test_a_missing_library_is_named_with_its_extra(messages, extra, module, code):
    message = messages[module, code]
    assert f'pip install "ifc_hf[{extra}]"' in message
    assert len(message.strip().splitlines()) == 1


def test_every_library_of_every_extra_has_a_case():
    settings = configparser.ConfigParser()  # fills in what an extra takes over from another
    settings.read(ROOT / "setup.cfg")
    extras = settings["options.extras_require"]
    needed = {
        (extra, re.match(r"[\w-]+", line)[0])
        for extra in set(extras) - FOR_DEVELOPERS
        for line in extras[extra].splitlines()
        if re.match(r"\w", line) and (extra == "draw" or line not in extras["draw"])  # app brings all of draw
    }
    assert {(extra, MODULE_OF.get(name, name)) for extra, name in needed} == set(USES)

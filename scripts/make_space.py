"""Writes a folder that is ready to be pushed as a Gradio Space: the demo, the package and what it needs.

    python scripts/make_space.py OUT [--model FOLDER_OR_HUB_ID] [--title TITLE]
    hf upload USER/NAME OUT . --repo-type space

A Space installs `requirements.txt` before it has any other file, so the package travels as source beside `app.py`.
"""

import argparse
import shutil
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

from ifc_hf.files import whole_folder

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ifc_hf"

README = """---
title: {title}
emoji: 🐇
colorFrom: yellow
colorTo: blue
sdk: gradio
sdk_version: {gradio}
python_version: "3.11"
app_file: app.py
license: apache-2.0
short_description: Objects of a video, outlined and followed
tags:
- video-instance-segmentation
- ifc
---

The demo of `ifc_hf`: upload a video, see its objects outlined and followed, click one to see it alone.
"""

APP = """from ifc_hf.app import launch

launch({model})
"""


def main() -> None:
    """Reads the arguments and writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to write; must be absent or empty")
    parser.add_argument("--model", help="folder, which is copied, or Hub id; default: the shipped checkpoint")
    parser.add_argument("--title", default="Video instance segmentation with IFC")
    args = parser.parse_args()
    try:
        with whole_folder(args.output, must_be_new=True) as folder:
            write_space(folder, args.model, args.title)
    except FileExistsError as error:
        parser.error(str(error))
    print(args.output)


def write_space(folder: Path, model: str | None, title: str) -> None:
    """Writes all files of the Space."""
    shutil.copytree(PACKAGE, folder / "ifc_hf", ignore=shutil.ignore_patterns("__pycache__"))
    argument = ""
    if model is not None:
        is_folder = Path(model).is_dir()
        if is_folder:
            shutil.copytree(model, folder / "model")
        argument = repr("model" if is_folder else model)
    (folder / "app.py").write_text(APP.format(model=argument), encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join(requirements()) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(README.format(title=title, gradio=version("gradio")), encoding="utf-8")


def requirements() -> list[str]:
    """What the package and its drawing need, as setup.cfg says it; Gradio comes with the Space."""
    options = ConfigParser()
    options.read(ROOT / "setup.cfg")
    texts = options["options"]["install_requires"], options["options.extras_require"]["draw"]
    return sorted(line for text in texts for line in text.splitlines() if line)


if __name__ == "__main__":
    main()

"""The commands that faults are injected into, and what counts as their result."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av

SCRIPTS = Path(__file__).parents[1]
OUTPUT = "output"


@dataclass(frozen=True)
class Command:
    """A command that writes to the folder `output` of the current folder.

    Attributes:
        name: Of its row in the report.
        arguments: After the program; `{inputs}` stands for the folder of the inputs.
        program: "ifc-hf", or a script.
        copies: Inputs that it may change, which are copied into the current folder first.
        result: Names that have to be the same after a restart, a pattern; by default all.
        refuses_result: Whether it refuses to replace a whole result.
    """

    name: str
    arguments: tuple[str, ...]
    program: str = "ifc-hf"
    copies: tuple[str, ...] = ()
    result: str = ".*"
    refuses_result: bool = False

    def prepare(self, place: Path, inputs: Path) -> None:
        """Lays the folder out in which the command runs."""
        for name in ("temporary", "cache"):
            (place / name).mkdir(parents=True, exist_ok=True)
        for name in self.copies:
            shutil.copytree(inputs / name, place / name)

    def filled(self, inputs: Path) -> list[str]:
        """The arguments for these inputs."""
        return [argument.format(inputs=inputs) for argument in self.arguments]

    def line(self, inputs: Path) -> list[str]:
        """The command line that starts it as its users do."""
        if self.program == "ifc-hf":
            return [str(Path(sys.executable).with_name("ifc-hf")), *self.filled(inputs)]
        if self.program == "make_clips":
            start = f"import sys; sys.path[:0] = [{str(SCRIPTS)!r}]; from fault_injection.commands import make_clips; "
            return [sys.executable, "-c", f"{start}sys.exit(make_clips(sys.argv[1:]))", *self.filled(inputs)]
        return [sys.executable, str(SCRIPTS / f"{self.program}.py"), *self.filled(inputs)]

    def call(self) -> Callable[[list[str]], int]:
        """The function that the program calls with its arguments."""
        if self.program == "make_clips":
            return make_clips
        from ifc_hf.cli.main import main

        return (lambda arguments: main(["convert", *arguments])) if self.program == "convert_original" else main


def make_clips(arguments: list[str]) -> int:
    """`scripts/make_clips.py` with pictures that needn't be fetched."""
    import make_clips

    from .inputs import ShapeLibrary

    make_clips.AssetLibrary = ShapeLibrary
    return make_clips.main(arguments)


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "predict",
            ("predict", "{inputs}/videos", "-o", OUTPUT, "--model", "{inputs}/model", "--threshold", "0.05",
             "--save", "tracks,video,gif,sheet,masks,cutouts,timeline,results"),
        ),
        Command(
            "train",
            ("train", "--recipe", "{inputs}/recipe.json", "--data", "{inputs}/data", "--output", OUTPUT, "--resume",
             "--cache-dir", "cache"),
            result=r"(config|preprocessor_config)\.json|model\.safetensors|README\.md|training\.png",
        ),
        Command(
            "evaluate",
            ("evaluate", "--model", "model", "--data", "{inputs}/data", "--output", OUTPUT, "--cache-dir", "cache",
             "--worst", "2"),
            copies=("model",),
        ),
        Command("dataset convert", ("dataset", "convert", "{inputs}/export.zip", OUTPUT, "--from", "cvat")),
        Command(
            "convert_original",
            ("{inputs}/original.pth", OUTPUT, "--dataset", "ytvis_2019"),
            program="convert_original",
            refuses_result=True,
        ),
        Command(
            "export",
            ("export", "{inputs}/model", "-o", OUTPUT, "--format", "torch-export", "--size", "32x48", "--num-frames",
             "2"),
            refuses_result=True,
        ),
        Command(
            "make_clips",
            ("generate", OUTPUT, "--assets", "none", "--clips", "6", "--frames", "3", "--size", "48x64", "--workers",
             "2"),
            program="make_clips",
        ),
    )
}  # fmt: skip


def result_of(command: Command, place: Path) -> dict[str, str]:
    """SHA-256 of every file of the result, by its name; of archives, that of what they hold."""
    pattern = re.compile(command.result)
    roots = [place / OUTPUT, *(place / name for name in command.copies)]
    files = sorted(path for root in roots for path in root.rglob("*") if path.is_file())
    named = {str(path.relative_to(place)): path for path in files}
    return {name: digest(path) for name, path in named.items() if pattern.fullmatch(name.partition("/")[2])}


def digest(path: Path) -> str:
    """SHA-256 of a file; of a zip archive, of what it holds, and of a video, of the times of its frames.

    From the same drawn frames, the H.264 encoder makes one of a few streams. The GIF shows the frames, exactly.
    """
    content = hashlib.sha256()
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                content.update(f"{frame.height}x{frame.width} {frame.time}\n".encode())
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                content.update(name.encode() + b"\0" + archive.read(name))
    else:
        content.update(path.read_bytes())
    return content.hexdigest()

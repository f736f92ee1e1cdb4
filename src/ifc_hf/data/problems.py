"""How bad annotations are named: one problem, where it is, and the error that carries them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import FileError, read_json


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a data set.

    Attributes:
        kind: Short name to count by, e.g. "missing frame".
        message: What was expected and what came.
        file: The annotation file or folder.
        video: Video (or image) id, with its name where known.
        annotation_id: Annotation id.
        frame: Frame index within the video.
        fatal: Training can't use it. Otherwise it is reported by `ifc-hf dataset check` and loads all the same.
    """

    kind: str
    message: str
    file: str
    video: str | None = None
    annotation_id: object = None
    frame: int | None = None
    fatal: bool = True

    def __str__(self) -> str:
        """`train.json, video 3 (a/b), annotation 17, frame 4: ...`."""
        where = [self.file]
        where += [self.video] if self.video is not None else []
        where += [f"annotation {self.annotation_id}"] if self.annotation_id is not None else []
        where += [f"frame {self.frame}"] if self.frame is not None else []
        return f"{', '.join(where)}: {self.message}"


class DataSetError(ValueError):
    """A data set that can't be used; the message names file, video and annotation of the first problem.

    Attributes:
        problems: All that were found.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        more = f" (and {len(self.problems) - 1} more problems; `ifc-hf dataset check` lists all)"
        super().__init__(str(self.problems[0]) + (more if len(self.problems) > 1 else ""))


def raise_if_fatal(problems: Sequence[Problem]) -> None:
    """Raises a `DataSetError` if any problem is fatal."""
    fatal = [problem for problem in problems if problem.fatal]
    if fatal:
        raise DataSetError(fatal)


def read_data_file(path: Path) -> Any:
    """Content of a JSON file of a data set.

    Raises:
        DataSetError: If it is missing, or broken: with line and column.
    """
    try:
        return read_json(path)
    except FileError as error:
        kind = "broken JSON" if path.exists() else "missing JSON"
        raise DataSetError([Problem(kind, str(error).removeprefix(f"{path}: "), str(path))]) from error

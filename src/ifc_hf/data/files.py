"""Reading and writing the JSON files of data sets."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from .problems import DataSetError, Problem


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        DataSetError: If it is missing, or broken: with line and column.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError as error:
        raise DataSetError([Problem("missing JSON", "no such file", str(path))]) from error
    except UnicodeDecodeError as error:
        raise DataSetError([Problem("broken JSON", f"not UTF-8 text: {error}", str(path))]) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DataSetError([Problem("broken JSON", f"not valid JSON: {error.msg} at {where}", str(path))]) from error


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream)
        os.chmod(temporary, 0o644)  # mkstemp makes it private to the user
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        DataSetError: If the file is missing.
    """
    try:
        with open(path, "rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except FileNotFoundError as error:
        raise DataSetError([Problem("missing JSON", "no such file", str(path))]) from error

"""One process of the campaign: reads inputs of one reader, as many as it is told, and notes every finding."""

import hashlib
import importlib
import json
import mmap
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import atheris

from .readers import READERS, Read, Reader, WrongResultError

MOST_SECONDS = 5.0  # of the processor, for one input
MOST_BYTES = 2 * 2**30  # that one input may add to the memory of the process
MOST_LENGTH = 2**16  # bytes of an input
PACKAGE = os.sep + "ifc_hf" + os.sep


class Beacon:
    """What the process is doing, in a file that outlives it: how many inputs were begun, and the present one.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(16 + 2 * MOST_LENGTH))
        with open(path, "r+b") as stream:
            self.map = mmap.mmap(stream.fileno(), 0)
        self.count = 0

    def show(self, data: bytes) -> None:
        """Notes an input that is about to be read."""
        self.count += 1
        self.map[8 : 16 + len(data)] = len(data).to_bytes(8, "big") + data
        self.map[:8] = self.count.to_bytes(8, "big")

    @staticmethod
    def read(path: Path) -> tuple[int, bytes]:
        """Inputs begun, and the last one."""
        content = path.read_bytes()
        return int.from_bytes(content[:8], "big"), content[16 : 16 + int.from_bytes(content[8:16], "big")]


class Judge:
    """Reads inputs and keeps what counts as a finding.

    Args:
        name: The reader.
        read: Its function.
        findings: Folder that gets one pair of files for every kind of finding: the shortest input, and what came.
    """

    def __init__(self, name: str, read: Read, findings: Path) -> None:
        self.name = name
        self.read = read
        self.findings = findings
        self.declared = tuple(map(_class, READERS[name].declared))
        self.passed_on = tuple(map(_class, READERS[name].passed_on))
        self.peak = peak_bytes()

    def __call__(self, data: bytes) -> None:
        """Reads one input."""
        start = time.process_time()
        try:
            self.read(data)
        except Exception as error:
            if not self.is_declared(error):
                text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                note(self.findings, self.name, data, kind_of(error), text, place_of(error))
        except BaseException as error:  # a panic of a library in Rust
            note(self.findings, self.name, data, "crash", repr(error)[:300], place_of(error))
        seconds, peak = time.process_time() - start, peak_bytes()
        if seconds > MOST_SECONDS:
            note(self.findings, self.name, data, "hang", f"{seconds:.1f} s of processor time", self.name)
        if peak - self.peak > MOST_BYTES:
            note(self.findings, self.name, data, "memory", f"{(peak - self.peak) / 2**30:.1f} GiB", self.name)
            os._exit(0)  # the peak of a process never falls: the campaign starts another one
        if peak - self.peak > MOST_BYTES // 4:
            self.peak = reset_peak()

    def is_declared(self, error: Exception) -> bool:
        """Whether an error is of a class that the reader documents and was raised by the package itself."""
        if isinstance(error, self.passed_on):
            return True
        if not isinstance(error, self.declared):
            return False
        frames = traceback.extract_tb(error.__traceback__)
        return PACKAGE in frames[-1].filename


def _class(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def kind_of(error: Exception) -> str:
    """What a table of findings calls an error."""
    if isinstance(error, WrongResultError):
        return "wrong result"
    return "memory" if isinstance(error, MemoryError) else "error"


def place_of(error: BaseException) -> str:
    """The last line of the package that an error came through, to tell kinds of findings apart."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if PACKAGE in f.filename]
    last = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {last.filename.rpartition(PACKAGE)[2]}:{last.name}: {last.line}"


def peak_bytes() -> int:
    """The most memory that this process ever had, or since `reset_peak`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak() -> int:
    """Forgets the peak; returns the memory of now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def note(findings: Path, reader: str, data: bytes, kind: str, text: str, place: str) -> None:
    """Keeps a finding, unless a shorter input of its kind is there already."""
    key = hashlib.sha256(f"{reader} {kind} {place}".encode()).hexdigest()[:12]
    path = findings / f"{reader}-{key}.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"count": 0, "bytes": len(data) + 1}
    if len(data) < known["bytes"]:
        (findings / f"{reader}-{key}.input").write_bytes(data)
        known = {**known, "reader": reader, "kind": kind, "error": text, "place": place, "bytes": len(data)}
    known |= {"count": known["count"] + 1, "is_mended": False}
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(known, indent=1))
    temporary.replace(path)


def mutator(reader: Reader) -> Any:
    """Three of four changes keep the structure; the others are those of libFuzzer."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        generator = random.Random(seed)
        if generator.random() < 0.75:
            try:
                changed = generator.choice(reader.mutations)(generator, data)
            except Exception:  # an input without the structure
                changed = b""
            if 0 < len(changed) <= max_size:
                return changed
        return bytes(atheris.Mutate(data, max_size))

    return mutate


def fuzz(name: str, inputs: int, seed: int, findings: Path, corpus: Path, beacon: Path) -> None:
    """Reads inputs until there were enough, or one ends the process.

    Args:
        name: The reader.
        inputs: How many.
        seed: Of the changes.
        findings: See `Judge`.
        corpus: Folder of inputs that reached something new; it gets more of them.
        beacon: File of the `Beacon`.
    """
    reader = READERS[name]
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=beacon.parent))
    with atheris.instrument_imports(include=["ifc_hf"], enable_loader_override=False):
        read = reader.prepare(folder)
    judge, shown = Judge(name, read, findings), Beacon(beacon)
    if not any(corpus.iterdir()):
        for number, data in enumerate(reader.seeds()):
            (corpus / f"seed-{number}").write_bytes(data)
    # A reader that asks for more than it may fails, before the machine runs out of memory.
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * MOST_BYTES, used + 3 * MOST_BYTES))

    def test(data: bytes) -> None:
        shown.show(data)
        judge(data)

    options = [f"-runs={inputs}", f"-seed={seed}", f"-max_len={MOST_LENGTH}", "-verbosity=0", "-rss_limit_mb=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], test, custom_mutator=mutator(reader))
    atheris.Fuzz()

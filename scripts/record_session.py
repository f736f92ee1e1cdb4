"""Records the first commands of the README in a terminal: docs/session.cast (asciinema), session.svg and demo.jpg.

    python scripts/record_session.py docs

The cast has what was printed and when, with pauses shortened to a second; session.svg plays it line by line, faster;
demo.jpg has a frame of each drawn video.
"""

import argparse
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import tempfile
import termios
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

from ifc_hf.files import whole_file
from ifc_hf.model.video_files import read_frames
from ifc_hf.samples import sample_clip

COMMANDS = (
    "ifc-hf demo --clip generated",
    "ifc-hf predict my_clip.mp4 -o results",
    "ls results/my_clip",
)
DRAWN = ("ifc_hf_demo/generated/drawn.mp4", "results/my_clip/drawn.mp4")
SHOWN_FRAME = 20
COLUMNS, ROWS = 96, 40
LONGEST_PAUSE_SECONDS = 1.0  # in the cast
LONGEST_SECONDS = 12.0  # of the picture
FONT_SIZE, LINE_HEIGHT, LETTER_WIDTH, MARGIN = 13, 18, 7.85, 14
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours and moves of the cursor


@dataclass(frozen=True)
class Event:
    """What was printed at once, and when, in seconds from the start."""

    seconds: float
    text: str


def main() -> None:
    """Runs the commands and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for the three files")
    args = parser.parse_args()
    events: list[Event] = []
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(sample_clip("bunny"), Path(folder) / "my_clip.mp4")
        for command in COMMANDS:
            start = events[-1].seconds + LONGEST_PAUSE_SECONDS if events else 0.0
            events.append(Event(start, f"$ {command}\r\n"))
            events += [Event(start + event.seconds, event.text) for event in record(command, Path(folder))]
        with whole_file(args.output / "demo.jpg") as temporary:
            side_by_side([drawn_frame(Path(folder) / name) for name in DRAWN]).save(temporary, "JPEG", quality=80)
    events = without_pauses(events)
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "First commands of ifc_hf"}
    lines = [json.dumps(header), *(json.dumps([round(event.seconds, 2), "o", event.text]) for event in events)]
    for name, content in (("session.cast", "\n".join(lines) + "\n"), ("session.svg", as_svg(printed_lines(events)))):
        with whole_file(args.output / name) as temporary:
            temporary.write_text(content, encoding="utf-8")


def drawn_frame(video: Path) -> Image.Image:
    """One frame of a drawn video."""
    return Image.fromarray(next(islice(read_frames(video), SHOWN_FRAME, None)))


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of the same height, beside each other."""
    sheet = Image.new("RGB", (sum(picture.width for picture in pictures), pictures[0].height))
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width
    return sheet


def record(command: str, folder: Path) -> Iterator[Event]:
    """Runs a command in a terminal of its own and gives what it prints.

    Raises:
        CalledProcessError: If it fails.
    """
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "dumb", "COLUMNS": str(COLUMNS), "HF_HUB_OFFLINE": "1"}
    start = time.monotonic()
    with subprocess.Popen(
        command, shell=True, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer
    ) as process:
        os.close(writer)
        while text := read(reader):
            yield Event(time.monotonic() - start, text)
    os.close(reader)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def read(terminal: int) -> str:
    """What comes next; nothing at the end, which Linux tells as an error."""
    try:
        return os.read(terminal, 1 << 16).decode(errors="replace")
    except OSError:
        return ""


def without_pauses(events: Sequence[Event]) -> list[Event]:
    """The same, with no pause longer than a second."""
    kept, now, before = [], 0.0, 0.0
    for event in events:
        now += min(event.seconds - before, LONGEST_PAUSE_SECONDS)
        before = event.seconds
        kept.append(Event(now, event.text))
    return kept


def printed_lines(events: Sequence[Event]) -> list[Event]:
    """The lines as they stand at the end, long ones broken, each with the time at which its first letter came."""
    lines: list[Event] = []
    current, since = "", None
    for event in events:
        for piece in re.split(r"(\r?\n|\r)", CONTROL.sub("", event.text)):
            if piece in ("\n", "\r\n"):
                lines.append(Event(event.seconds if since is None else since, current))
                current, since = "", None
            elif piece == "\r":
                current = ""
            elif piece:
                current += piece
                since = event.seconds if since is None else since
    return [Event(line.seconds, part) for line in lines for part in textwrap.wrap(line.text.rstrip(), COLUMNS)]


def as_svg(lines: Sequence[Event]) -> str:
    """A picture in which the lines appear one after the other, within seconds; where nothing moves, all are there."""
    width, height = round(COLUMNS * LETTER_WIDTH + 2 * MARGIN), len(lines) * LINE_HEIGHT + 2 * MARGIN
    pace = min(1.0, LONGEST_SECONDS / lines[-1].seconds)
    rows = []
    for row, line in enumerate(lines):
        kind = "command" if line.text.startswith("$ ") else "output"
        place = f'x="{MARGIN}" y="{MARGIN + row * LINE_HEIGHT + FONT_SIZE}"'
        delay = f"animation-delay:{pace * line.seconds:.1f}s"
        rows.append(f'<text class="{kind}" {place} style="{delay}" xml:space="preserve">{escape(line.text)}</text>')
    style = (
        f"text{{font:{FONT_SIZE}px ui-monospace,Menlo,Consolas,monospace;animation:show 1ms backwards}}"
        ".command{fill:#7ee787}.output{fill:#e6edf3}@keyframes show{from{opacity:0}}"
        "@media(prefers-reduced-motion:reduce){text{animation:none}}"
    )
    frame = f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return "\n".join((head, f"<style>{style}</style>", frame, *rows, "</svg>", ""))


if __name__ == "__main__":
    main()

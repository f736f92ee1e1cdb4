"""Whether a video file is shorter than it says: copied or downloaded in part, or still being written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
MATROSKA_HEAD = b"\x1a\x45\xdf\xa3"
MAX_BOXES = 100_000  # of an MP4 in fragments; a file of more is taken for whole


def ends_early(file: Path | IO[bytes]) -> bool:
    """Whether the outermost elements of an MP4, Matroska, WebM or AVI file go on beyond its end.

    Other containers don't say how long they are. A file object that can't seek isn't looked at.
    """
    if isinstance(file, Path):
        with open(file, "rb") as stream:
            return ends_early(stream)
    try:
        position = file.tell()
        size = file.seek(0, os.SEEK_END)
        try:
            declared = declared_size(file, size)
        finally:
            file.seek(position)
    except (OSError, ValueError, AttributeError):  # a pipe, or an object of the user's own
        return False
    return declared > size


def declared_size(stream: IO[bytes], size: int) -> int:
    """Bytes that a file should have; 0 if it doesn't say."""
    stream.seek(0)
    head = stream.read(64)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        length = int.from_bytes(head[4:8], "little")
        return 8 + length if 0 < length < 2**32 - 1 else 0
    if head[:4] == MATROSKA_HEAD:
        return matroska_size(head)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return mp4_size(stream, size)
    return 0


def matroska_size(head: bytes) -> int:
    """Bytes up to the end of the first segment; 0 if its length isn't known, as in a live recording."""
    header_length, at = variable_length_integer(head, 4)
    at += header_length or 0
    if head[at : at + 4] != MATROSKA_SEGMENT:
        return 0
    length, at = variable_length_integer(head, at + 4)
    return 0 if length is None else at + length


def variable_length_integer(data: bytes, at: int) -> tuple[int | None, int]:
    """Value of an EBML length (None: unknown) and where the bytes after it begin."""
    num_bytes = 9 - data[at].bit_length() if at < len(data) else 9
    if num_bytes > 8 or at + num_bytes > len(data):
        return None, at
    value = int.from_bytes(data[at : at + num_bytes], "big") & ((1 << 7 * num_bytes) - 1)
    return (None if value == (1 << 7 * num_bytes) - 1 else value), at + num_bytes


def mp4_size(stream: IO[bytes], size: int) -> int:
    """Bytes up to the end of the last box that begins in the file."""
    at = 0
    for _ in range(MAX_BOXES):
        stream.seek(at)
        header = stream.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:16], "big")
        if len(header) < 8 or length < 8:  # the end, or a last box without a length
            break
        at += length
        if at >= size:
            break
    return at

"""Compares the reading of whole and damaged videos with the `ffmpeg` command; prints the table of docs/inference.md.

    python scripts/compare_with_ffmpeg.py > table.md

Makes videos of 30 frames with PyAV, damages them, and reads each with `read_timed_frames` and with the command, which
must be installed. Columns: frames that ffmpeg gives; frames, bad packets and `complete` here; mean difference of the
pixels in levels of 255 over the frames that both give (first to first).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from ifc_hf.model.video_files import VideoError, read_timed_frames

NUM_FRAMES, KEY_EVERY, HEIGHT, WIDTH = 30, 10, 48, 64
OPTIONS = {
    "libx265": {"x265-params": "log-level=none"},
    "libvpx": {"deadline": "realtime"},
    "libvpx-vp9": {"deadline": "realtime"},
    "libsvtav1": {"preset": "12"},
}
KINDS = (
    ("mp4", "libx264"),
    ("mov", "libx264"),
    ("mkv", "libx264"),
    ("ts", "libx264"),
    ("flv", "libx264"),
    ("mp4", "libx265"),
    ("mkv", "libx265"),
    ("webm", "libvpx"),
    ("webm", "libvpx-vp9"),
    ("mp4", "libsvtav1"),
    ("avi", "mpeg4"),
    ("mpg", "mpeg2video"),
    ("avi", "mjpeg"),
    ("mov", "prores_ks"),
)


def make_video(path: Path, codec: str) -> None:
    """Writes a video of noise that moves sideways."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    movflags = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=movflags) as container:
        stream = container.add_stream(codec, rate=25, options=OPTIONS.get(codec, {}))
        stream.height, stream.width = HEIGHT, WIDTH
        stream.pix_fmt = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}.get(codec, "yuv420p")
        stream.codec_context.gop_size = KEY_EVERY
        for index in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 3 * index, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def zeros_in(path: Path, packet_index: int) -> None:
    """Overwrites a packet with zeros, where it lies as it is in the file."""
    with av.open(str(path)) as container:
        packets = [(packet.pos, bytes(packet)) for packet in container.demux(video=0) if packet.size]
    position, content = packets[packet_index]
    data = bytearray(path.read_bytes())
    at = data.find(content, max(0, position or 0))
    if at < 0:  # divided into the packets of a transport stream: what follows its header
        at, content = (position or len(data) // 2) + 64, content[:400]
    data[at : at + len(content)] = bytes(len(content))
    path.write_bytes(data)


def noise_in_the_middle(path: Path) -> None:
    """Overwrites 400 bytes in the middle of the file, container or not."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = np.random.default_rng(0).integers(0, 256, 400, dtype=np.uint8).tobytes()
    path.write_bytes(data)


def cut(path: Path, kept: float) -> None:
    """Keeps the beginning of the file."""
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])


DEFECTS: dict[str, Callable[[Path], None]] = {
    "none": lambda path: None,
    "one packet is zeros": lambda path: zeros_in(path, 15),
    "first key frame is zeros": lambda path: zeros_in(path, 0),
    "last packet is zeros": lambda path: zeros_in(path, NUM_FRAMES - 1),
    "400 bytes of noise in the middle": noise_in_the_middle,
    "cut at 60 %": lambda path: cut(path, 0.6),
}


def frames_of_ffmpeg(path: Path) -> np.ndarray:
    """All frames that the `ffmpeg` command gives, (L, H, W, 3) uint8."""
    command = ["ffmpeg", "-v", "quiet", "-i", str(path), "-map", "0:V:0", "-vsync", "passthrough"]
    result = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True)
    return np.frombuffer(result.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)


def row(path: Path, codec: str, defect: str) -> str:
    """One row of the table."""
    expected = frames_of_ffmpeg(path)
    frames: list[np.ndarray] = []
    bad, complete = "", "refused"
    try:
        reading = read_timed_frames(path)
        frames = [frame for _, frame in reading]
        bad, complete = str(reading.bad_packets), "yes" if reading.complete else "no"
    except VideoError:
        pass
    both = min(len(frames), len(expected))
    difference = f"{np.abs(np.stack(frames[:both]).astype(int) - expected[:both]).mean():.2f}" if both else ""
    cells = (path.suffix[1:], codec, defect, len(expected), len(frames), bad, complete, difference)
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Prints the table."""
    print("| container | codec | defect | frames of ffmpeg | frames | bad packets | complete | difference |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in KINDS:
            for defect, apply in DEFECTS.items():
                path = Path(folder) / f"a.{suffix}"
                make_video(path, codec)
                apply(path)
                print(row(path, codec, defect))
                sys.stdout.flush()


if __name__ == "__main__":
    main()

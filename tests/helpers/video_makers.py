"""Videos made by PyAV, whole and damaged."""

from pathlib import Path
from typing import Any

import av
import numpy as np

OPTIONS = {
    "libx265": {"x265-params": "log-level=none"},
    "libvpx": {"deadline": "realtime"},
    "libvpx-vp9": {"deadline": "realtime"},
    "libsvtav1": {"preset": "12"},
}


def moving_frames(num_frames: int, size_hw: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Noise that moves sideways, so that every packet of a video has something to say."""
    noise = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    return [np.roll(noise, 3 * index, axis=1) for index in range(num_frames)]


def make_video(
    path: Path,
    codec: str = "libx264",
    num_frames: int = 30,
    key_every: int = 10,
    rate: int = 25,
    size_hw: tuple[int, int] = (48, 64),
    sound: str | None = None,
    movflags: str = "",
    **options: str,
) -> Path:
    """Writes a video of moving noise, with a tone of the same length if a codec of sound is named.

    `movflags` are those of FFmpeg's MP4, such as `faststart`, which puts the index at the front.
    """
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=OPTIONS.get(codec, {}) | options)
        stream.height, stream.width = size_hw
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = key_every
        tone: Any = container.add_stream(sound, rate=48_000, layout="mono") if sound else None
        for index, frame in enumerate(moving_frames(num_frames, size_hw)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            if tone:
                samples = np.full((1, 48_000 // rate), 1000, np.int16)
                block = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                block.sample_rate, block.pts = 48_000, index * samples.shape[1]
                container.mux(tone.encode(block))
        container.mux(stream.encode())
        if tone:
            container.mux(tone.encode())
    return path


def damage(path: Path, packets: list[int]) -> Path:
    """Overwrites whole packets of a video with zeros; Matroska's keep their headers."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        is_matroska = "matroska" in container.format.name
    content = bytearray(path.read_bytes())
    for packet in packets:
        position, size = places[packet]
        if is_matroska:  # the position is that of the block around it
            position = content.index(bytes_of(path, packet), position)
        content[position : position + size] = bytes(size)
    path.write_bytes(content)
    return path


def bytes_of(path: Path, index: int) -> bytes:
    """Content of a packet."""
    with av.open(str(path)) as container:
        return bytes([packet for packet in container.demux(video=0) if packet.size][index])

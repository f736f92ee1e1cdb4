"""Latency of scripts/serve_http.py on the loopback: clients that each send one video after the other.

    python scripts/benchmark_serving.py results/serving.json --clients 8 --requests 24

Every row is a server of its own; the first round of requests warms it up and is not counted.
"""

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np

from ifc_hf.files import write_json
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.samples import sample_clip

SETTINGS = [(1, 1), (1, 4), (2, 1)]  # threads, batch size
SECONDS_TO_START = 300


def main() -> None:
    """Measures every setting and writes a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--clients", type=int, default=8, help="requests at once (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=24, help="in all, a setting (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=10, help="of the video (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = make_video(Path(folder) / "clip.mp4", args.frames)
        rows = [measure(video, threads, size, args.clients, args.requests) for threads, size in SETTINGS]
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    write_json(args.output, {"machine": machine, "clients": args.clients, "frames": args.frames, "rows": rows})
    print(json.dumps(rows, indent=1))


def make_video(path: Path, num_frames: int) -> bytes:
    """The beginning of the sample clip, in half its size, as the bytes of a file."""
    with VideoWriter(path, 10) as writer:
        for frame in islice(read_frames(sample_clip()), num_frames):
            writer.write(np.ascontiguousarray(frame[::2, ::2]))
    return path.read_bytes()


def measure(video: bytes, threads: int, batch_size: int, clients: int, requests: int) -> dict[str, float]:
    """Latencies of one server under load, in seconds, and its memory in MiB."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, Path(__file__).with_name("serve_http.py"), "--port", str(port)]
    server = subprocess.Popen([*command, "--threads", str(threads), "--batch-size", str(batch_size)])
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/health", server)

        def send(_: int) -> float:
            start = time.monotonic()
            with urlopen(Request(f"{address}/segment", data=video, method="POST")) as answer:
                json.load(answer)
            return time.monotonic() - start

        alone = min(send(0) for _ in range(2))
        idle = peak_mib(server.pid)
        start = time.monotonic()
        with ThreadPoolExecutor(clients) as pool:
            seconds = list(pool.map(send, range(requests)))
        passed = time.monotonic() - start
        return {
            "threads": threads,
            "batch_size": batch_size,
            "alone_seconds": round(alone, 2),
            "p50_seconds": round(median(seconds), 2),
            "p95_seconds": round(quantiles(seconds, n=20)[-1], 2),
            "requests_per_second": round(requests / passed, 2),
            "peak_mib_of_one_request": idle,
            "peak_mib": peak_mib(server.pid),
        }
    finally:
        server.terminate()
        server.wait()


def wait_for(address: str, server: subprocess.Popen) -> None:
    """Returns when the server answers.

    Raises:
        RuntimeError: If it has ended, or doesn't answer in time.
    """
    end = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < end:
        try:
            urlopen(address).close()
        except URLError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("the server doesn't answer")


def peak_mib(pid: int) -> int:
    """Most resident memory of a process so far, on Linux; 0 elsewhere."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


if __name__ == "__main__":
    main()

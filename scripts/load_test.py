"""Load: long videos, crowded clips, large data sets and many requests at once, with a tiny model.

    python scripts/load_test.py                          # all parts, each in a process of its own
    python scripts/load_test.py --parts stream http      # some; the others keep their figures in the report

| part | what happens |
| --- | --- |
| stream | 20,000 frames through `stream`: memory, seconds per 1,000 frames, tracks |
| births | 20,000 windows through the tracker, each with a new instance: seconds per 1,000 windows |
| crowd | 30 and 300 instances in a clip: loss, tracker, whole pipeline, drawing, score |
| data_set | `load_ytvis` of 5,000 videos, the first time and from the cache |
| threads | 8 threads call one pipeline; answers compared with those in sequence |
| http | 50 requests at once to scripts/serve_http.py on the loopback, likewise |
| app | 50 requests at once to the queue of `ifc-hf app` on the loopback, likewise |

Every part notes the load average before and after it: latencies of a busy machine are those of a busy machine.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
import torch

from ifc_hf import IfcClipTracker, IfcConfig, IfcForVideoInstanceSegmentation, IfcImageProcessor, IfcVideoSegmenter
from ifc_hf.benchmark import describe_machine, package_versions, peak_memory_gib
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.files import write_json
from ifc_hf.model.masks import encode_rles
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.samples import sample_clip

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "results" / "load.json"
SECONDS_TO_START = 300
TINY_BACKBONE = {
    "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1],
    "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip


def main() -> None:
    """Runs the parts and writes the report after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--scale", type=float, default=1.0, help="of frames, videos and requests, to try the script")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)  # what a part's process gets
    args = parser.parse_args()
    if args.part:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory(prefix="ifc_hf_load_") as folder:
            print(json.dumps(PARTS[args.part](args.scale, Path(folder))))
        return
    report = json.loads(args.output.read_text(encoding="utf-8")) if args.output.exists() else {}
    for part in args.parts:
        before = os.getloadavg()[0]
        command = [sys.executable, __file__, "--part", part, "--scale", str(args.scale)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        loads = [round(load, 1) for load in (before, os.getloadavg()[0])]
        figures = {**json.loads(output.splitlines()[-1]), "load_average_before_and_after": loads}
        print(part, json.dumps(figures, indent=2), flush=True)
        versions = package_versions(("torch", "transformers", "datasets", "gradio"))
        report = {**report, part: figures, "machine": describe_machine(), "versions": versions}
        write_json(args.output, report, indent=2)


def stream(scale: float, folder: Path) -> dict[str, Any]:
    """A long video, with and without its masks kept."""
    num_frames = int(20_000 * scale)
    segmenter = IfcVideoSegmenter(tiny_model(), tiny_processor(), score_threshold=0.1, multi_label=False)
    return {
        "frames": num_frames,
        "forgetting_masks": one_stream(segmenter, num_frames, keep_segmentations=False),
        "keeping_masks": one_stream(segmenter, num_frames // 4, keep_segmentations=True),
    }


def one_stream(segmenter: IfcVideoSegmenter, num_frames: int, keep_segmentations: bool) -> dict[str, Any]:
    """Memory and time along one stream, at some twenty places of it."""
    frames = [np.ascontiguousarray(frame[::4, ::4]) for frame in read_frames(sample_clip())]
    video_pass = segmenter.stream(islice(cycle(frames), num_frames), keep_segmentations=keep_segmentations)
    step = max(1, num_frames // 20)
    memory, seconds, start = [], [], time.perf_counter()
    for result in video_pass:
        if (result.frame_index + 1) % step == 0:
            memory.append(memory_mib())
            seconds.append((time.perf_counter() - start) * 1000 / step)
            start = time.perf_counter()
    return {
        "frames_between": step,
        "memory_mib": [round(value, 1) for value in memory],
        "growth_mib_per_1000_frames": round((memory[-1] - memory[1]) / (len(memory) - 2) / step * 1000, 3),
        "seconds_per_1000_frames": [round(value, 2) for value in seconds],
        "tracks": video_pass.tracker.num_tracks,
    }


def births(scale: float, folder: Path) -> dict[str, Any]:
    """As many tracks as windows: every window has an instance that no other window has."""
    num_windows = int(20_000 * scale)
    tracker = IfcClipTracker()
    class_probabilities = torch.full((1, 41), 1 / 41)
    masks = torch.full((num_cells := 16, 5, num_cells, 8), -20.0)
    for cell in range(num_cells):
        masks[cell, :, cell] = 20.0
    step = max(1, num_windows // 20)
    seconds, memory, start = [], [], time.perf_counter()
    for window in range(num_windows):
        tracker.update(range(window, window + 5), masks[window % num_cells, None], class_probabilities)
        tracker.pop_frames(window + 1)
        tracker.class_probabilities([tracker.num_tracks - 1])  # what a stream asks for
        if (window + 1) % step == 0:
            seconds.append((time.perf_counter() - start) * 1000 / step)
            memory.append(memory_mib())
            start = time.perf_counter()
    return {
        "windows": num_windows,
        "tracks": tracker.num_tracks,
        "windows_between": step,
        "seconds_per_1000_windows": [round(value, 2) for value in seconds],
        "memory_mib": [round(value, 1) for value in memory],
    }


def crowd(scale: float, folder: Path) -> dict[str, Any]:
    """Clips of few and of many instances."""
    return {str(count): one_crowd(count) for count in (max(2, int(30 * scale)), max(4, int(300 * scale)))}


def one_crowd(count: int) -> dict[str, Any]:
    """Seconds of each stage for one number of instances, and whether the results are right."""
    from ifc_hf.evaluation.ytvis_map import evaluate_ytvis
    from ifc_hf.outputs.drawing import DrawingStyle, TrackDrawer

    masks = squares(count, num_frames=10)  # (N, L, H, W)
    model = tiny_model(num_queries=count).train()
    pixels = torch.rand(1, 5, 3, 90, 160)
    labels = [{"class_labels": torch.zeros(count, dtype=torch.long), "masks": masks[:, :5, ::4, ::4].contiguous()}]
    frames = [np.full((*masks.shape[-2:], 3), 128, np.uint8)] * 10

    def train() -> bool:
        loss = model(pixels, labels=labels).loss
        loss.backward()
        return bool(loss.isfinite())

    def track() -> bool:
        tracker, logits = IfcClipTracker(), 20.0 * masks[:, :, ::8, ::8].float() - 10.0
        classes = torch.full((count, 4), 0.25)
        ids = [tracker.update(range(start, start + 5), logits[:, start : start + 5], classes) for start in range(6)]
        return all(window == list(range(count)) for window in ids)

    def segment() -> bool:
        segmenter = IfcVideoSegmenter(model, tiny_processor(), score_threshold=0.0, multi_label=False)
        return len(segmenter(frames)) >= count

    def draw() -> bool:
        drawer, ids = TrackDrawer(DrawingStyle()), list(range(count))
        captions = [f"shape {track}" for track in ids]
        drawn = [
            drawer.draw(frame, masks[:, index].numpy(), ids, captions, dict(zip(ids, captions, strict=True)))
            for index, frame in enumerate(frames)
        ]
        return all((picture != 128).any() for picture in drawn)

    def score() -> bool:
        rles = [encode_rles(track) for track in masks]
        height, width = masks.shape[-2:]
        tracks = [{"video_id": 1, "category_id": 1, "segmentations": track} for track in rles]
        truth = {
            "videos": [{"id": 1, "height": height, "width": width, "length": 10}],
            "categories": [{"id": 1, "name": "shape"}],
            "annotations": [{"id": index, **track} for index, track in enumerate(tracks, start=1)],
        }
        found = [{**track, "score": 1 - index / 1000} for index, track in enumerate(tracks)]
        return evaluate_ytvis(truth, found, max_detections=(1, 10, count))["AR" + str(count)] == 1.0

    stages = {}
    for stage in (train, track, segment, draw, score):
        start = time.perf_counter()
        right = stage()
        stages[stage.__name__] = {"seconds": round(time.perf_counter() - start, 2), "right": right}
    return {"stages": stages, "peak_memory_gib": round(peak_memory_gib(), 2)}


def squares(count: int, num_frames: int, height: int = 360, width: int = 640) -> torch.Tensor:
    """(count, num_frames, H, W) bool: squares in a grid that move right by a pixel a frame and don't touch."""
    columns = int(np.ceil(np.sqrt(count * width / height)))
    rows = -(-count // columns)
    masks = torch.zeros(count, num_frames, height, width, dtype=torch.bool)
    for index in range(count):
        top, left = index // columns * height // rows, index % columns * width // columns
        size = min(height // rows, width // columns) - num_frames
        for frame in range(num_frames):
            masks[index, frame, top : top + size, left + frame : left + frame + size] = True
    return masks


def data_set(scale: float, folder: Path) -> dict[str, Any]:
    """A data set of many videos, which share the frames of a few."""
    from ifc_hf import load_ytvis

    num_videos, rendered = int(5000 * scale), 8
    root = write_synthetic_ytvis(folder / "data", rendered, 20, (96, 160), num_valid_videos=1)
    content = json.loads((root / "train.json").read_text(encoding="utf-8"))
    of_video = {video["id"]: [] for video in content["videos"]}
    for annotation in content["annotations"]:
        of_video[annotation["video_id"]].append(annotation)
    videos, annotations = [], []
    for video_id in range(1, num_videos + 1):
        source = content["videos"][video_id % rendered]
        videos.append({**source, "id": video_id})
        for annotation in of_video[source["id"]]:
            annotations.append({**annotation, "id": len(annotations) + 1, "video_id": video_id})
    write_json(root / "train.json", {**content, "videos": videos, "annotations": annotations})
    figures: dict[str, Any] = {"videos": num_videos, "frames_of_a_video": 20, "tracks": len(annotations)}
    rows = []
    for name in ("first", "from_cache"):
        before, start = memory_mib(), time.perf_counter()
        loaded = load_ytvis(root, split="train", cache_dir=str(folder / "cache"))
        figures[name] = {
            "seconds": round(time.perf_counter() - start, 2),
            "memory_before_mib": round(before),
            "memory_after_mib": round(memory_mib()),
            "peak_memory_gib": round(peak_memory_gib(), 2),
        }
        rows.append([loaded[place] for place in (0, num_videos // 2, num_videos - 1)] + [len(loaded)])
    return {**figures, "rows_equal": rows[0] == rows[1] and rows[0][-1] == num_videos}


def threads(scale: float, folder: Path) -> dict[str, Any]:
    """One pipeline, eight threads, five videos of each thread."""
    from transformers import pipeline

    pipe = pipeline("video-instance-segmentation", model=str(save_model(folder)))
    videos = [str(path) for path in make_videos(folder, 8)] * max(1, int(5 * scale))
    start = time.perf_counter()
    expected = [as_json(pipe(video)) for video in videos]
    in_sequence = time.perf_counter() - start
    latencies, answers, seconds = at_once(lambda video: as_json(pipe(video)), videos, 8)
    return {
        "calls": len(videos),
        "seconds_in_sequence": round(in_sequence, 2),
        "seconds_with_8_threads": round(seconds, 2),
        **percentiles(latencies),
        "wrong_results": sum(answer != right for answer, right in zip(answers, expected, strict=True)),
    }


def http(scale: float, folder: Path) -> dict[str, Any]:
    """The HTTP example: a queue that is long enough, then the default one, which turns some away."""
    from transformers import pipeline

    model, count = save_model(folder), max(4, int(50 * scale))
    videos = list(islice(cycle(make_videos(folder, 10)), count))
    pipe = pipeline("video-instance-segmentation", model=str(model))
    expected = [as_json(pipe(str(video))) for video in videos]
    settings = {
        "queue_64": ["--queue-size", "64", "--batch-size", "1"],
        "queue_64_2_threads": ["--queue-size", "64", "--batch-size", "1", "--threads", "2"],
        "queue_64_batches_of_4": ["--queue-size", "64", "--batch-size", "4"],
        "queue_8": ["--queue-size", "8", "--batch-size", "1"],
    }
    figures = {}
    for name, options in settings.items():
        command = [str(ROOT / "scripts" / "serve_http.py"), "--model", str(model), *options]
        with server(command, "/health") as (address, process_id):

            def ask(video: Path, address: str = address) -> Any:
                try:
                    with urlopen(Request(f"{address}/segment", data=video.read_bytes(), method="POST")) as answer:
                        return json.load(answer)
                except HTTPError as error:
                    return error.code

            ask(videos[0])
            before = memory_mib(process_id)
            latencies, answers, seconds = at_once(ask, videos, count)
            after = memory_mib(process_id)
        served = [pair for pair in zip(answers, expected, strict=True) if not isinstance(pair[0], int)]
        figures[name] = {
            "requests": count,
            "answered": len(served),
            "turned_away_with_503": answers.count(503),
            "other_errors": count - len(served) - answers.count(503),
            "wrong_results": sum(answer != right for answer, right in served),
            "requests_per_second": round(len(served) / seconds, 2),
            "memory_mib": [round(before), round(after)],
            **percentiles([latency for latency, answer in zip(latencies, answers, strict=True) if answer != 503]),
        }
    return figures


def app(scale: float, folder: Path) -> dict[str, Any]:
    """Visitors of the demo who all press the button at once; each waits for the tracks of the own video."""
    from gradio_client import Client, handle_file
    from transformers import pipeline

    model, count = save_model(folder), max(4, int(50 * scale))
    videos = list(islice(cycle(make_videos(folder, 10)), count))
    pipe = pipeline("video-instance-segmentation", model=str(model))
    expected = [as_json(pipe(str(video), num_frames=2, threshold=0.1)) for video in videos]
    with server(["-m", "ifc_hf.cli.main", "app", "--model", str(model)], "/config") as (address, process_id):

        def visit(number: int) -> Any:
            client = Client(address, verbose=False, download_files=str(folder / f"visitor_{number}"))
            file = handle_file(str(videos[number]))
            job = client.submit([file], 2, 0.1, [], api_name="/segment")
            job.result()
            files = {value for value in flat(job.outputs()) if isinstance(value, str)}
            [tracks] = [file for file in files if file.endswith("tracks.json")]
            found = json.loads(Path(tracks).read_text(encoding="utf-8"))["tracks"]
            return [{name: value for name, value in track.items() if name != "frame_scores"} for track in found]

        visit(0)
        before = memory_mib(process_id)
        latencies, answers, seconds = at_once(visit, range(count), count)
        after = memory_mib(process_id)
    return {
        "requests": count,
        "answered": len(answers),
        "wrong_results": sum(answer != right for answer, right in zip(answers, expected, strict=True)),
        "requests_per_second": round(count / seconds, 2),
        "memory_mib": [round(before), round(after)],
        **percentiles(latencies),
    }


def flat(values: Any) -> Iterator[Any]:
    """All that lists, tuples and dicts hold, however deep."""
    if isinstance(values, dict):
        values = list(values.values())
    if not isinstance(values, list | tuple):
        yield values
        return
    for value in values:
        yield from flat(value)


def at_once(
    call: Callable[[Any], Any], items: Iterable[Any], num_threads: int
) -> tuple[list[float], list[Any], float]:
    """Latencies and answers of calls from several threads, and the seconds for all of them."""

    def timed(item: Any) -> tuple[float, Any]:
        start = time.perf_counter()
        answer = call(item)
        return time.perf_counter() - start, answer

    start = time.perf_counter()
    with ThreadPoolExecutor(num_threads) as pool:
        pairs = list(pool.map(timed, items))
    return [latency for latency, _ in pairs], [answer for _, answer in pairs], time.perf_counter() - start


def percentiles(seconds: list[float]) -> dict[str, float]:
    """The middle and the slow end of latencies."""
    return {"p50_seconds": round(median(seconds), 2), "p95_seconds": round(quantiles(seconds, n=20)[-1], 2)}


@contextmanager
def server(command: list[str], probe: str) -> Iterator[tuple[str, int]]:
    """Address and process of a server on the loopback; it ends with the block.

    Raises:
        RuntimeError: If it has ended, or doesn't answer in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, *command, "--port", str(port)], stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                urlopen(address + probe).close()
                break
            except (URLError, ConnectionError) as error:
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{command[0]} doesn't answer") from error
                time.sleep(0.2)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait()


def tiny_model(**changes: Any) -> IfcForVideoInstanceSegmentation:
    """Random weights that see objects, with masks of both signs."""
    torch.manual_seed(0)
    settings = {
        "backbone_config": TINY_BACKBONE, "hidden_size": 32, "encoder_layers": 2, "decoder_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 64, "num_queries": 7, "num_memory_tokens": 3,
        "id2label": {0: "cat", 1: "dog", 2: "fish"}, "dropout": 0.0, "num_frames": 3,
    }  # fmt: skip
    model = IfcForVideoInstanceSegmentation(IfcConfig(**{**settings, **changes})).eval()
    with torch.no_grad():
        model.class_head.layers[-1].bias[-1] = -5.0
    torch.nn.init.normal_(model.mask_head.query_mlp.layers[-1].weight)
    return model


def tiny_processor() -> IfcImageProcessor:
    """Small frames."""
    return IfcImageProcessor(size={"shortest_edge": 48, "longest_edge": 100})


def save_model(folder: Path) -> Path:
    """Folder of the tiny model."""
    tiny_model().save_pretrained(folder / "model")
    tiny_processor().save_pretrained(folder / "model")
    return folder / "model"


def make_videos(folder: Path, count: int) -> list[Path]:
    """Different videos of eight frames."""
    frames = [np.ascontiguousarray(frame[::4, ::4]) for frame in islice(read_frames(sample_clip()), count + 7)]
    paths = [folder / f"video_{index}.mp4" for index in range(count)]
    for index, path in enumerate(paths):
        with VideoWriter(path, 10) as writer:
            for frame in frames[index : index + 8]:
                writer.write(frame)
    return paths


def as_json(tracks: Iterable[Any]) -> list[Any]:
    """Tracks as a client gets them."""
    return json.loads(json.dumps([track.to_dict() for track in tracks]))


def memory_mib(process: int | str = "self") -> float:
    """Resident memory of a process, on Linux."""
    pages = int(Path("/proc", str(process), "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


PARTS: dict[str, Callable[[float, Path], dict[str, Any]]] = {
    "stream": stream, "births": births, "crowd": crowd, "data_set": data_set, "threads": threads, "http": http,
    "app": app,
}  # fmt: skip


if __name__ == "__main__":
    main()

"""The HTTP example: answers, batches across requests, refusals, and eight requests at once against one pipeline."""

import importlib.util
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from transformers import pipeline

from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.samples import sample_clip
from paths import ROOT
from tiny_models import save_tiny_model

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from fastapi.testclient import TestClient  # noqa: E402 -- after it is known that FastAPI is there

SECONDS = 60


@pytest.fixture(scope="module")
def service():
    spec = importlib.util.spec_from_file_location("serve_http", ROOT / "scripts" / "serve_http.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[Path]:
    """Eight videos of four frames, all different."""
    folder = tmp_path_factory.mktemp("videos")
    frames = [np.ascontiguousarray(frame[::4, ::4]) for frame in islice(read_frames(sample_clip()), 11)]
    paths = [folder / f"{index}.mp4" for index in range(8)]
    for index, path in enumerate(paths):
        with VideoWriter(path, 10) as writer:
            for frame in frames[index : index + 4]:
                writer.write(frame)
    return paths


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("model")))


def test_eight_requests_at_once_get_the_pipelines_answers(service, model, videos, tmp_path):
    """On one pipeline, by two threads, in batches of up to three."""
    batches = []
    segment = service.make_segment(model, None, max_frames=4)

    def watched(paths, options):
        batches.append(len(paths))
        return segment(paths, options)

    workers = service.BatchingWorkers(watched, num_threads=2, batch_size=3, queue_size=8)
    pipe = pipeline("video-instance-segmentation", model=model)
    with TestClient(service.make_app(workers, str(tmp_path))) as client, ThreadPoolExecutor(8) as pool:

        def send(video):
            return client.post("/segment", params={"threshold": 0.2, "num_frames": 2}, content=video.read_bytes())

        answers = list(pool.map(send, videos))
        assert client.get("/health").json() == {"status": "ok", "waiting": 0}
    for video, answer in zip(videos, answers, strict=True):
        assert answer.status_code == 200
        expected = pipe(str(video), threshold=0.2, num_frames=2)
        assert expected and len(answer.json()) == len(expected)
        for got, track in zip(answer.json(), expected, strict=True):
            assert got["label"] == track.label and got["score"] == pytest.approx(track.score, rel=1e-4)
            assert len(got["segmentations"]) == 4
    assert sum(batches) == 8 and max(batches) > 1
    assert not list(tmp_path.iterdir())


class Gate:
    """Stands for the pipeline: holds every batch until it is opened, and notes the batches."""

    def __init__(self):
        self.opened, self.entered, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, paths, options):
        self.batches.append(([Path(path).read_bytes() for path in paths], options))
        self.entered.set()
        assert self.opened.wait(SECONDS)
        if any(Path(path).read_bytes() == b"bad" for path in paths):
            raise ValueError(f"{paths[0]}: not a video")
        return [[] for _ in paths]


def wait_until(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_requests_of_equal_options_share_a_batch_and_one_bad_video_spoils_no_other(service, tmp_path):
    gate = Gate()
    workers = service.BatchingWorkers(gate, num_threads=1, batch_size=4, queue_size=8)
    with TestClient(service.make_app(workers, str(tmp_path))) as client, ThreadPoolExecutor(8) as pool:

        def send(content, **params):
            waiting = workers.waiting.qsize()
            future = pool.submit(client.post, "/segment", content=content, params=params)
            wait_until(gate.entered.is_set if len(gate.batches) == 0 else lambda: workers.waiting.qsize() > waiting)
            return future

        first = send(b"first")
        others = [send(b"a"), send(b"bad"), send(b"b", threshold=0.5), send(b"c")]
        gate.opened.set()
        codes = [future.result().status_code for future in (first, *others)]
        message = others[1].result().json()["detail"]
    assert codes == [200, 200, 422, 200, 200] and message == "the video: not a video"
    sizes = [[content for content in batch] for batch, _ in gate.batches]
    assert sizes == [[b"first"], [b"a", b"bad", b"c"], [b"a"], [b"bad"], [b"c"], [b"b"]]
    assert gate.batches[-1][1].threshold == 0.5
    assert not list(tmp_path.iterdir())


def test_a_full_queue_sends_away(service, tmp_path):
    gate = Gate()
    workers = service.BatchingWorkers(gate, num_threads=1, batch_size=1, queue_size=1)
    with TestClient(service.make_app(workers, str(tmp_path))) as client, ThreadPoolExecutor(2) as pool:
        taken = pool.submit(client.post, "/segment", content=b"x")
        wait_until(gate.entered.is_set)
        waits = pool.submit(client.post, "/segment", content=b"y")
        wait_until(lambda: client.get("/health").json()["waiting"] == 1)
        refused = client.post("/segment", content=b"z")
        gate.opened.set()
        assert (taken.result().status_code, waits.result().status_code) == (200, 200)
    assert refused.status_code == 503 and refused.headers["Retry-After"] == "5"
    assert not list(tmp_path.iterdir())


def test_bad_requests_are_refused(service, model, tmp_path):
    segment = service.make_segment(model, None, max_frames=4)
    workers = service.BatchingWorkers(segment, num_threads=1, batch_size=1, queue_size=1)
    with TestClient(service.make_app(workers, str(tmp_path), max_bytes=1000)) as client:
        empty, large = client.post("/segment"), client.post("/segment", content=io.BytesIO(bytes(1001)))
        no_video = client.post("/segment", content=b"text")
        threshold = client.post("/segment", content=b"x", params={"threshold": 2})
    assert [answer.status_code for answer in (empty, large, no_video, threshold)] == [422, 413, 422, 422]
    assert str(tmp_path) not in no_video.text and "the video" in no_video.text
    assert not list(tmp_path.iterdir())

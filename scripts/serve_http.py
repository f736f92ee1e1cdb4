"""A minimal HTTP service: a video in, its tracks as JSON out. A start for your own, not a product.

    python scripts/serve_http.py --model my_model --port 8000
    curl --data-binary @my_clip.mp4 "http://127.0.0.1:8000/segment?threshold=0.5"

```
request --> file in a temporary folder --> queue (bounded; full: 503) --> worker threads, which share one pipeline
                                                      each takes what waits with the same options: one batch
```

Needs `pip install "ifc_hf[serve]"`. See docs/serving.md.
"""

import argparse
import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from typing import Annotated, Any

import ifc_hf
from ifc_hf.extras import require
from ifc_hf.model.tracks import Track

require("the HTTP example", "serve", "fastapi", "uvicorn")

import uvicorn  # noqa: E402 -- only now is it known that the extra is there
from fastapi import FastAPI, HTTPException, Query, Request  # noqa: E402
from fastapi.responses import JSONResponse  # noqa: E402

MAX_BYTES = 256 * 2**20  # of an upload
MAX_FRAMES = 300  # of a video that are looked at
SECONDS_TO_RETRY = 5

Answers = Sequence[list[Track]]


@dataclass(frozen=True)
class Options:
    """What a request may choose; requests of equal options share a batch.

    Attributes:
        threshold: Least score of a track; None: the checkpoint's own.
        num_frames: Frames of a window; None: what the model was trained with.
    """

    threshold: float | None = None
    num_frames: int | None = None


@dataclass
class Job:
    """A request that waits: the file of its video, its options, and the tracks once they are known."""

    path: str
    options: Options
    tracks: Future[list[Track]] = field(default_factory=Future)


class BatchingWorkers:
    """Threads that segment what waits in a queue, videos of equal options together.

    While a batch is worked on the next one gathers, so nobody waits for a batch to become full.

    Args:
        segment: Paths and options of a batch to the tracks of each video; called by all threads at once.
        num_threads: Batches that are worked on at once.
        batch_size: Videos of a batch, at most.
        queue_size: Requests that may wait.
    """

    def __init__(
        self,
        segment: Callable[[list[str], Options], Answers],
        num_threads: int,
        batch_size: int,
        queue_size: int,
    ) -> None:
        self.segment = segment
        self.batch_size = batch_size
        self.waiting: Queue[Job | None] = Queue(queue_size)
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(num_threads)]
        for thread in self.threads:
            thread.start()

    def submit(self, path: str, options: Options) -> Future[list[Track]]:
        """Puts a video into the queue.

        Raises:
            queue.Full: If too many wait.
        """
        job = Job(path, options)
        self.waiting.put_nowait(job)
        return job.tracks

    def close(self) -> None:
        """Ends the threads after the batches that they are at; what waits is cancelled."""
        while True:
            try:
                if (job := self.waiting.get_nowait()) is not None:
                    job.tracks.cancel()
            except Empty:
                break
        for _ in self.threads:
            self.waiting.put(None)
        for thread in self.threads:
            thread.join()

    def _work(self) -> None:
        while (first := self.waiting.get()) is not None:
            batches: dict[Options, list[Job]] = {}
            is_last = False
            for job in [first, *self._more()]:
                if job is None:
                    is_last = True
                elif job.tracks.set_running_or_notify_cancel():  # else its visitor has gone
                    batches.setdefault(job.options, []).append(job)
            for options, jobs in batches.items():
                self._answer(jobs, options)
            if is_last:
                return

    def _more(self) -> list[Job | None]:
        jobs = []
        while len(jobs) < self.batch_size - 1:
            try:
                jobs.append(self.waiting.get_nowait())
            except Empty:
                break
        return jobs

    def _answer(self, jobs: list[Job], options: Options) -> None:
        try:
            answers = self.segment([job.path for job in jobs], options)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].tracks.set_exception(error)
                return
            for job in jobs:  # one bad video is no other's fault
                self._answer([job], options)
            return
        for job, tracks in zip(jobs, answers, strict=True):
            job.tracks.set_result(tracks)


def make_app(workers: BatchingWorkers, folder: str, max_bytes: int = MAX_BYTES) -> FastAPI:
    """The service.

    Args:
        workers: Who segments.
        folder: Where uploads lie while they are worked on.
        max_bytes: Largest upload.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(workers.close)

    app = FastAPI(title="ifc_hf", lifespan=lifespan)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "waiting": workers.waiting.qsize()}

    @app.post("/segment")
    async def segment(
        request: Request,
        threshold: Annotated[float | None, Query(ge=0, le=1)] = None,
        num_frames: Annotated[int | None, Query(ge=1, le=100)] = None,
    ) -> JSONResponse:
        path = await save_upload(request, folder, max_bytes)
        try:
            tracks = await asyncio.wrap_future(workers.submit(path, Options(threshold, num_frames)))
        except Full:
            raise HTTPException(
                503, "too many requests wait, try again later", headers={"Retry-After": str(SECONDS_TO_RETRY)}
            ) from None
        except (OSError, ValueError) as error:  # the video's; its place on this machine is nobody's business
            raise HTTPException(422, str(error).replace(path, "the video")) from None
        finally:
            os.unlink(path)
        return JSONResponse([track.to_dict() for track in tracks])

    return app


async def save_upload(request: Request, folder: str, max_bytes: int) -> str:
    """Writes the body of a request to a file and returns its path.

    Raises:
        HTTPException: If it is empty or too large; nothing is left then.
    """
    descriptor, path = tempfile.mkstemp(dir=folder)
    size = 0
    try:
        with os.fdopen(descriptor, "wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise HTTPException(413, f"a video may have {max_bytes} bytes at most")
                file.write(chunk)
        if not size:
            raise HTTPException(422, "expected a video as the body of the request, got nothing")
    except BaseException:  # also a visitor who goes away
        os.unlink(path)
        raise
    return path


def make_segment(model: str, device: str | None, max_frames: int) -> Callable[[list[str], Options], Answers]:
    """What segments a batch: one pipeline, which any number of threads may share."""
    from transformers import pipeline

    pipe = pipeline("video-instance-segmentation", model=model, device=device)

    def segment(paths: list[str], options: Options) -> Answers:
        chosen = {name: value for name, value in vars(options).items() if value is not None}
        return pipe(paths, batch_size=len(paths), frame_range=(0, max_frames), **chosen)

    return segment


def main() -> None:
    """Serves until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ifc_hf.default_checkpoint()), help="folder or Hub id")
    parser.add_argument("--device", help="e.g. cuda:0")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="batches at once (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=4, help="videos of a batch (default: %(default)s)")
    parser.add_argument("--queue-size", type=int, default=32, help="requests that may wait (default: %(default)s)")
    parser.add_argument("--max-frames", type=int, default=MAX_FRAMES, help="frames of a video (default: %(default)s)")
    args = parser.parse_args()
    segment = make_segment(args.model, args.device, args.max_frames)
    with tempfile.TemporaryDirectory(prefix="ifc_hf_serve_") as folder:
        workers = BatchingWorkers(segment, args.threads, args.batch_size, args.queue_size)
        uvicorn.run(make_app(workers, folder), host=args.host, port=args.port, log_level="warning")


if __name__ == "__main__":
    main()

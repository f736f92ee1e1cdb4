"""Work in a thread that a page watches and may stop, and how its progress is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from html import escape
from threading import Event

from .demo import Found, Report, Step

SECONDS_BETWEEN_LOOKS = 0.25


class StoppedError(Exception):
    """The visitor pressed "Stop"."""


@dataclass
class Job:
    """The work on a visitor's videos.

    Attributes:
        stop: Set to end it.
        results: Of the videos that are done.
    """

    stop: Event = field(default_factory=Event)
    results: list[Found] = field(default_factory=list)

    def follow(self, work: Callable[[Report], Found]) -> Iterator[Step]:
        """Works in a thread and yields how far it has come, some times a second; adds the result at the end.

        Raises:
            StoppedError: If it was stopped.
        """
        steps: list[Step] = []

        def report(step: Step) -> None:
            if self.stop.is_set():
                raise StoppedError
            steps.append(step)

        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(work, report)
            try:
                while not future.done():
                    wait([future], timeout=SECONDS_BETWEEN_LOOKS)
                    if steps:
                        yield latest(steps)
            except GeneratorExit:  # the visitor has gone
                self.stop.set()
                raise
            self.results.append(future.result())


def latest(steps: list[Step]) -> Step:
    """The last of the steps, with the newest picture among them; empties the list."""
    count = len(steps)
    seen, steps[:] = steps[:count], steps[count:]
    last = seen[-1]
    pictures = [step.picture for step in seen if step.picture is not None]
    return Step(last.stage, last.done, last.total, last.seconds, pictures[-1] if pictures else None)


def progress_html(name: str, place: str, step: Step | None) -> str:
    """A bar with per cent, frames per second and the time that is left.

    Args:
        name: Of the video; may hold anything.
        place: Which of the videos it is, such as "2 of 3"; empty: the only one.
        step: How far it has come; None: it has not begun.
    """
    title = f"{escape(name)}{f' ({escape(place)})' if place else ''}"
    if step is None:
        return bar(0, f"{title}: opening the video")
    frames_per_second = step.done / step.seconds if step.seconds > 0 else 0.0
    parts = [f"{frames_per_second:.1f} frames/s"]
    percent = 0
    if step.total:
        percent = min(100, 100 * step.done // step.total)
        parts = [f"{percent} %", f"{step.done} of {step.total} frames", *parts]
        if frames_per_second > 0 and step.done < step.total:
            parts.append(f"{duration((step.total - step.done) / frames_per_second)} left")
    else:
        parts = [f"{step.done} frames", *parts]
    return bar(percent, f"{title}: {escape(step.stage)}, {', '.join(parts)}")


def bar(percent: int, text: str) -> str:
    """A bar that is filled to some per cent, with a text (HTML) below."""
    return (
        f'<div role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100" class="ifc-bar">'
        f'<div style="width: {percent}%"></div></div><div class="ifc-progress">{text}</div>'
    )


def duration(seconds: float) -> str:
    """Seconds as people say them: "8 s", "2 min 05 s"."""
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"


def describe(found: Found) -> str:
    """A heading (HTML) that counts what was found."""
    prediction = found.prediction
    rest = f" Only the beginning was readable: {prediction.problem}" if prediction.problem else ""
    text = f"{found.source.name}: {len(found.shown)} tracks in {prediction.num_frames} frames.{rest}"
    return heading(text)


def heading(text: str) -> str:
    """A text as a heading (HTML); class names and names of files may hold anything."""
    return f"<h3>{escape(text)}</h3>"

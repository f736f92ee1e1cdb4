"""Reading and writing on threads of their own: decoding, computing and encoding overlap."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

Item = TypeVar("Item")

WAITING_FRAMES = 8  # at most, between two threads
LONGEST_GOODBYE_SECONDS = 5.0  # that is waited for a reader whose source may be silent for ever
SECONDS_BETWEEN_LOOKS = 0.1  # of a waiting thread at whether the other has ended
END = object()


def read_ahead(items: Iterable[Item], size: int = WAITING_FRAMES) -> Generator[Item, None, None]:
    """Iterates in another thread, at most `size` items ahead.

    An exception of the iteration is raised here, after the items before it. The thread ends when this generator is
    exhausted or closed.
    """
    return read_with(put, items, size)


def read_latest(items: Iterable[Item], size: int = WAITING_FRAMES) -> Generator[Item, None, None]:
    """Like `read_ahead`, of a source that doesn't wait: if more items come than fit, the oldest are left out."""
    return read_with(put_latest, items, size)


def read_with(
    give: Callable[[Queue[Any], Any, Event], bool], items: Iterable[Item], size: int
) -> Generator[Item, None, None]:
    """Iterates in another thread that gives its items to a queue."""
    queue: Queue[Any] = Queue(size)
    stop = Event()
    errors: list[BaseException] = []

    def read() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not give(queue, item, stop):
                    break
        except BaseException as error:
            errors.append(error)
        finally:
            if close := getattr(iterator, "close", None):
                close()
            put(queue, END, stop)

    thread = Thread(target=read, name="read_ahead", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not END:
            yield item
    finally:
        stop.set()
        thread.join(LONGEST_GOODBYE_SECONDS)
    if errors:
        raise errors[0]


@contextmanager
def write_behind(add: Callable[[Item], None], size: int = WAITING_FRAMES) -> Iterator[Callable[[Item], None]]:
    """Calls a function in another thread, for at most `size` items behind.

    Yields:
        What takes an item and returns at once, or when there is room. It raises what the function has raised; at the
        end of the block the rest of the items is awaited, but not after an exception.
    """
    queue: Queue[Any] = Queue(size)
    failed, stop = Event(), Event()
    errors: list[BaseException] = []

    def write() -> None:
        while True:
            try:
                item = queue.get(timeout=SECONDS_BETWEEN_LOOKS)
            except Empty:
                if stop.is_set():
                    return
                continue
            if item is END or stop.is_set():
                return
            try:
                add(item)
            except BaseException as error:
                errors.append(error)
                failed.set()
                return

    def take(item: Item) -> None:
        if not put(queue, item, failed):
            raise errors[0]

    thread = Thread(target=write, name="write_behind", daemon=True)
    thread.start()
    try:
        yield take
        put(queue, END, failed)
        thread.join()
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]


def put_latest(queue: Queue[Any], item: Any, stop: Event) -> bool:
    """Puts an item into a queue at once, in the place of the oldest if there is no room."""
    while not stop.is_set():
        try:
            queue.put_nowait(item)
        except Full:
            with suppress(Empty):
                queue.get_nowait()
            continue
        return True
    return False


def put(queue: Queue[Any], item: Any, stop: Event) -> bool:
    """Puts an item into a queue as soon as there is room; returns False if the other side has ended meanwhile."""
    while not stop.is_set():
        try:
            queue.put(item, timeout=SECONDS_BETWEEN_LOOKS)
        except Full:
            continue
        return True
    return False

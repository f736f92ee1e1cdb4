"""Threads that read ahead and write behind: order, bounds, errors of either side, and their end."""

import itertools
import threading
import time

import pytest

from ifc_hf.outputs.threads import read_ahead, write_behind


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in ("read_ahead", "write_behind")]


def test_items_come_in_order_and_at_most_some_ahead():
    taken = []

    def items():
        for item in range(30):
            taken.append(item)
            yield item

    iterator = read_ahead(items(), size=3)
    assert next(iterator) == 0
    time.sleep(0.2)
    assert len(taken) <= 5, "the one that was given out, three that wait, and one in the reader's hand"
    assert list(iterator) == list(range(1, 30))
    assert not threads()


def test_error_of_the_source_comes_after_the_items_before_it():
    def items():
        yield 1
        raise KeyboardInterrupt

    iterator = read_ahead(items())
    assert next(iterator) == 1
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    assert not threads()


def test_an_endless_source_is_left_alone_when_nobody_reads_on():
    closed = []

    def items():
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    iterator = read_ahead(items())
    assert next(iterator) == 0
    iterator.close()
    assert closed == [True] and not threads()


def test_what_is_written_behind_is_complete_at_the_end():
    written = []

    def add(item):
        time.sleep(0.01)
        written.append(item)

    with write_behind(add, size=2) as take:
        for item in range(10):
            take(item)
    assert written == list(range(10)) and not threads()


@pytest.mark.parametrize("failing", [0, 9])
def test_error_of_the_writer_reaches_who_writes(failing):
    def add(item):
        if item == failing:
            raise OSError("full")

    with pytest.raises(OSError, match="full"), write_behind(add, size=2) as take:
        for item in range(10):
            take(item)
    assert not threads()


def test_error_of_who_writes_ends_the_writer():
    with pytest.raises(ValueError, match="mine"), write_behind(lambda item: None) as take:
        take(1)
        raise ValueError("mine")
    assert not threads()

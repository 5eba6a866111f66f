from __future__ import annotations

import threading

import pytest

from ambry.cli.workers import Workers, WorkersStopped


def test_all_is_done_by_as_many_as_asked_for() -> None:
    workers, done = Workers(3), []
    meeting = threading.Barrier(3, timeout=60)

    def do(number: int) -> None:
        if number < 3:
            meeting.wait()  # Three at a time, or nobody gets on.
        with workers.lock:
            done.append(number)

    workers.run(range(50), do)
    assert sorted(done) == list(range(50))


def test_a_surprise_ends_everything_and_is_raised() -> None:
    workers, done = Workers(2), []

    def do(number: int) -> None:
        if number == 3:
            raise ZeroDivisionError
        done.append(number)

    with pytest.raises(ZeroDivisionError):
        workers.run(range(10_000_000), do)
    with pytest.raises(WorkersStopped):
        workers.check()


def test_what_is_stopped_begins_nothing_more() -> None:
    workers, done = Workers(1), []

    def do(number: int) -> None:
        done.append(number)
        if number == 2:
            workers.stop()

    workers.run(range(10), do)
    assert done == [0, 1, 2]

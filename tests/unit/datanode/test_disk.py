"""The threads of one disk: what runs on them, and how its outcome comes back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from ambry.errors import Overloaded
from datanode.disk import Disk


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk(threads=2)
    yield made
    made.close()


async def test_work_that_is_refused_does_not_run_all_the_same(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of threads a batch was told to have failed, gave its places back, and was written all the same."""

    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    gate = threading.Event()
    hanging = [disk.submit(gate.wait), disk.submit(gate.wait)]
    third = disk.submit(lambda: "done")
    gate.set()
    assert await third == "done"
    await asyncio.gather(*hanging)


@pytest.mark.parametrize("started", [0, 1, 3])
def test_a_disk_without_its_threads_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, started: int) -> None:
    start = threading.Thread.start
    left = started

    def limited(thread: threading.Thread) -> None:
        nonlocal left
        if not left:
            raise RuntimeError("can't start new thread")
        left -= 1
        start(thread)

    before = set(threading.enumerate())
    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(Overloaded, match="4 threads"):
        Disk(threads=4)
    assert not set(threading.enumerate()) - before


async def test_work_runs_on_a_thread_of_the_disk_and_its_outcome_comes_back(disk: Disk) -> None:
    def work(factor: int, *, summand: int) -> tuple[str, int]:
        return threading.current_thread().name, 3 * factor + summand

    name, outcome = await disk.submit(work, 2, summand=1)
    assert outcome == 7
    assert name.startswith("disk")
    with pytest.raises(ZeroDivisionError):
        await disk.submit(lambda: 1 // 0)


async def test_as_many_jobs_run_beside_each_other_as_there_are_threads(disk: Disk) -> None:
    meeting = threading.Barrier(2)
    assert sorted(await asyncio.gather(disk.submit(meeting.wait), disk.submit(meeting.wait))) == [0, 1]

"""The threads of one disk: what runs on them, and how its outcome comes back."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from ambry.clock import SystemClock
from ambry.errors import Overloaded
from datanode import disk as disk_module
from datanode.disk import HANGS_AFTER_S, Disk
from tests.support.eventually import eventually
from tests.support.fake_clock import SettableClock


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk(threads=2, clock=SystemClock())
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
        Disk(threads=4, clock=SystemClock())
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


async def test_no_job_is_left_alone_however_threads_come_and_go(disk: Disk) -> None:
    """Who becomes idle and who brings a job meet each other at every step in between."""
    source = random.Random(5)

    def job(number: int) -> int:
        if source.random() < 0.2:
            time.sleep(0.0002)
        return number

    for begin in range(0, 2_000, 20):
        jobs = [disk.submit(job, number) for number in range(begin, begin + source.randint(1, 20))]
        if source.random() < 0.5:
            await asyncio.sleep(0)
        assert await asyncio.wait_for(asyncio.gather(*jobs), 30) == list(range(begin, begin + len(jobs)))


async def test_a_job_that_was_cancelled_before_it_began_is_not_done(disk: Disk) -> None:
    gate = threading.Event()
    hanging = [disk.submit(gate.wait), disk.submit(gate.wait)]
    done: list[str] = []
    disk.submit(done.append, "cancelled").cancel()
    last = disk.submit(done.append, "waited")
    gate.set()
    await asyncio.gather(*hanging, last)
    assert done == ["waited"]


async def test_more_than_a_bound_is_not_queued(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a disk hung, everything that was asked of it queued before its threads, also what nobody waited for any more."""
    monkeypatch.setattr(disk_module, "QUEUE_MAX", 3)
    gate = threading.Event()
    jobs = [disk.submit(gate.wait), disk.submit(gate.wait)]
    await eventually(lambda: disk.waiting == 0)
    jobs += [disk.submit(lambda: True) for _ in range(3)]
    with pytest.raises(Overloaded, match="3 jobs wait"):
        disk.submit(lambda: True)
    gate.set()
    assert await asyncio.gather(*jobs) == [True] * 5
    assert await disk.submit(lambda: "again") == "again"


async def test_what_a_job_used_is_let_go_when_it_ends(disk: Disk) -> None:
    class Record:
        pass

    async def one(record: Record) -> None:
        await disk.submit(repr, record)

    record = Record()
    gone = weakref.ref(record)
    await one(record)
    del record
    await eventually(lambda: gone() is None)


async def test_a_thread_that_does_not_return_is_told_with_what_it_is_at_and_since_when() -> None:
    clock = SettableClock()
    disk = Disk(threads=2, clock=clock)
    gate = threading.Event()
    arrived = [threading.Event(), threading.Event()]

    def hang(which: int) -> None:
        arrived[which].set()
        gate.wait(60)

    jobs = [disk.submit(hang, 0)]
    await eventually(arrived[0].is_set)
    clock.advance(HANGS_AFTER_S)
    assert disk.hang() is None
    clock.advance(2)
    jobs.append(disk.submit(hang, 1))
    await eventually(arrived[1].is_set)
    found = disk.hang()
    assert found is not None
    assert (found.threads, found.all, found.seconds) == (1, False, HANGS_AFTER_S + 2)
    assert re.fullmatch(r"hangs: 1 of its threads are held, the longest for 7 s in .*hang", str(found))
    clock.advance(2 * HANGS_AFTER_S)
    found = disk.hang()
    assert found is not None
    assert found.all
    assert "all its threads are held" in str(found)
    gate.set()
    await asyncio.gather(*jobs)
    await eventually(lambda: disk.hang() is None)
    disk.close()


async def test_what_may_take_minutes_is_no_hang_but_who_ends_sees_it() -> None:
    clock = SettableClock()
    disk = Disk(threads=1, clock=clock)
    gate, arrived = threading.Event(), threading.Event()

    def work() -> None:
        arrived.set()
        gate.wait(60)

    opening = disk.submit_patiently(work)
    await eventually(arrived.is_set)
    clock.advance(600)
    assert disk.hang() is None
    assert disk.hang(impatiently=True) is not None
    gate.set()
    await opening
    disk.close()


async def test_a_closed_disk_takes_nothing(disk: Disk) -> None:
    disk.close()
    with pytest.raises(RuntimeError, match="have ended"):
        disk.submit(lambda: None)

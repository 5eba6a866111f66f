"""The threads of one disk: what runs on them, what they take in, and when background work should hold back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from datanode.disk import BUSY_S, Disk
from tests.support.fake_clock import SettableClock


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def disk(clock: SettableClock) -> Iterator[Disk]:
    made = Disk(threads=2, pending_bytes_max=100, clock=clock)
    yield made
    made.close()


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


def test_what_waits_is_bounded_and_one_alone_is_always_taken(disk: Disk) -> None:
    assert disk.admit(1000)
    assert not disk.admit(1)
    disk.release(1000)
    assert disk.admit(60)
    assert disk.admit(40)
    assert not disk.admit(1)
    assert disk.pending_bytes == 100


def test_a_disk_is_busy_until_a_moment_after_the_last_append(disk: Disk, clock: SettableClock) -> None:
    clock.advance(1)
    assert not disk.busy()
    assert disk.admit(10)
    clock.advance(1)
    assert disk.busy(), "somebody waits for it"
    disk.release(10)
    assert not disk.busy()
    assert disk.admit(10)
    disk.release(10)
    assert disk.busy()
    clock.advance(2 * BUSY_S)
    assert not disk.busy()

"""The threads of one disk: what runs on them, and how its outcome comes back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from datanode.disk import Disk


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk(threads=2)
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

"""In which order the replicas of a node are opened, and what becomes of those that cannot be yet."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

import pytest

from ambry.clustermap.model import Partition
from ambry.errors import StoreMismatch
from datanode import openings
from datanode.openings import Openings
from datanode.store.opening.progress import Progress


class Bench:
    """Openings whose attempts wait until they are let go."""

    def __init__(self, *, at_once: int = 1) -> None:
        self.openings = Openings(self._attempt, at_once=at_once, random_source=random.Random(1))
        self.begun: list[int] = []
        self.fails: dict[int, Exception] = {}
        self.lacks: set[int] = set()
        self._gates: dict[int, asyncio.Event] = {}

    async def _attempt(self, partition: Partition, progress: Progress) -> bool:
        self.begun.append(partition.id)
        await self._gates.setdefault(partition.id, asyncio.Event()).wait()
        if partition.id in self.fails:
            raise self.fails[partition.id]
        return partition.id not in self.lacks

    def start(self, numbers: Iterable[int]) -> asyncio.Task[None]:
        partitions = [Partition(id=number, replicas=()) for number in numbers]
        self.openings.expect(partitions)
        return asyncio.get_running_loop().create_task(self.openings.run(partitions))

    async def let_go(self, *numbers: int) -> None:
        for number in numbers:
            self._gates.setdefault(number, asyncio.Event()).set()
        for _ in range(20):
            await asyncio.sleep(0)


async def test_what_is_asked_for_is_opened_before_what_nobody_wants() -> None:
    bench = Bench()
    running = bench.start(range(1, 7))
    await bench.let_go()
    for asked in (5, 3, 1):
        bench.openings.ask_for(asked)
    await bench.let_go(*range(1, 7))
    await running
    assert bench.begun == [1, 5, 3, 2, 4, 6]
    assert not bench.openings.progress


async def test_no_more_are_opened_at_once_than_may_be() -> None:
    bench = Bench(at_once=2)
    running = bench.start(range(1, 6))
    await bench.let_go()
    assert bench.begun == [1, 2]
    await bench.let_go(2)
    assert bench.begun == [1, 2, 3]
    await bench.let_go(1, 3, 4, 5)
    await running
    assert bench.begun == [1, 2, 3, 4, 5]


async def test_one_that_must_wait_for_resources_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openings, "RETRY_MIN_S", 0.001)
    bench = Bench()
    bench.lacks = {1}
    running = bench.start([1, 2])
    await bench.let_go(1, 2)
    assert bench.begun[:2] == [1, 2]
    bench.lacks = set()
    await running
    assert bench.begun[-1] == 1


async def test_one_whose_turn_is_cancelled_passes_it_on() -> None:
    bench = Bench()
    running = bench.start([1, 2, 3])
    await bench.let_go()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    again = bench.start([4])
    await bench.let_go(4)
    await again
    assert bench.begun == [1, 4]


async def test_a_failure_that_this_process_cannot_go_on_with_ends_the_others() -> None:
    bench = Bench()
    bench.fails = {1: StoreMismatch("another cluster")}
    running = bench.start([1, 2, 3])
    await bench.let_go(1)
    with pytest.raises(StoreMismatch):
        await running
    assert bench.begun == [1]
    assert bench.openings.stopped

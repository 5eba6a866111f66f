from __future__ import annotations

import asyncio
import random

import pytest

from ambry.errors import InvariantBroken
from frontend.router.budget import MemoryBudget
from tests.support.virtual_loop import settle, virtual_time


@virtual_time
async def test_who_comes_first_is_served_first_even_when_a_smaller_wish_would_fit() -> None:
    budget = MemoryBudget(10)
    await budget.take(8)
    served: list[str] = []

    async def want(name: str, size: int) -> None:
        await budget.take(size)
        served.append(name)

    tasks = [asyncio.create_task(want(name, size)) for name, size in (("large", 9), ("small", 1), ("middle", 2))]
    await settle()
    assert served == []
    assert not budget.try_take(1), "somebody who came later was served before those who wait"
    budget.give_back(8)
    await settle()
    assert served == ["large", "small"]
    budget.give_back(9)
    await asyncio.gather(*tasks)
    assert served == ["large", "small", "middle"]
    assert budget.free == 7


@virtual_time
async def test_more_than_there_is_can_never_be_had() -> None:
    budget = MemoryBudget(10)
    with pytest.raises(InvariantBroken):
        await budget.take(11)
    assert budget.free == 10
    await budget.take(10)
    assert not budget.try_take(1)


@virtual_time
async def test_a_cancelled_wait_takes_nothing_and_lets_the_next_through() -> None:
    budget = MemoryBudget(10)
    await budget.take(5)
    large = asyncio.create_task(budget.take(9))
    small = asyncio.create_task(budget.take(4))
    await settle()
    large.cancel()
    await settle()
    budget.give_back(1)
    await small
    assert budget.free == 2
    budget.give_back(8)
    assert budget.free == 10


@virtual_time
async def test_cancelled_in_the_moment_of_being_served_gives_the_share_on() -> None:
    budget = MemoryBudget(10)
    await budget.take(10)
    first = asyncio.create_task(budget.take(10))
    second = asyncio.create_task(budget.take(10))
    await settle()
    budget.give_back(10)
    first.cancel()
    await settle()
    assert first.cancelled()
    assert second.done()
    budget.give_back(10)
    assert budget.free == 10


@virtual_time
async def test_never_over_the_limit_and_nothing_is_lost_whatever_comes_when() -> None:
    source = random.Random(7)
    budget = MemoryBudget(100)
    held = 0
    peak = 0

    async def worker() -> None:
        nonlocal held, peak
        size = source.randint(1, 100)
        try:
            async with asyncio.timeout(source.random() * 3):
                await budget.take(size)
        except TimeoutError:
            return
        held += size
        peak = max(peak, held)
        assert held <= 100 and budget.free >= 0
        try:
            async with asyncio.timeout(source.random() * 3):
                await asyncio.sleep(source.random() * 3)
        except TimeoutError:
            pass
        finally:
            held -= size
            budget.give_back(size)

    for _ in range(20):
        tasks = [asyncio.create_task(worker()) for _ in range(40)]
        await asyncio.sleep(source.random())
        for task in source.sample(tasks, 10):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert budget.free == 100
    assert peak == 100 or peak > 80, "the test never came near the limit"

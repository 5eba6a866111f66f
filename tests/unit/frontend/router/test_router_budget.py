from __future__ import annotations

import asyncio
import random

import pytest

from ambry.errors import InvariantBroken, Overloaded
from frontend.http.problem import headers_of
from frontend.router.budget import ASK_EVERY_S, ASKED_MAX, IDLE_S, SERVED_MAX, MemoryBudget, Need
from tests.support.virtual_loop import settle, virtual_time


@virtual_time
async def test_who_comes_first_is_served_first_even_when_a_smaller_wish_would_fit() -> None:
    budget = MemoryBudget(10, reserve=0)
    await budget.take(8, timeout_s=60)
    served: list[str] = []

    async def want(name: str, size: int) -> None:
        await budget.take(size, timeout_s=60)
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
    budget = MemoryBudget(10, reserve=0)
    with pytest.raises(InvariantBroken):
        await budget.take(11, timeout_s=60)
    assert budget.free == 10
    await budget.take(10, timeout_s=60)
    assert not budget.try_take(1)


@virtual_time
async def test_a_cancelled_wait_takes_nothing_and_lets_the_next_through() -> None:
    budget = MemoryBudget(10, reserve=0)
    await budget.take(5, timeout_s=60)
    large = asyncio.create_task(budget.take(9, timeout_s=60))
    small = asyncio.create_task(budget.take(4, timeout_s=60))
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
    budget = MemoryBudget(10, reserve=0)
    await budget.take(10, timeout_s=60)
    first = asyncio.create_task(budget.take(10, timeout_s=60))
    second = asyncio.create_task(budget.take(10, timeout_s=60))
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
    budget = MemoryBudget(100, reserve=0)
    held = 0
    peak = 0

    async def worker() -> None:
        nonlocal held, peak
        size = source.randint(1, 100)
        try:
            async with asyncio.timeout(source.random() * 3):
                await budget.take(size, timeout_s=60)
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


@virtual_time
async def test_memory_that_does_not_come_is_told_within_the_time_and_whoever_stands_behind_goes_on() -> None:
    """A put of one byte once waited for ever behind 32 uploads that stalled."""
    loop = asyncio.get_running_loop()
    budget = MemoryBudget(10, name="uploads", reserve=0)
    await budget.take(8, timeout_s=1)
    small = asyncio.create_task(budget.take(2, timeout_s=60))
    await settle()
    began = loop.time()
    large = asyncio.create_task(budget.take(9, timeout_s=5))
    behind = asyncio.create_task(budget.take(1, timeout_s=60))
    await small
    with pytest.raises(Overloaded, match="uploads") as refused:
        await large
    assert loop.time() - began == pytest.approx(5)
    assert headers_of(refused.value)["Retry-After"] == "1"
    budget.give_back(1)
    await behind
    assert budget.free == 0


@virtual_time
async def test_a_reserve_is_kept_for_small_needs_and_the_last_of_it_for_those_that_wait_for_nobody() -> None:
    budget = MemoryBudget(80, reserve=20)
    assert not budget.try_take(61)
    assert budget.try_take(60)
    assert not budget.try_take(1)
    assert budget.try_take(10, Need.SMALL)
    assert not budget.try_take(1, Need.SMALL)
    assert budget.try_take(10, Need.READY)
    assert budget.free == 0


@virtual_time
async def test_large_needs_that_wait_do_not_stand_in_the_way_of_small_ones() -> None:
    budget = MemoryBudget(80, reserve=20)
    assert budget.try_take(60)
    large = asyncio.create_task(budget.take(30, timeout_s=60))
    await settle()
    await budget.take(5, Need.SMALL, timeout_s=60)
    budget.give_back(5)
    assert not large.done()
    budget.give_back(30)
    await large
    assert budget.free == 20


@virtual_time
async def test_of_those_who_wait_a_few_go_on_in_a_turn() -> None:
    """What one gave back woke 400 in one turn of the event loop, and everybody else waited for what they did with it."""
    budget = MemoryBudget(1000, reserve=0)
    await budget.take(1000, timeout_s=60)
    tasks = [asyncio.create_task(budget.take(1, timeout_s=60)) for _ in range(3 * SERVED_MAX)]
    urgent = asyncio.create_task(budget.take(1, Need.READY, timeout_s=60))
    await settle()
    budget.give_back(1000)
    for turn in range(1, 4):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sum(task.done() for task in tasks) <= 2 * turn * SERVED_MAX
        assert urgent.done()
    await asyncio.gather(*tasks, urgent)
    assert budget.free == 1000 - len(tasks) - 1


class Holder:
    """Waits for its client, and holds `size` bytes that it has no use for."""

    def __init__(self, budget: MemoryBudget, size: int) -> None:
        self.budget = budget
        self.size = size
        self.asked: list[float] = []

    def give_way(self) -> None:
        self.asked.append(asyncio.get_running_loop().time())
        self.budget.give_back(self.size)


@virtual_time
async def test_those_who_wait_longest_give_way_a_few_at_a_time_while_somebody_wants_memory() -> None:
    """70 stalled uploads of 1 MB kept all that there was, and 130 others wrote chunks of 16 KiB with the rest (F21)."""
    budget = MemoryBudget(100, reserve=0)
    await budget.take(100, timeout_s=1)
    holders = [Holder(budget, 10) for _ in range(3 * ASKED_MAX)]
    for holder in holders:
        budget.rests(holder)
    loop = asyncio.get_running_loop()
    await asyncio.sleep(1)
    assert not any(holder.asked for holder in holders), "nobody wants memory"
    began = loop.time()
    await budget.take(10 * (2 * ASKED_MAX), timeout_s=60)
    assert [holder.asked for holder in holders] == [
        *[[pytest.approx(began)]] * ASKED_MAX,
        *[[pytest.approx(began + ASK_EVERY_S)]] * ASKED_MAX,
        *[[]] * ASKED_MAX,
    ]
    await asyncio.sleep(1)
    assert not any(holder.asked for holder in holders[2 * ASKED_MAX :]), "what was wanted has come"


@virtual_time
async def test_who_began_to_wait_a_moment_ago_or_waits_no_more_is_not_asked() -> None:
    budget = MemoryBudget(100, reserve=0)
    await budget.take(100, timeout_s=1)
    loop = asyncio.get_running_loop()
    late, gone = Holder(budget, 50), Holder(budget, 50)
    waiting = asyncio.create_task(budget.take(50, timeout_s=60))
    await settle()
    began = loop.time()
    budget.rests(gone)
    budget.rests(late)
    budget.goes_on(gone)
    await waiting
    assert not gone.asked
    assert late.asked == [pytest.approx(began + IDLE_S)]


@virtual_time
async def test_those_who_hold_something_and_wait_for_more_give_way_too() -> None:
    budget = MemoryBudget(100, reserve=0)
    await budget.take(100, timeout_s=1)
    loop = asyncio.get_running_loop()
    first = asyncio.create_task(budget.wait(50, timeout_s=60, holds=True))
    rest = [asyncio.create_task(budget.wait(50, timeout_s=60, holds=True)) for _ in range(2 * ASKED_MAX)]
    assert await first is False
    assert loop.time() == pytest.approx(IDLE_S)
    await settle()
    assert sum(task.done() for task in rest) == ASKED_MAX - 1, "who is told so gives back, and others need not"
    budget.give_back(100)
    assert [await task for task in rest][ASKED_MAX - 1 :][:2] == [True, True]

"""Who waits for too long is told, at its time and once."""

from __future__ import annotations

import asyncio

from frontend.router.overdue import Overdue
from tests.support.virtual_loop import virtual_time

AFTER_S = 0.25


class Waiter:
    """Notes when it was told, and waits again as often as it is asked to."""

    def __init__(self, overdue: Overdue, again: int = 0) -> None:
        self.told_at: list[float] = []
        self._overdue = overdue
        self._again = again
        self.wait()

    def wait(self) -> None:
        self._overdue.watch(self, asyncio.get_running_loop().time())

    def overdue(self) -> None:
        self.told_at.append(round(asyncio.get_running_loop().time(), 3))
        if len(self.told_at) <= self._again:
            self.wait()


@virtual_time
async def test_each_is_told_at_its_time_and_once() -> None:
    overdue = Overdue(AFTER_S)
    first = Waiter(overdue)
    await asyncio.sleep(0.1)
    second, third = Waiter(overdue), Waiter(overdue)
    await asyncio.sleep(10)
    assert [each.told_at for each in (first, second, third)] == [[0.25], [0.35], [0.35]]


@virtual_time
async def test_who_waits_again_is_told_again() -> None:
    overdue = Overdue(AFTER_S)
    waiter = Waiter(overdue, again=2)
    await asyncio.sleep(0.1)
    other = Waiter(overdue)
    await asyncio.sleep(10)
    assert waiter.told_at == [0.25, 0.5, 0.75] and other.told_at == [0.35]


@virtual_time
async def test_who_waits_for_something_else_meanwhile_is_told_of_that_alone() -> None:
    waiter = Waiter(Overdue(AFTER_S))
    await asyncio.sleep(0.1)
    waiter.wait()
    await asyncio.sleep(10)
    assert waiter.told_at == [0.35]


@virtual_time
async def test_who_has_its_answer_is_told_nothing_and_forgotten() -> None:
    overdue = Overdue(AFTER_S)
    slow = Waiter(overdue)
    for _ in range(1000):
        quick = Waiter(overdue)
        overdue.forget(quick)
        overdue.forget(quick)
    assert len(overdue._until) == 1
    await asyncio.sleep(10)
    assert (slow.told_at, quick.told_at) == ([0.25], [])


@virtual_time
async def test_those_who_are_late_together_wait_again_together() -> None:
    overdue = Overdue(AFTER_S)
    first, second = Waiter(overdue), Waiter(overdue)
    first._again = second._again = 1
    await asyncio.sleep(10)
    assert first.told_at == second.told_at == [0.25, 0.5]

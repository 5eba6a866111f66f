"""How the awaiting client waits for threads, and for memory."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ambry.client.aio.waiting import AsyncMemoryGate, blocking


async def test_who_is_cancelled_goes_on_when_the_thread_is_done() -> None:
    """A download that was cancelled closed its file while a thread was writing into it."""
    began, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        began.set()
        go_on.wait()
        done.set()

    task = asyncio.create_task(blocking(write))
    await asyncio.to_thread(began.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


async def test_what_a_thread_raises_comes_out() -> None:
    def fail() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        await blocking(fail)


async def test_memory_is_held_by_as_many_as_there_is_for_in_their_order() -> None:
    gate, order = AsyncMemoryGate(10), []
    inside: set[int] = set()

    async def hold(number: int, size: int) -> None:
        async with gate.hold(size):
            order.append(number)
            inside.add(size)
            await asyncio.sleep(0)
            assert sum(inside) <= 100  # one that wants more than all gets all
            inside.discard(size)

    await asyncio.gather(*(hold(number, size) for number, size in enumerate((6, 100, 3, 4, 10, 1))))
    assert order == [0, 1, 2, 3, 4, 5]


async def test_one_who_gives_up_waiting_keeps_nothing() -> None:
    gate = AsyncMemoryGate(10)
    async with gate.hold(10):
        tasks = [asyncio.create_task(_held(gate, 4)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
    tasks[1].cancel()  # its turn has come, and it does not know it yet
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in results] == [True, True, False]
    async with asyncio.timeout(5), gate.hold(10):
        pass


async def _held(gate: AsyncMemoryGate, size: int) -> None:
    async with gate.hold(size):
        pass


def test_another_loop_begins_with_all() -> None:
    gate = AsyncMemoryGate(10)

    async def leave() -> None:
        await gate.hold(10).__aenter__()

    asyncio.run(leave())
    asyncio.run(_held(gate, 10))

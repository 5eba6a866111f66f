"""One timer for many deadlines."""

from __future__ import annotations

import asyncio

from ambry.network.deadline_timer import DeadlineTimer
from tests.support.eventually import eventually

LONG_S = 60.0


async def test_it_rings_once_for_the_first_deadline_and_again_when_it_is_set_again() -> None:
    loop = asyncio.get_running_loop()
    rung: list[float] = []
    timer = DeadlineTimer(loop, lambda: rung.append(loop.time()), rest_s=0.001)
    began = loop.time()
    for deadline in (began + LONG_S, began + 0.02, began + 0.04):
        timer.set(deadline, began)
    await eventually(lambda: rung)
    assert rung[0] >= began + 0.02 and timer.at > began + LONG_S
    timer.set(loop.time(), loop.time())
    await eventually(lambda: len(rung) == 2)
    timer.set(loop.time() + LONG_S, loop.time())
    timer.stop()
    assert timer.at > loop.time() + LONG_S


async def test_short_deadlines_one_after_the_other_do_not_put_it_off() -> None:
    loop = asyncio.get_running_loop()
    timer = DeadlineTimer(loop, lambda: None, rest_s=LONG_S)
    now = loop.time()
    for step in range(5):
        timer.set(now + step + 0.5, now + step)
        assert timer.at == now + LONG_S
    timer.stop()

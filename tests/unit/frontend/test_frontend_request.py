from __future__ import annotations

import asyncio

from frontend.request import RequestContext
from tests.support.virtual_loop import virtual_time


@virtual_time
async def test_the_deadline_comes_nearer_and_never_gets_negative() -> None:
    request = RequestContext(id="r", timeout_s=20.0, deadline=20.0)
    assert (request.deadline, request.left_s()) == (20.0, 20.0)
    await asyncio.sleep(15)
    assert request.left_s() == 5.0
    await asyncio.sleep(15)
    assert request.left_s() == 0.0


@virtual_time
async def test_a_stream_that_moves_has_the_whole_time_again() -> None:
    request = RequestContext(id="r", timeout_s=20.0, deadline=20.0)
    for _ in range(3):
        await asyncio.sleep(15)
        request.renew()
        assert request.left_s() == 20.0

"""Requests that wait."""

from __future__ import annotations

import asyncio
import inspect
from typing import cast

import pytest

from ambry.errors import ReplicaUnavailable
from ambry.network.later import Later
from ambry.network.serving import Responder
from tests.support.direct_node import Answer


async def test_what_is_given_up_before_it_began_is_closed() -> None:
    """A request and its cancellation that are read together left a coroutine that nobody ran, and a warning in the log."""

    async def work() -> None:
        raise AssertionError("it is done for nobody")

    never, answer = work(), Answer()
    Later(own_name="n").answer(cast(Responder, answer), never)
    assert answer.on_abandoned is not None
    answer.on_abandoned()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert inspect.getcoroutinestate(never) == inspect.CORO_CLOSED


async def test_waiting_requests_are_answered_when_the_process_stops() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    later, answer = Later(own_name="n"), Answer()
    later.answer(cast(Responder, answer), work())
    await begun.wait()
    await later.stop()
    with pytest.raises(ReplicaUnavailable, match="shutting down"):
        await answer.wait()

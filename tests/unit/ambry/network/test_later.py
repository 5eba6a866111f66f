"""Requests that wait."""

from __future__ import annotations

import asyncio
import inspect
from typing import cast

import pytest

from ambry.errors import Overloaded, ReplicaUnavailable
from ambry.network import later as later_module
from ambry.network.later import Later
from ambry.network.responding import Responder
from tests.support.captured_log import capture_log
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


async def test_a_request_that_runs_out_of_memory_while_it_waits_is_overloaded_and_no_bug(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch of gets for whose answer there was no memory was answered as a bug, with a traceback in the log."""
    events = capture_log(monkeypatch, later_module)

    async def work() -> None:
        raise MemoryError("no memory for 1048576 bytes")

    def call() -> None:
        raise MemoryError

    later = Later(own_name="n")
    waited, called = Answer(), Answer()
    later.answer(cast(Responder, waited), work())
    later.call(cast(Responder, called), call)
    for answer in (waited, called):
        with pytest.raises(Overloaded, match="n is out of memory"):
            await answer.wait()
    assert [(event["event"], event["log_level"]) for event in events] == [("no memory for a request", "warning")] * 2

"""Requests that wait."""

from __future__ import annotations

import asyncio
import inspect
from typing import cast

import pytest

from ambry.errors import ReplicaUnavailable
from ambry.network.serving import Responder
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.replication import ChangesCursor, ChangesRequest
from datanode.handlers.later import Later
from tests.support.direct_node import Answer, DirectNode
from tests.support.samples import PARTITION


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


async def test_waiting_requests_are_answered_when_the_node_stops(node: DirectNode) -> None:
    cursor = ChangesCursor(PARTITION, node.replica.store.incarnation, node.replica.store.end_lsn)
    waiting = node.send(MessageType.CHANGES, ChangesRequest([cursor], 10, 60_000, 0))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done
    await node.parts.later.stop()
    with pytest.raises(ReplicaUnavailable, match="shutting down"):
        await waiting.wait()

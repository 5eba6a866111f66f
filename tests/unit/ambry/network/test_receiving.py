"""Requests of many connections that come slowly, or too many at once: what they hold together, and who is served meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from ambry.errors import Overloaded
from ambry.network import requests as requests_module
from ambry.network.requests import REQUEST_OVERHEAD_BYTES, Requests
from ambry.network.responding import Responder
from ambry.network.serving import ServingConnection
from ambry.protocol.frame import Frame, MessageType, encode_head
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty
from tests.support.eventually import eventually
from tests.support.rpc_ends import LONG_S, Pair, RawClient

MIB = 1 << 20
BODY = bytes(4 * MIB)
PUT = encode_head(MessageType.PUT, 1, messages.encode(Empty()), BODY)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    made.requests = Requests(64 * MIB)
    await made.start()
    yield made
    made.stop()


async def begun(pair: Pair, count: int) -> list[RawClient]:
    """So many connections of which each began to put 4 MiB."""
    clients = [await pair.raw() for _ in range(count)]
    await eventually(lambda: len(pair.served) == count)
    for client, server in zip(clients, list(pair.served), strict=True):
        client.send(PUT + BODY[:MIB])
        await eventually(partial(_hears, server))
    return clients


def _hears(server: ServingConnection) -> bool:
    return server.pieces_received > 0


async def test_bodies_under_way_are_bounded_and_the_rest_is_refused_at_its_head(pair: Pair) -> None:
    """Each connection could have a body of 32 MiB under way, and nothing bounded the connections."""
    clients = await begun(pair, 12)
    # Nobody introduced itself: half of it is theirs.
    await eventually(lambda: pair.requests.bytes == 32 * MIB and pair.requests.refused == 4)
    for client in clients[8:]:
        frame = await client.frame()
        assert frame.correlation == 1
        assert type(messages.error_of(frame.header)) is Overloaded
    assert pair.answered == [(MessageType.PUT, "Overloaded")] * 4
    # What is refused is passed over, and the connection goes on.
    clients[-1].send(BODY[MIB:] + encode_head(MessageType.PING, 2, messages.encode(Empty())))
    assert (await clients[-1].frame()).correlation == 2
    # What was let in is served when it is here, and room comes back.
    clients[0].send(BODY[MIB:])
    assert (await clients[0].frame()).correlation == 1
    await eventually(lambda: pair.requests.bytes == 28 * MIB)
    clients[8].send(BODY[MIB:] + PUT + BODY)
    assert not (await clients[8].frame()).flags & 2
    for client in clients[1:8]:
        client.writer.close()
    await eventually(lambda: pair.requests.bytes == 0)


async def test_whoever_is_known_and_small_requests_find_room_while_strangers_hold_theirs(pair: Pair) -> None:
    await begun(pair, 12)
    await eventually(lambda: pair.requests.bytes == 32 * MIB)
    client = await pair.raw()
    await eventually(lambda: len(pair.served) == 13)
    client.send(encode_head(MessageType.PUT, 1, messages.encode(Empty()), BODY[:100_000]) + BODY[:100_000])
    assert not (await client.frame()).flags & 2
    pair.served[12].known = True
    client.send(PUT + BODY)
    assert not (await client.frame()).flags & 2


async def test_those_that_let_theirs_come_slowly_make_room(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "SLOW_AFTER_S", 0.0)
    monkeypatch.setattr(requests_module, "SLOW_BYTES_PER_S", 1 << 40)
    clients = await begun(pair, 8)
    late = await pair.raw()
    late.send(PUT + BODY)
    assert not (await late.frame()).flags & 2
    ended = [client for client in clients if client.at_end()]
    await eventually(lambda: sum(client.at_end() for client in clients) == 1)
    assert len(ended) <= 1


async def test_what_is_not_answered_counts_with_what_it_takes_beside(pair: Pair) -> None:
    held: list[Responder] = []
    pair.handler = lambda frame, responder: held.append(responder)
    client = await pair.client()
    call = client.call(MessageType.PUT, Empty(), lambda _: None, timeout_s=LONG_S, body=b"1234")
    assert call is not None
    await eventually(lambda: len(held) == 1)
    assert pair.requests.bytes == len(messages.encode(Empty())) + 4 + REQUEST_OVERHEAD_BYTES
    held[0].reply(Empty())
    assert pair.requests.bytes == 0


async def test_more_small_requests_than_there_is_room_for_are_refused(pair: Pair) -> None:
    held: list[Responder] = []

    def handler(frame: Frame, responder: Responder) -> None:
        if frame.type == MessageType.PUT:
            held.append(responder)
        else:
            responder.reply(Empty())

    pair.handler = handler
    client = await pair.client()
    pair.requests.bytes = 56 * MIB
    outcome: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    client.call(MessageType.PUT, Empty(), outcome.set_result, timeout_s=LONG_S, body=bytes(10_000))
    assert isinstance(await outcome, Overloaded)
    await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert pair.requests.bytes == 56 * MIB
    assert held == []

"""What a peer that does not read its answers can make a data node hold: reads are admitted by their size before they begin.

16 KB of get frames whose answers nobody read took a data node from 32 to 1,635 MB.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ambry.errors import ProtocolViolation
from ambry.network.connection import RpcConnection
from ambry.network.serving import ServingConnection
from ambry.network.unread import UNREAD_MAX
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages.base import IDS_MAX, Hello, Message
from ambry.protocol.messages.blobs import GetRequest, PresenceRequest
from ambry.protocol.messages.replication import ChangesCursor, ChangesRequest, FetchRequest, Subscription
from ambry.protocol.messages.upkeep import FatesRequest
from tests.support.direct_node import DirectNode
from tests.support.eventually import eventually
from tests.support.rpc_ends import LONG_S, Outcomes
from tests.support.samples import PARTITION, blob_id, content

SIZE = 2 << 20
BLOBS = 8
KERNEL_BYTES = 8 << 20
"""No more than this stands in sockets."""
HEADS_BYTES = 64 << 10
"""Nor so much before the bodies of all answers that are made: answers are admitted by the sizes of those."""


@asynccontextmanager
async def unread(node: DirectNode) -> AsyncIterator[tuple[RpcConnection, ServingConnection]]:
    """A caller that reads nothing until its transport is told to, and the end that serves it."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    _, server = await loop.create_connection(lambda: ServingConnection(handlers=node.parts.handlers), sock=theirs)
    transport, client = await loop.create_connection(RpcConnection, sock=ours)
    transport.pause_reading()
    yield client, server
    client.abort()
    server.abort()


@pytest.mark.parametrize(
    ("type", "message", "count"),
    [
        (MessageType.GET, GetRequest("r", blob_id(1), 0, SIZE), 60),
        (MessageType.FETCH, FetchRequest(PARTITION, [blob_id(number) for number in range(BLOBS)], BLOBS * SIZE), 8),
    ],
    ids=["get", "fetch"],
)
async def test_reads_whose_answers_nobody_takes_do_not_begin(
    node: DirectNode, type: MessageType, message: Message, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(BLOBS):
        await node.put(blob_id(number), content(number, SIZE))
    node.files.cache_cold = True
    read_bytes = 0
    pread = node.parts.replicas[PARTITION].store.read
    image = node.parts.replicas[PARTITION].store.read_image

    def counted_read(*args: object, **more: object) -> object:
        nonlocal read_bytes
        read_bytes += SIZE
        return pread(*args, **more)  # type: ignore[arg-type]

    def counted_image(*args: object) -> object:
        nonlocal read_bytes
        read_bytes += SIZE
        return image(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(node.parts.replicas[PARTITION].store, "read", counted_read)
    monkeypatch.setattr(node.parts.replicas[PARTITION].store, "read_image", counted_image)
    async with unread(node) as (client, server):
        outcomes = Outcomes()
        for number in range(count):
            client.call(type, message, outcomes.of(number), timeout_s=LONG_S)
        # Some are answered, and every other one waits for those to be read.
        await eventually(lambda: read_bytes and len(server._open) == len(server._unbegun) + len(server._asking))
        assert server._open
        assert server.unread_bytes <= UNREAD_MAX + HEADS_BYTES
        assert read_bytes <= UNREAD_MAX + KERNEL_BYTES
        assert client._transport is not None
        client._transport.resume_reading()
        await outcomes.wait(count)
        assert outcomes.errors() == [None] * count
        got = outcomes.got[0][0]
        assert isinstance(got, Frame)
        assert len(got.body) >= SIZE


async def test_what_is_read_at_once_is_bounded_as_well(node: DirectNode) -> None:
    await node.put(blob_id(1), content(1, 1 << 20))
    async with unread(node) as (client, server):
        outcomes = Outcomes()
        for number in range(120):
            client.call(MessageType.GET, GetRequest("r", blob_id(1), 0, 1 << 20), outcomes.of(number), timeout_s=LONG_S)
        await eventually(lambda: server._open and len(server._open) == len(server._unbegun) + len(server._asking))
        assert server.unread_bytes <= UNREAD_MAX + HEADS_BYTES
        assert client._transport is not None
        client._transport.resume_reading()
        await outcomes.wait(120)
        assert outcomes.errors() == [None] * 120


MANY = IDS_MAX + 1


@pytest.mark.parametrize(
    ("type", "message"),
    [
        (MessageType.PRESENCE, PresenceRequest("r", [blob_id(1)] * MANY)),
        (MessageType.FATES, FatesRequest([blob_id(1)] * MANY)),
        (MessageType.FETCH, FetchRequest(PARTITION, [blob_id(1)] * MANY, 1)),
        (MessageType.GET, GetRequest("r" * 1_000_000, blob_id(1), 0, 0)),
        (MessageType.HELLO, Hello("c" * 1_000_000, "n")),
        (MessageType.CHANGES, ChangesRequest([ChangesCursor(PARTITION, b"i" * 1_000, 0)], 1, 0, 0)),
        (MessageType.CHANGES, ChangesRequest([], 1, 0, 0, "a1", Subscription(999, 1, 0))),
        (MessageType.CHANGES, ChangesRequest([ChangesCursor(PARTITION, b"", 0)] * 70_000, 1, 0, 0)),
    ],
    ids=lambda value: "" if isinstance(value, Message) else value.name,
)
async def test_a_request_for_more_than_one_turn_of_the_event_loop_is_refused(
    node: DirectNode, type: MessageType, message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million ids in one request kept a data node from everything else for nine seconds."""
    looked_up = 0

    def lookup(blob: bytes) -> None:
        nonlocal looked_up
        looked_up += 1

    monkeypatch.setattr(node.replica.store, "lookup", lookup)
    with pytest.raises(ProtocolViolation):
        await node.ask(type, message)
    assert not looked_up

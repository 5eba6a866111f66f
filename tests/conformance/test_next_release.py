"""A process of this release and one of the next work together (F42), over real connections and with a real store.

The next release is played (tests/support/next_release.py); whole processes of both are in tests/fault/test_rolling_upgrade.py.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS
from ambry.checksum import digest
from ambry.clustermap.model import Node
from ambry.errors import AmbryError, NotUnderstood, ReleaseMismatch
from ambry.network.introduction import RPC_VERSION_MAX
from ambry.network.pool import Peer, PeerPool
from ambry.network.responding import Responder
from ambry.network.serving import ServingConnection
from ambry.protocol.frame import FLAG_REPLY, Frame, MessageType, encode_head
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello, Pong
from ambry.protocol.messages.blobs import GetReply, GetRequest, PutRequest
from tests.support.eventually import eventually
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.introductions import introduction
from tests.support.next_release import LATER_FLAG, LATER_TYPE, RELEASE, later_hello, of_next_release
from tests.support.node_parts import LONE, lone_map, lone_node, store_section
from tests.support.rpc_ends import LONG_S, RawClient
from tests.support.samples import ALIVE, blob_id

ID = blob_id(1)
PAYLOAD = b"of whichever release"
PUT = PutRequest("r", ID, 1, 123, NEVER_MS, b"\x01\x80", b"", digest(PAYLOAD), True)


class NextCaller:
    """A frontend of the next release."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._number = 0

    async def ask(self, type: int, header: bytes, body: bytes = b"", *, flags: int = 0) -> Frame:
        """The reply. Raises the error that came instead."""
        self._number += 1
        head = encode_head(type, self._number, header, body, flags=flags, timeout_ms=60_000, sent_ms=1 + self._number)
        self._client.send(head + body)
        frame = await self._client.frame()
        assert frame.correlation == self._number
        if frame.flags != FLAG_REPLY:
            raise messages.error_of(frame.header)
        return frame


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[NextCaller]:
    """Connected to a data node of this release."""
    parts = lone_node(
        FakeFiles(tmp_path),
        tmp_path / "data",
        clock=SettableClock(),
        cluster_map=lone_map(),
        store=store_section(segment_size_bytes=4 << 20),
    )
    await parts.open_replicas()
    served: list[ServingConnection] = []

    def accept() -> ServingConnection:
        served.append(ServingConnection(handlers=parts.handlers, tally=parts.counts))
        return served[-1]

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    yield NextCaller(RawClient(reader, writer))
    writer.close()
    server.close()
    for connection in served:
        connection.abort()
    await parts.later.stop()
    await parts.close()


async def test_a_caller_of_the_next_release_is_served(caller: NextCaller) -> None:
    greeting = of_next_release(later_hello(introduction("f1").hello(LONE.name)))
    answer = messages.decode((await caller.ask(MessageType.HELLO, greeting)).header, Hello)
    assert (answer.name, answer.version_max) == (LONE.name, RPC_VERSION_MAX)
    assert "teleport" not in answer.features  # so the caller does not use it here
    await caller.ask(MessageType.PUT, of_next_release(PUT), PAYLOAD)
    frame = await caller.ask(MessageType.GET, of_next_release(GetRequest("r", ID, 0, 1000)))
    assert bytes(frame.body) == PAYLOAD
    assert messages.decode(frame.header, GetReply).digest == PUT.digest


async def test_what_only_the_next_release_knows_is_told_apart_and_the_caller_falls_back(caller: NextCaller) -> None:
    with pytest.raises(NotUnderstood, match=f"type {LATER_TYPE} with flags 0x00"):
        await caller.ask(LATER_TYPE, of_next_release(Empty()), PAYLOAD)
    with pytest.raises(NotUnderstood, match=f"type {int(MessageType.PUT)} with flags 0x40"):
        await caller.ask(MessageType.PUT, of_next_release(PUT), PAYLOAD, flags=LATER_FLAG)
    with pytest.raises(AmbryError, match="does not hold"):
        await caller.ask(MessageType.GET, of_next_release(GetRequest("r", ID, 0, 1000)))  # nothing of it was done
    await caller.ask(MessageType.PUT, of_next_release(PUT), PAYLOAD)
    frame = await caller.ask(MessageType.GET, of_next_release(GetRequest("r", ID, 0, 1000)))
    assert bytes(frame.body) == PAYLOAD


async def test_a_caller_that_speaks_no_version_of_ours_is_told_both(caller: NextCaller) -> None:
    greeting = of_next_release(
        introduction("f1").hello(LONE.name), version_min=RPC_VERSION_MAX + 1, version_max=RPC_VERSION_MAX + 2
    )
    with pytest.raises(
        ReleaseMismatch, match=f"1 to {RPC_VERSION_MAX} of the RPC, f1 .* speaks {RPC_VERSION_MAX + 1} to"
    ):
        await caller.ask(MessageType.HELLO, greeting)


class NextNode(ServingConnection):
    """A data node of the next release. It answers with more fields, and with a flag of its own where it is asked for blob 2.

    It has something to ask of its callers, too, that they do not know.
    """

    def __init__(self) -> None:
        super().__init__(
            handlers={MessageType.HELLO: self._hello, MessageType.PING: self._ping, MessageType.GET: self._get}
        )

    def _send_reply(self, responder: Responder, header: bytes, body: bytes = b"", *, flags: int = FLAG_REPLY) -> None:
        frame = responder.frame
        del self._open[frame.correlation]
        self._send(encode_head(frame.type, frame.correlation, header, body, flags=flags), body)

    def _hello(self, _frame: Frame, responder: Responder) -> None:
        self._send_reply(responder, of_next_release(later_hello(introduction(LONE.name).hello())))
        self._send(encode_head(LATER_TYPE, 1 << 50, b""), b"")

    def _ping(self, _frame: Frame, responder: Responder) -> None:
        self._send_reply(responder, of_next_release(Pong(1)))

    def _get(self, frame: Frame, responder: Responder) -> None:
        reply = GetReply(ALIVE, True, 1, 123, b"", b"", PUT.digest, len(PAYLOAD), 0)
        later = messages.decode(frame.header, GetRequest).id == blob_id(2)
        flags = FLAG_REPLY | LATER_FLAG if later else FLAG_REPLY
        self._send_reply(responder, of_next_release(reply), PAYLOAD, flags=flags)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A data node of the next release, as this release sees it."""
    served: list[NextNode] = []

    def accept() -> NextNode:
        served.append(NextNode())
        return served[-1]

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    node = Node(name=LONE.name, datacenter="dc1", datacenter_id=1, host="127.0.0.1", port=port)
    pool = PeerPool([node], introduction=introduction(), random_source=random.Random(1))
    pool.start()
    await eventually(lambda: pool[LONE.name].usable)
    yield pool[LONE.name]
    assert len(served) == 1, "nothing of the next release may cost a connection"
    await pool.stop()
    server.close()


async def get(peer: Peer, raw_id: bytes) -> GetReply:
    ended: asyncio.Future[Frame | AmbryError] = asyncio.get_running_loop().create_future()
    peer.call(MessageType.GET, GetRequest("r", raw_id, 0, 1000), ended.set_result, timeout_s=LONG_S)
    outcome = await ended
    if isinstance(outcome, AmbryError):
        raise outcome
    assert bytes(outcome.body) == PAYLOAD
    return messages.decode(outcome.header, GetReply)


async def test_a_node_of_the_next_release_is_used(peer: Peer) -> None:
    assert peer.hello is not None
    assert (peer.hello.release, peer.hello.version_max) == (RELEASE, RPC_VERSION_MAX + 1)
    for _ in range(3):
        assert (await get(peer, ID)).digest == PUT.digest
    await peer.request(MessageType.PING, Empty(), timeout_s=LONG_S)


async def test_an_answer_that_only_the_next_release_understands_ends_its_call_alone(peer: Peer) -> None:
    answers = await asyncio.gather(get(peer, ID), get(peer, blob_id(2)), get(peer, ID), return_exceptions=True)
    assert isinstance(answers[1], NotUnderstood)
    assert [isinstance(answer, GetReply) for answer in answers] == [True, False, True]

"""One RPC connection over a real loopback socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ambry.errors import (
    BlobNotFound,
    DeadlineExceeded,
    NotUnderstood,
    Overloaded,
    PeerConnectionLost,
    ProtocolViolation,
)
from ambry.network import connection as connection_module
from ambry.network.connection import RpcConnection
from ambry.network.inflow import TURN_BYTES
from ambry.network.responding import Responder
from ambry.protocol.frame import BODY_SIZE_MAX, FLAG_REPLY, HEADER_SIZE_MAX, Frame, MessageType, encode_head
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello
from ambry.protocol.messages.blobs import GetRequest
from tests.support.eventually import eventually
from tests.support.rpc_ends import LONG_S, Outcome, Outcomes, Pair

ID = b"i" * 36


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    await made.start()
    yield made
    made.stop()


async def test_answers_find_their_calls_in_any_order(pair: Pair) -> None:
    waiting: list[tuple[Frame, Responder]] = []
    all_here = asyncio.Event()

    def handler(frame: Frame, responder: Responder) -> None:
        waiting.append((frame, responder))
        if len(waiting) == 20:
            all_here.set()

    pair.handler = handler
    client = await pair.client()
    calls = [
        asyncio.ensure_future(client.request(MessageType.HELLO, Hello("c", str(number)), timeout_s=LONG_S))
        for number in range(20)
    ]
    await all_here.wait()
    for frame, responder in reversed(waiting):
        responder.reply(messages.decode(frame.header, Hello), b"body of " + frame.header)
    for number, frame in enumerate(await asyncio.gather(*calls)):
        assert messages.decode(frame.header, Hello).name == str(number)
        assert bytes(frame.body) == b"body of " + frame.header
    assert client.in_flight_bytes == 0


@pytest.mark.parametrize("size", [0, 1, 20_000, 5_000_000])
async def test_bodies_of_any_size_go_both_ways(pair: Pair, size: int) -> None:
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    pair.handler = lambda frame, responder: responder.reply(Empty(), frame.body, frame.checks)
    client = await pair.client()
    outcomes = Outcomes()
    client.call(MessageType.PUT, Empty(), outcomes.of(1), timeout_s=LONG_S, body=memoryview(body))
    await outcomes.wait(1)
    (frame,) = outcomes.got[1]
    assert isinstance(frame, Frame)
    assert bytes(frame.body) == body


async def test_an_error_answer_becomes_that_error(pair: Pair) -> None:
    def refuse(frame: Frame, responder: Responder) -> None:
        raise BlobNotFound("not here")

    pair.handler = refuse
    client = await pair.client()
    with pytest.raises(BlobNotFound, match="not here"):
        await client.request(MessageType.GET, GetRequest("r", ID, 0, 1), timeout_s=LONG_S)
    pair.handler = lambda frame, responder: responder.fail(Overloaded("busy"))
    with pytest.raises(Overloaded, match="busy"):
        await client.request(MessageType.GET, GetRequest("r", ID, 0, 1), timeout_s=LONG_S)


async def test_a_caller_that_fails_at_its_answer_leaves_the_other_calls_alone(pair: Pair) -> None:
    """After one of them no deadline of that connection fired any more, and a lost connection told only half of its callers."""
    held: list[Responder] = []

    def hold(frame: Frame, responder: Responder) -> None:
        if frame.timeout_ms > 10:  # those of 10 ms may come in time or not
            held.append(responder)

    pair.handler = hold
    client = await pair.client()
    outcomes = Outcomes()

    def fails(_outcome: object) -> None:
        raise RuntimeError("a bug of the caller's")

    def call(number: int, timeout_s: float) -> None:
        client.call(MessageType.PING, Empty(), fails, timeout_s=timeout_s)
        client.call(MessageType.PING, Empty(), outcomes.of(number), timeout_s=timeout_s)

    call(1, 0.01)
    await outcomes.wait(1)
    call(2, 0.01)
    await outcomes.wait(2)
    call(3, LONG_S)
    await eventually(lambda: len(held) == 2)
    for responder in held:
        responder.reply(Empty())
    await outcomes.wait(3)
    assert client.in_flight_bytes == 0
    call(4, LONG_S)
    client.abort()
    await outcomes.wait(4)
    assert [type(error) for error in outcomes.errors()] == [
        DeadlineExceeded,
        DeadlineExceeded,
        type(None),
        PeerConnectionLost,
    ]


async def test_a_call_that_may_take_long_is_not_looked_at_before_its_time_and_keeps_no_other_from_its_own(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long polls were looked at twenty times a second, each: half of what a node at rest cost."""
    looks = 0
    original = RpcConnection._expire

    def expire(self: RpcConnection) -> None:
        nonlocal looks
        looks += 1
        original(self)

    monkeypatch.setattr(RpcConnection, "_expire", expire)
    monkeypatch.setattr(connection_module, "SWEEP_S", 0.001)
    pair.handler = lambda frame, responder: None
    client = await pair.client()
    outcomes = Outcomes()
    looks = 0
    client.call(MessageType.PING, Empty(), outcomes.of(1), timeout_s=LONG_S)
    client.call(MessageType.PING, Empty(), outcomes.of(2), timeout_s=0.2)
    client.call(MessageType.PING, Empty(), outcomes.of(3), timeout_s=0.1)
    client.call(MessageType.PING, Empty(), outcomes.of(4), timeout_s=0.3)
    await outcomes.wait(3)
    assert sorted(outcomes.got) == [2, 3, 4]
    assert looks <= 6, "one for each of them, and where the clock of the loop ran ahead a second one"


async def test_a_deadline_ends_a_call_once_and_a_late_answer_is_dropped(pair: Pair) -> None:
    held: list[Responder] = []
    pair.handler = lambda frame, responder: held.append(responder)
    client = await pair.client()
    outcomes = Outcomes()
    client.call(MessageType.PUT, Empty(), outcomes.of(1), timeout_s=0.01, body=b"x" * 100)
    assert client.in_flight_bytes == 100
    await outcomes.wait(1)
    assert [type(error) for error in outcomes.errors()] == [DeadlineExceeded]
    assert client.in_flight_bytes == 100  # the peer holds it still
    held[0].reply(Empty())
    pair.handler = lambda frame, responder: responder.reply(Empty())
    await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert client.in_flight_bytes == 0
    assert [type(error) for error in outcomes.errors()] == [DeadlineExceeded]


@pytest.mark.parametrize("end", ["server aborts", "server closes", "client aborts"])
async def test_a_lost_connection_ends_every_call_once(pair: Pair, end: str) -> None:
    arrived = asyncio.Event()
    count = 0

    def handler(frame: Frame, responder: Responder) -> None:
        nonlocal count
        count += 1
        if count == 10:
            arrived.set()

    pair.handler = handler
    client = await pair.client()
    outcomes = Outcomes()
    for number in range(10):
        client.call(MessageType.PING, Empty(), outcomes.of(number), timeout_s=LONG_S, body=b"x")
    await arrived.wait()
    {"server aborts": pair.served[0].abort, "server closes": pair.served[0].close, "client aborts": client.abort}[end]()
    await outcomes.wait(10)
    assert [type(error) for error in outcomes.errors()] == [PeerConnectionLost] * 10
    assert client.in_flight_bytes == 0
    assert pair.lost.is_set()
    client.call(MessageType.PING, Empty(), outcomes.of(99), timeout_s=LONG_S)
    assert type(outcomes.got[99][0]) is PeerConnectionLost
    with pytest.raises(PeerConnectionLost):
        await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)


async def test_bytes_in_flight_are_bounded_but_one_call_always_goes(pair: Pair) -> None:
    held: list[Responder] = []
    arrived = asyncio.Event()

    def hold(frame: Frame, responder: Responder) -> None:
        held.append(responder)
        arrived.set()

    pair.handler = hold
    client = await pair.client(in_flight_bytes_max=1000)
    outcomes = Outcomes()
    client.call(MessageType.PUT, Empty(), outcomes.of(1), timeout_s=LONG_S, body=bytes(5000))
    client.call(MessageType.PUT, Empty(), outcomes.of(2), timeout_s=LONG_S, body=b"x")
    assert type(outcomes.got[2][0]) is Overloaded
    await arrived.wait()
    held[0].reply(Empty())
    await outcomes.wait(2)
    assert client.in_flight_bytes == 0
    for number in (3, 4):
        client.call(MessageType.PUT, Empty(), outcomes.of(number), timeout_s=LONG_S, body=bytes(500))
    client.call(MessageType.PUT, Empty(), outcomes.of(5), timeout_s=LONG_S, body=b"x")
    assert type(outcomes.got[5][0]) is Overloaded
    assert client.in_flight_bytes == 1000


async def test_a_call_that_cannot_be_sent_leaves_no_trace(pair: Pair) -> None:
    """It used to be counted, and to be answered a second time at its deadline."""
    client = await pair.client()
    outcomes = Outcomes()
    with pytest.raises(ProtocolViolation):
        client.call(MessageType.PUT, Hello("c" * (HEADER_SIZE_MAX + 1), "n"), outcomes.of(1), timeout_s=0.01)
    with pytest.raises(ProtocolViolation):
        client.call(MessageType.PUT, Empty(), outcomes.of(1), timeout_s=0.01, body=bytes(BODY_SIZE_MAX + 1), checks=b"")
    assert client.in_flight_bytes == 0
    await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert outcomes.got == {}


async def test_a_cancelled_request_harms_nobody(pair: Pair) -> None:
    held: list[Responder] = []
    arrived = asyncio.Event()

    def hold(frame: Frame, responder: Responder) -> None:
        held.append(responder)
        arrived.set()

    pair.handler = hold
    client = await pair.client()
    task = asyncio.ensure_future(client.request(MessageType.PING, Empty(), timeout_s=LONG_S))
    await arrived.wait()
    task.cancel()
    held[0].reply(Empty())
    pair.handler = lambda frame, responder: responder.reply(Empty())
    await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)


async def test_garbage_closes_the_connection(pair: Pair) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n" + bytes(100))
    assert await asyncio.wait_for(_read_to_end(reader), 20) == b""
    writer.close()


async def _read_to_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_a_garbled_answer_ends_the_calls(pair: Pair) -> None:
    loop = asyncio.get_running_loop()

    class Liar(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            self.transport.write(bytes(200))

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

    liar = await loop.create_server(Liar, "127.0.0.1", 0)
    _, client = await loop.create_connection(RpcConnection, "127.0.0.1", liar.sockets[0].getsockname()[1])
    with pytest.raises(PeerConnectionLost):
        await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    liar.close()


async def test_a_caller_answers_no_requests(pair: Pair) -> None:
    client = await pair.client()
    await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    with pytest.raises(NotUnderstood, match="answers no requests"):
        await pair.served[0].request(MessageType.PING, Empty(), timeout_s=LONG_S)


async def test_frames_of_one_turn_arrive_whole_and_in_order(pair: Pair) -> None:
    seen: list[str] = []

    def handler(frame: Frame, responder: Responder) -> None:
        seen.append(messages.decode(frame.header, Hello).name)
        responder.reply(Empty())

    pair.handler = handler
    client = await pair.client()
    outcomes = Outcomes()
    for number in range(200):
        client.call(
            MessageType.HELLO,
            Hello("c", str(number)),
            outcomes.of(number),
            timeout_s=LONG_S,
            body=bytes(number * 37 % 3000),
        )
    await outcomes.wait(200)
    assert outcomes.errors() == [None] * 200
    assert seen == [str(number) for number in range(200)]


class StoppedPeer:
    """Accepts, and reads nothing: as a process that is stopped."""

    async def start(self) -> int:
        loop = asyncio.get_running_loop()
        self.transports: list[asyncio.Transport] = []
        stopped = self

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                transport.pause_reading()
                stopped.transports.append(transport)

        self._server = await loop.create_server(Protocol, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        for transport in self.transports:
            transport.abort()
        self._server.close()


async def test_a_stopped_peer_holds_no_more_of_the_callers_memory_than_the_bound() -> None:
    """What calls had sent whose time was up counted no more, though it stood in the buffers still: 100 MB and more."""
    peer = StoppedPeer()
    port = await peer.start()
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: RpcConnection(in_flight_bytes_max=8 << 20), "127.0.0.1", port)
    ended: list[type[Outcome]] = []
    for _ in range(4):
        for _ in range(16):
            client.call(
                MessageType.PUT,
                Empty(),
                lambda outcome: ended.append(type(outcome)),
                timeout_s=0.01,
                body=bytes(1 << 20),
            )
        await eventually(lambda: not client._calls)
    assert client.in_flight_bytes <= 8 << 20
    assert client._transport is not None
    assert client._transport.get_write_buffer_size() <= 9 << 20
    assert ended.count(DeadlineExceeded) == 8
    assert ended.count(Overloaded) == 64 - 8
    client.abort()
    await eventually(lambda: client._transport is None)
    assert client.in_flight_bytes == 0
    peer.stop()


async def test_a_caller_keeps_to_what_the_peer_takes(pair: Pair) -> None:
    held: list[Responder] = []
    pair.handler = lambda frame, responder: held.append(responder)
    client = await pair.client()
    client.obey(Hello("c", "n", requests_max=3, bytes_max=1000))
    outcomes = Outcomes()
    for number in range(1, 5):
        client.call(MessageType.PUT, Empty(), outcomes.of(number), timeout_s=LONG_S, body=b"x" * 300)
    assert [type(outcome) for outcome in outcomes.got[4]] == [Overloaded]
    # Pings and the like pass all the same: they find out whether it is there.
    ping = asyncio.ensure_future(client.request(MessageType.PING, Empty(), timeout_s=LONG_S))
    await eventually(lambda: len(held) == 4)
    for responder in held:
        responder.reply(Empty())
    await ping
    client.call(MessageType.PUT, Empty(), outcomes.of(5), timeout_s=LONG_S, body=b"x" * 900)
    client.call(MessageType.PUT, Empty(), outcomes.of(6), timeout_s=LONG_S, body=b"x" * 101)
    assert [type(outcome) for outcome in outcomes.got[6]] == [Overloaded]


@pytest.mark.parametrize("features", [(), ("cancel",)])
async def test_a_call_that_is_cancelled_ends_without_a_word_and_tells_a_peer_that_understands(
    pair: Pair, features: tuple[str, ...]
) -> None:
    held: list[Responder] = []
    pair.handler = lambda frame, responder: held.append(responder)
    client = await pair.client()
    client.obey(Hello("c", "n", features=features))
    outcomes = Outcomes()
    call = client.call(MessageType.GET, Empty(), outcomes.of(1), timeout_s=LONG_S)
    assert call is not None
    await eventually(lambda: len(held) == 1)
    call.cancel()
    call.cancel()
    pair.handler = lambda frame, responder: responder.reply(Empty())
    await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert held[0].abandoned == bool(features)
    held[0].reply(Empty())
    await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert outcomes.got == {}
    assert not client._given_up


async def test_an_answer_with_flags_of_a_later_release_ends_its_call_alone(pair: Pair) -> None:
    held: list[Responder] = []
    pair.handler = lambda frame, responder: held.append(responder)
    client = await pair.client()
    outcomes = Outcomes()
    for number in (1, 2):
        client.call(MessageType.GET, Empty(), outcomes.of(number), timeout_s=LONG_S)
    await eventually(lambda: len(held) == 2)
    correlation = held[0].frame.correlation
    held[0].connection._send(encode_head(MessageType.GET, correlation, b"", flags=FLAG_REPLY | 64), b"")
    held[1].reply(Empty())
    await outcomes.wait(2)
    assert [type(error) for error in outcomes.errors()] == [NotUnderstood, type(None)]


async def test_large_answers_that_come_together_are_read_over_many_turns_of_the_loop(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten answers of 4 MiB that came together were read in one turn, of 20 ms, and everybody else waited for that."""
    size, peers = 4 << 20, 6
    pair.handler = lambda frame, responder: responder.reply(Empty(), bytes(size))
    clients = [await pair.client() for _ in range(peers)]
    read_in_turn = [0]
    read = RpcConnection.buffer_updated

    def note(connection: RpcConnection, nbytes: int) -> None:
        if connection in clients:
            read_in_turn[-1] += nbytes
        read(connection, nbytes)

    monkeypatch.setattr(RpcConnection, "buffer_updated", note)
    outcomes = Outcomes()
    for number, client in enumerate(clients):
        client.call(MessageType.GET, GetRequest("r", ID, 0, 1), outcomes.of(number), timeout_s=LONG_S)
    while len(outcomes.got) < peers:
        await asyncio.sleep(0)
        read_in_turn.append(0)
    assert sum(read_in_turn) > size * peers
    assert max(read_in_turn) <= (1 + peers) * TURN_BYTES, "each reads once more before it is its turn"
    late = sorted(read_in_turn, reverse=True)[peers:]
    assert late[0] <= 2 * TURN_BYTES, "of those who wait one reads on in a turn"

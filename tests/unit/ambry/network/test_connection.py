"""One RPC connection over a real loopback socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from ambry.errors import (
    AmbryError,
    BlobNotFound,
    DeadlineExceeded,
    InternalError,
    Overloaded,
    PeerConnectionLost,
    ProtocolViolation,
)
from ambry.network import connection as module
from ambry.network.connection import Responder, RpcConnection
from ambry.protocol.frame import BODY_SIZE_MAX, HEADER_SIZE_MAX, Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello
from ambry.protocol.messages.blobs import GetRequest, PresenceReply
from tests.support.eventually import eventually

Outcome = Frame | AmbryError
LONG_S = 60.0
ID = b"i" * 36


class Pair:
    """A server whose handler a test sets, and clients connected to it."""

    def __init__(self) -> None:
        self.handler: Callable[[Frame, Responder], None] = lambda frame, responder: responder.reply(Empty())
        self.answered: list[tuple[int, str]] = []
        """Type and outcome of what the server answered."""
        self.served: list[RpcConnection] = []
        self.server: asyncio.Server
        self.lost = asyncio.Event()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()

        def accept() -> RpcConnection:
            made = RpcConnection(
                handlers=dict.fromkeys(MessageType, lambda frame, responder: self.handler(frame, responder)),
                on_answered=self._note_answered,
            )
            self.served.append(made)
            return made

        self.server = await loop.create_server(accept, "127.0.0.1", 0)

    def _note_answered(self, type: int, error: AmbryError | None, seconds: float) -> None:
        assert 0 <= seconds < LONG_S
        self.answered.append((type, "ok" if error is None else error.__class__.__name__))

    @property
    def port(self) -> int:
        return int(self.server.sockets[0].getsockname()[1])

    async def client(self, **options: int) -> RpcConnection:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(
            lambda: RpcConnection(on_lost=lambda _: self.lost.set(), **options),  # type: ignore[arg-type]
            "127.0.0.1",
            self.port,
        )
        return made


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    await made.start()
    yield made
    for connection in made.served:
        connection.abort()
    made.server.close()


class Outcomes:
    """Collects the outcomes of calls; each must come once."""

    def __init__(self) -> None:
        self.got: dict[int, list[Outcome]] = {}
        self._more = asyncio.Event()

    def of(self, number: int) -> Callable[[Outcome], None]:
        def done(outcome: Outcome) -> None:
            self.got.setdefault(number, []).append(outcome)
            self._more.set()

        return done

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.got) < count:
                self._more.clear()
                await self._more.wait()

    def errors(self) -> list[AmbryError | None]:
        assert all(len(outcomes) == 1 for outcomes in self.got.values()), "done was called twice"
        return [outcome if isinstance(outcome, AmbryError) else None for _, (outcome,) in sorted(self.got.items())]


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


async def test_a_bug_in_a_handler_is_an_internal_error_and_the_connection_goes_on(pair: Pair) -> None:
    def broken(frame: Frame, responder: Responder) -> None:
        raise KeyError("secret detail")

    pair.handler = broken
    client = await pair.client()
    with pytest.raises(InternalError) as caught:
        await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert "secret" not in str(caught.value)
    pair.handler = lambda frame, responder: responder.reply(Empty())
    await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)


async def test_a_request_is_answered_once_whatever_its_handler_does(pair: Pair) -> None:
    """A handler that answered and then failed sent two answers, and what it had in flight was counted down twice."""

    def twice(frame: Frame, responder: Responder) -> None:
        responder.reply(Empty())
        responder.reply(Empty())
        raise BlobNotFound("after all")

    pair.handler = twice
    client = await pair.client()
    for _ in range(3):
        assert (
            messages.decode((await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)).header, Empty)
            == Empty()
        )
    assert pair.answered == [(MessageType.PING, "ok")] * 3
    assert pair.served[0]._served_requests == 0
    client.abort()


async def test_an_answer_that_no_frame_can_hold_is_an_error_answer(pair: Pair) -> None:
    pair.handler = lambda frame, responder: responder.reply(Empty(), bytes(BODY_SIZE_MAX + 1))
    client = await pair.client()
    with pytest.raises(ProtocolViolation, match="exceeds the bounds"):
        await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert pair.answered == [(MessageType.PING, "ProtocolViolation")]
    client.abort()


async def test_a_caller_that_fails_at_its_answer_leaves_the_other_calls_alone(pair: Pair) -> None:
    """After one of them no deadline of that connection fired any more, and a lost connection told only half of its callers."""
    held: list[Responder] = []
    pair.handler = lambda frame, responder: held.append(responder)
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
    await eventually(lambda: len(held) == 6)
    held[4].reply(Empty())
    held[5].reply(Empty())
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


async def test_a_deadline_ends_a_call_once_and_a_late_answer_is_dropped(pair: Pair) -> None:
    held: list[Responder] = []
    pair.handler = lambda frame, responder: held.append(responder)
    client = await pair.client()
    outcomes = Outcomes()
    client.call(MessageType.PUT, Empty(), outcomes.of(1), timeout_s=0.01, body=b"x" * 100)
    assert client.in_flight_bytes == 100
    await outcomes.wait(1)
    assert [type(error) for error in outcomes.errors()] == [DeadlineExceeded]
    assert client.in_flight_bytes == 0
    held[0].reply(Empty())
    pair.handler = lambda frame, responder: responder.reply(Empty())
    await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert [type(error) for error in outcomes.errors()] == [DeadlineExceeded]


async def test_deadlines_are_told_to_the_other_end(pair: Pair) -> None:
    seen: list[float] = []
    loop = asyncio.get_running_loop()

    def handler(frame: Frame, responder: Responder) -> None:
        assert frame.timeout_ms == 60_000
        seen.append(responder.deadline - loop.time())
        responder.reply(Empty())

    pair.handler = handler
    client = await pair.client()
    await client.request(MessageType.PING, Empty(), timeout_s=60)
    assert 30 < seen[0] <= 60


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
    with pytest.raises(ProtocolViolation, match="answers no requests"):
        await pair.served[0].request(MessageType.PING, Empty(), timeout_s=LONG_S)


async def test_a_peer_with_too_much_in_flight_is_read_no_further_until_it_is_answered(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SERVED_REQUESTS_MAX", 5)
    held: list[Responder] = []
    five = asyncio.Event()

    def hold(frame: Frame, responder: Responder) -> None:
        held.append(responder)
        if len(held) == 5:
            five.set()

    pair.handler = hold
    client = await pair.client(in_flight_bytes_max=1 << 30)
    outcomes = Outcomes()
    # Each is larger than what one read from the socket brings in.
    for number in range(10):
        client.call(MessageType.PUT, Empty(), outcomes.of(number), timeout_s=LONG_S, body=bytes(1 << 20))
    await five.wait()
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(held) == 5
    pair.handler = lambda frame, responder: responder.reply(PresenceReply(["late"]))
    for responder in held:
        responder.reply(Empty())
    await outcomes.wait(10)
    assert outcomes.errors() == [None] * 10


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


async def test_an_answer_written_before_close_is_still_sent(pair: Pair) -> None:
    def last_words(frame: Frame, responder: Responder) -> None:
        responder.reply(PresenceReply(["last"]))
        pair.served[0].close()

    pair.handler = last_words
    client = await pair.client()
    frame = await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert messages.decode(frame.header, PresenceReply).states == ["last"]

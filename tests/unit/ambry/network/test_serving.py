"""The serving end of RPC connections: what is answered, what is refused, and what an ill-behaved peer can make it hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from ambry.errors import (
    BlobNotFound,
    CallAbandoned,
    DeadlineExceeded,
    InternalError,
    NotUnderstood,
    Overloaded,
    PeerConnectionLost,
    ProtocolViolation,
)
from ambry.format.record import PAYLOAD_SIZE_MAX
from ambry.network import receiving, serving
from ambry.network.responding import Responder
from ambry.network.unread import UNREAD_MAX, UNREAD_SHARE, UNREAD_SMALL_MAX
from ambry.protocol.frame import BODY_SIZE_MAX, FLAG_ERROR, SENT_MASK, Frame, MessageType, encode_head
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello
from ambry.protocol.messages.blobs import PresenceReply
from tests.support.captured_log import capture_log
from tests.support.eventually import eventually
from tests.support.rpc_ends import LONG_S, Outcomes, Pair, RawClient


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    await made.start()
    yield made
    made.stop()


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


async def test_a_handler_without_memory_is_overloaded_and_no_bug(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    events = capture_log(monkeypatch, serving)

    def short(frame: Frame, responder: Responder) -> None:
        raise MemoryError

    pair.handler = short
    client = await pair.client()
    with pytest.raises(Overloaded):
        await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert [(event["event"], event["log_level"]) for event in events] == [("no memory for a request", "warning")]


async def test_a_request_that_cannot_be_read_is_a_violation_and_the_connection_goes_on(pair: Pair) -> None:
    read = messages.reader(Hello)

    def handler(frame: Frame, responder: Responder) -> None:
        read(frame.header)
        responder.reply(Empty())

    pair.handler = handler
    client = await pair.client()
    with pytest.raises(ProtocolViolation, match=f"type {MessageType.PING} cannot be read"):
        await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    await client.request(MessageType.PING, Hello("c", "n"), timeout_s=LONG_S)
    client.abort()


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
    assert not pair.served[0]._open
    client.abort()


async def test_an_answer_that_no_frame_can_hold_is_an_error_answer(pair: Pair) -> None:
    pair.handler = lambda frame, responder: responder.reply(Empty(), bytes(BODY_SIZE_MAX + 1))
    client = await pair.client()
    with pytest.raises(ProtocolViolation, match="exceeds the bounds"):
        await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert pair.answered == [(MessageType.PING, "ProtocolViolation")]
    client.abort()


async def test_an_answer_that_is_admitted_twice_is_counted_once(pair: Pair) -> None:
    """What was not in the page cache was admitted to be read from there, again to be read from the disk, and given back once.

    After 32 MiB of such reads a connection had no room left, and every large read on it failed when its time was up.
    """

    def handler(_frame: Frame, responder: Responder) -> None:
        async def answer() -> None:
            await responder.admit(1 << 20)
            responder.reply(Empty(), bytes(1 << 20))

        assert responder.try_admit(1 << 20)
        tasks.append(asyncio.ensure_future(answer()))

    tasks: list[asyncio.Future[None]] = []
    pair.handler = handler
    client = await pair.client()
    for _ in range(40):
        await client.request(MessageType.GET, Empty(), timeout_s=LONG_S)
    assert pair.served[0].unread_bytes == 0
    client.abort()


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


async def test_a_peer_with_too_much_in_flight_is_read_no_further_until_it_is_answered(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "SERVED_REQUESTS_MAX", 5)
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


async def test_an_answer_written_before_close_is_still_sent(pair: Pair) -> None:
    def last_words(frame: Frame, responder: Responder) -> None:
        responder.reply(PresenceReply(["last"]))
        pair.served[0].close()

    pair.handler = last_words
    client = await pair.client()
    frame = await client.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert messages.decode(frame.header, PresenceReply).states == ["last"]


# --- releases that differ ---


async def test_a_request_of_a_later_release_is_refused_and_harms_no_other(pair: Pair) -> None:
    """An unknown type of message ended the connection and every call on it."""
    held: list[Responder] = []
    pair.handler = lambda frame, responder: held.append(responder)
    client = await pair.client()
    outcomes = Outcomes()
    client.call(MessageType.PUT, Empty(), outcomes.of(1), timeout_s=LONG_S, body=b"x" * 100_000)
    with pytest.raises(NotUnderstood, match="type 200"):
        await client.request(200, Empty(), timeout_s=LONG_S)
    held[0].reply(Empty())
    await outcomes.wait(1)
    assert outcomes.errors() == [None]
    assert pair.answered == [(200, "NotUnderstood"), (MessageType.PUT, "ok")]


@pytest.mark.parametrize("flag", [2, 4, 64, 128])
async def test_a_request_with_a_flag_of_a_later_release_is_refused_with_its_body(pair: Pair, flag: int) -> None:
    seen: list[int] = []

    def handler(frame: Frame, responder: Responder) -> None:
        seen.append(frame.correlation)
        responder.reply(Empty())

    pair.handler = handler
    client = await pair.raw()
    body = b"b" * 300_000
    client.send(encode_head(MessageType.PUT, 1, b"", body, flags=flag) + body)
    client.send(encode_head(MessageType.PUT, 2, b"", body) + body)
    refused, answered = await client.frame(), await client.frame()
    assert type(messages.error_of(refused.header)) is NotUnderstood
    assert (refused.correlation, answered.correlation, seen) == (1, 2, [2])


# --- requests that came too late ---


@pytest.mark.parametrize("same_machine", [False, True])
async def test_a_request_whose_caller_waits_no_more_is_not_begun(pair: Pair, same_machine: bool) -> None:
    """A data node that had been stopped carried out what waited in its sockets when it went on.

    On one machine the clocks of both ends are one, which the first remedy took for not knowing the caller's.
    """
    begun: list[int] = []

    def handler(frame: Frame, responder: Responder) -> None:
        begun.append(frame.correlation)
        responder.reply(Empty())

    pair.handler = handler
    client = await pair.raw()

    def send(correlation: int, sent_ms: int) -> None:
        client.send(encode_head(MessageType.PUT, correlation, b"", b"x", timeout_ms=10_000, sent_ms=sent_ms) + b"x")

    clock_ms = int(asyncio.get_running_loop().time() * 1000) if same_machine else 1_000_000
    send(1, clock_ms & SENT_MASK)
    assert (await client.frame()).correlation == 1
    send(2, (clock_ms - 60_000) & SENT_MASK)
    late = await client.frame()
    assert type(messages.error_of(late.header)) is DeadlineExceeded
    send(3, (clock_ms - 5_000) & SENT_MASK)
    assert (await client.frame()).correlation == 3
    assert begun == [1, 3]
    assert pair.answered == [(MessageType.PUT, "ok"), (MessageType.PUT, "DeadlineExceeded"), (MessageType.PUT, "ok")]


class LoopWithAClock:
    """The event loop, on which it is `now`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


async def test_a_connection_that_was_quiet_for_a_day_still_knows_a_late_request(pair: Pair) -> None:
    """Requests without delay did not count as seen: after a day of them a minute was taken for clocks that drift apart."""
    client = await pair.raw()
    await eventually(lambda: pair.served)
    loop = LoopWithAClock()
    pair.served[0]._loop = cast(asyncio.AbstractEventLoop, loop)

    async def refused(late_s: int) -> bool:
        sent_ms = (int(loop.now) - late_s) * 1000
        client.send(encode_head(MessageType.PUT, int(loop.now), b"", timeout_ms=10_000, sent_ms=sent_ms & SENT_MASK))
        return bool((await client.frame()).flags & FLAG_ERROR)

    for _ in range(24 * 60):
        assert not await refused(0)
        loop.now += 60
    assert await refused(60)


# --- callers that gave up ---


async def test_a_call_that_was_given_up_is_stopped_and_answered(pair: Pair) -> None:
    stopped: list[int] = []
    held: list[Responder] = []

    def hold(frame: Frame, responder: Responder) -> None:
        responder.on_abandoned = lambda: stopped.append(frame.correlation)
        held.append(responder)

    pair.handler = hold
    client = await pair.raw()
    for correlation in (1, 2):
        client.send(encode_head(MessageType.GET, correlation, b""))
    client.send(encode_head(MessageType.CANCEL, 1, b"") * 2)
    answer = await client.frame()
    assert (answer.correlation, type(messages.error_of(answer.header))) == (1, CallAbandoned)
    for responder in held:
        responder.reply(Empty())
    assert (await client.frame()).correlation == 2
    assert stopped == [1]
    assert pair.answered == [(MessageType.GET, "CallAbandoned"), (MessageType.GET, "ok")]


async def test_who_is_gone_is_worked_for_no_more_but_a_write_takes_its_course(pair: Pair) -> None:
    stopped: list[int] = []
    held: list[Responder] = []

    def hold(frame: Frame, responder: Responder) -> None:
        if frame.type == MessageType.GET:
            responder.on_abandoned = lambda: stopped.append(frame.correlation)
        held.append(responder)

    pair.handler = hold
    client = await pair.raw()
    client.send(encode_head(MessageType.GET, 1, b"") + encode_head(MessageType.PUT, 2, b""))
    await eventually(lambda: len(held) == 2)
    client.writer.transport.abort()
    await eventually(lambda: stopped == [1])
    assert pair.answered == [(MessageType.GET, "PeerConnectionLost")]
    held[1].reply(Empty())
    assert pair.answered[1:] == [(MessageType.PUT, "ok")]


async def test_two_requests_with_one_number_end_the_connection(pair: Pair) -> None:
    pair.handler = lambda frame, responder: None
    client = await pair.raw()
    client.send(encode_head(MessageType.GET, 1, b"") * 2)
    with pytest.raises(ConnectionResetError):
        await client.frame()


# --- answers that nobody reads ---

ANSWER = bytes(256 << 10)


async def answers(client: RawClient, count: int) -> None:
    assert {(await client.frame()).correlation for _ in range(count)} == set(range(1, count + 1))


async def test_answers_that_nobody_reads_are_bounded_and_come_when_somebody_does(pair: Pair) -> None:
    """16 KB of requests took a data node from 32 to 1,635 MB."""
    begun = 0

    def handler(frame: Frame, responder: Responder) -> None:
        nonlocal begun
        begun += 1
        responder.reply(Empty(), ANSWER)

    pair.handler = handler
    client = await pair.raw()
    client.send(b"".join(encode_head(MessageType.GET, number, b"") for number in range(1, 401)))
    await eventually(lambda: begun >= UNREAD_SMALL_MAX // len(ANSWER))
    await quiet(lambda: begun)
    assert pair.served[0].unread_bytes <= 2 * UNREAD_SMALL_MAX + len(ANSWER)
    assert begun < 400
    await answers(client, 400)
    assert begun == 400


async def test_large_answers_are_made_when_there_is_room_for_them(pair: Pair) -> None:
    made = 0
    tasks: set[asyncio.Task[None]] = set()

    def handler(frame: Frame, responder: Responder) -> None:
        async def answer() -> None:
            nonlocal made
            await responder.admit(4 << 20)
            made += 1
            responder.reply(Empty(), bytes(4 << 20))

        tasks.add(asyncio.ensure_future(answer()))

    pair.handler = handler
    client = await pair.raw()
    client.send(b"".join(encode_head(MessageType.GET, number, b"") for number in range(1, 41)))
    await eventually(lambda: len(tasks) == 40 and made > 2)
    await quiet(lambda: made)
    assert pair.served[0].unread_bytes <= UNREAD_MAX
    assert made <= (UNREAD_MAX + (8 << 20)) // (4 << 20)  # what the kernel took is nobody's memory here
    await answers(client, 40)
    assert made == 40


async def test_an_answer_larger_than_the_bound_goes_alone(pair: Pair) -> None:
    sizes: list[int] = []
    tasks: set[asyncio.Task[None]] = set()

    def handler(frame: Frame, responder: Responder) -> None:
        async def answer() -> None:
            await responder.admit(UNREAD_MAX + 1)
            sizes.append(pair.served[0].unread_bytes)
            responder.reply(Empty(), b"as large as that")

        tasks.add(asyncio.ensure_future(answer()))

    pair.handler = handler
    client = await pair.raw()
    client.send(b"".join(encode_head(MessageType.FETCH, number, b"") for number in range(1, 6)))
    await answers(client, 5)
    assert sizes == [UNREAD_MAX + 1] * 5


async def test_who_waits_for_room_longer_than_the_caller_is_not_served(pair: Pair) -> None:
    room = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()
    refused: list[type[Exception]] = []

    def handler(frame: Frame, responder: Responder) -> None:
        async def answer() -> None:
            try:
                await responder.admit(UNREAD_MAX)
            except DeadlineExceeded as error:
                refused.append(type(error))
                responder.fail(error)
                return
            await room.wait()
            responder.reply(Empty())

        tasks.add(asyncio.ensure_future(answer()))

    pair.handler = handler
    client = await pair.raw()
    client.send(encode_head(MessageType.GET, 1, b"", timeout_ms=60_000))
    client.send(encode_head(MessageType.GET, 2, b"", timeout_ms=20))
    assert type(messages.error_of((await client.frame()).header)) is DeadlineExceeded
    room.set()
    assert (await client.frame()).correlation == 1
    assert refused == [DeadlineExceeded]


async def test_many_connections_share_what_a_process_may_hold(pair: Pair) -> None:
    pair.unread.bytes_max = 16 << 20
    begun = 0

    def handler(frame: Frame, responder: Responder) -> None:
        nonlocal begun
        begun += 1
        responder.reply(Empty(), ANSWER)

    pair.handler = handler
    clients = [await pair.raw() for _ in range(8)]
    for client in clients:
        client.send(b"".join(encode_head(MessageType.GET, number, b"") for number in range(1, 61)))
    await eventually(lambda: begun > 64)
    await quiet(lambda: begun)
    held = sum(connection.unread_bytes for connection in pair.served)
    assert held <= pair.unread.bytes_max + 8 * (UNREAD_SHARE + len(ANSWER))
    # One that reads is served, whatever the others leave lying.
    late = await pair.raw()
    late.send(b"".join(encode_head(MessageType.GET, number, b"") for number in range(1, 21)))
    await answers(late, 20)
    await asyncio.gather(*(answers(client, 60) for client in clients))


async def quiet(count: Callable[[], int]) -> None:
    """Until nothing was counted for some turns of the loop and of its timers."""
    same = 0
    before = count()
    while same < 10:
        await asyncio.sleep(0.01)
        same = same + 1 if count() == before else 0
        before = count()


async def test_connections_that_hold_nothing_have_no_room_of_their_own_for_a_large_answer(pair: Pair) -> None:
    """Each had: 12 connections that asked for 32 MiB and read nothing made a data node hold 384 MB."""
    pair.unread.bytes_max = 16 << 20
    size = 8 << 20
    made = 0
    tasks: set[asyncio.Task[None]] = set()

    def handler(frame: Frame, responder: Responder) -> None:
        async def answer() -> None:
            nonlocal made
            await responder.admit(size)
            made += 1
            responder.reply(Empty(), bytes(size))

        tasks.add(asyncio.ensure_future(answer()))

    pair.handler = handler
    clients = [await pair.raw() for _ in range(12)]
    for client in clients:
        client.send(encode_head(MessageType.GET, 1, b""))
    await eventually(lambda: len(tasks) == 12 and made > 2)
    await quiet(lambda: made)
    assert sum(connection.unread_bytes for connection in pair.served) <= pair.unread.bytes_max + size
    assert made < 12
    for client in clients:
        await answers(client, 1)
    assert made == 12


async def test_an_error_that_repeats_what_was_sent_fits_a_frame_and_a_line_of_a_log(pair: Pair) -> None:
    """A hello from a cluster with a name of 4 MiB was answered by the end of the connection and a log line of as much."""

    def handler(frame: Frame, responder: Responder) -> None:
        raise NotUnderstood("no cluster " + "x" * (5 << 20))

    pair.handler = handler
    client = await pair.client()
    for _ in range(2):
        with pytest.raises(NotUnderstood, match="no cluster x") as caught:
            await client.request(MessageType.HELLO, Empty(), timeout_s=LONG_S)
        assert len(caught.value.message) <= messages.ERROR_TEXT_MAX


async def test_a_frame_that_there_is_no_memory_for_ends_its_connection_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio called it a fatal error, with a traceback for each."""
    one, other = await pair.client(), await pair.client()
    await one.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    await other.request(MessageType.PING, Empty(), timeout_s=LONG_S)

    def received(_count: int) -> list[Frame]:
        raise MemoryError

    monkeypatch.setattr(pair.served[0]._decoder, "received", received)
    with pytest.raises(PeerConnectionLost):
        await one.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    await other.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    assert not caplog.records


async def test_a_request_larger_than_any_is_refused_before_there_is_memory_for_it(pair: Pair) -> None:
    assert receiving.REQUEST_BODY_MAX == PAYLOAD_SIZE_MAX
    client = await pair.raw()
    body = bytes(receiving.REQUEST_BODY_MAX + 1)
    client.send(encode_head(MessageType.PUT, 1, messages.encode(Empty()), body))
    with pytest.raises(ConnectionResetError):
        await client.frame()


@pytest.mark.parametrize("sent", [100_000, 900_000])
async def test_part_of_a_request_stays_only_while_more_of_it_comes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    """Eight connections held 512 MB for as long as they lived. What is missing may be of the head or of the body."""
    monkeypatch.setattr(receiving, "STALL_S", 3600.0)  # the test says when it is over
    client = await pair.raw()
    header = messages.encode(PresenceReply(["present"] * 100_000))
    frame = encode_head(MessageType.PUT, 1, header, bytes(2_000_000)) + bytes(2_000_000)
    assert 200_000 < len(header) < 850_000
    more = receiving.PROGRESS_BYTES
    client.send(frame[:sent])
    await eventually(lambda: pair.served and pair.served[0]._stall)
    await eventually(lambda: _taken(pair, len(frame)) >= sent)
    served = pair.served[0]
    served._expect_more()
    before = served._decoder.awaited
    client.send(frame[sent : sent + more])
    await eventually(lambda: served._decoder.awaited <= before - more)
    served._require_progress()
    assert served._transport is not None and not served._transport.is_closing()
    served._require_progress()
    with pytest.raises(ConnectionResetError):
        await client.frame()


def _taken(pair: Pair, size: int) -> int:
    return size - pair.served[0]._decoder.awaited


async def test_what_comes_in_pieces_is_answered(pair: Pair) -> None:
    client = await pair.raw()
    frame = encode_head(MessageType.PUT, 1, messages.encode(Empty()), bytes(2_000_000)) + bytes(2_000_000)
    for start in range(0, len(frame), 300_000):
        client.send(frame[start : start + 300_000])
        await asyncio.sleep(0)
    assert (await client.frame()).correlation == 1
    served = pair.served[0]
    assert served._decoder.awaited == 0
    client.send(frame[:1_000_000])
    await eventually(lambda: served._decoder.awaited == len(frame) - 1_000_000)
    served._require_progress()  # the one that came counts, not what is missing of this one
    client.send(frame[1_000_000:])
    assert (await client.frame()).correlation == 1


# --- answers that come too late ---


async def test_what_nobody_waits_for_any_more_is_answered_and_what_comes_of_it_is_told_to_nobody(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a hung disk requests were never answered, and filled what their caller may have in flight here."""
    events = capture_log(monkeypatch, serving)
    held: list[Responder] = []
    pair.handler = lambda frame, responder: held.append(responder)
    client = await pair.raw()
    client.send(encode_head(MessageType.PUT, 1, b"", timeout_ms=60_000))
    client.send(encode_head(MessageType.PUT, 2, b"", timeout_ms=10_000))
    await eventually(lambda: len(held) == 2)
    (server,) = pair.served
    now = asyncio.get_running_loop().time()
    server.expire(now)
    assert not held[0].answered
    assert not held[1].answered
    server.expire(now + 20)
    frame = await client.frame()
    assert frame.correlation == 2
    error = messages.error_of(frame.header)
    assert type(error) is DeadlineExceeded
    assert "may still happen" in error.message
    # The disk comes back, and both are written.
    held[1].reply(Empty())
    held[0].reply(Empty())
    assert (await client.frame()).correlation == 1
    assert pair.answered == [(MessageType.PUT, "DeadlineExceeded"), (MessageType.PUT, "ok")]
    assert events == []
    assert not server._open


async def test_a_read_that_nobody_waits_for_any_more_is_stopped(pair: Pair) -> None:
    stopped: list[int] = []

    def handler(frame: Frame, responder: Responder) -> None:
        responder.on_abandoned = lambda: stopped.append(frame.correlation)

    pair.handler = handler
    client = await pair.raw()
    client.send(encode_head(MessageType.GET, 1, b"", timeout_ms=10_000))
    await eventually(lambda: bool(pair.served) and bool(pair.served[0]._open))
    pair.served[0].expire(asyncio.get_running_loop().time() + 20)
    assert stopped == [1]
    assert (await client.frame()).flags & FLAG_ERROR


@pytest.mark.parametrize("told_ms", [0, 4_000_000_000])
async def test_nobody_is_waited_for_longer_than_some_minutes_whatever_is_told(pair: Pair, told_ms: int) -> None:
    """A frame may say 49 days, or nothing: what it held stayed for as long."""
    held: list[Responder] = []
    pair.handler = lambda frame, responder: held.append(responder)
    client = await pair.raw()
    client.send(encode_head(MessageType.PUT, 1, b"", timeout_ms=told_ms))
    await eventually(lambda: len(held) == 1)
    now = asyncio.get_running_loop().time()
    assert held[0].deadline <= now + serving.WAIT_MS_MAX / 1000
    pair.served[0].expire(now + serving.WAIT_MS_MAX / 1000)
    assert (await client.frame()).flags & FLAG_ERROR


async def test_an_answer_that_would_have_to_wait_is_not_admitted_at_once(pair: Pair) -> None:
    admitted: list[bool] = []
    waiting: list[Responder] = []

    def handler(frame: Frame, responder: Responder) -> None:
        admitted.append(responder.try_admit(UNREAD_MAX))
        waiting.append(responder)

    pair.handler = handler
    client = await pair.raw()
    for number in (1, 2):
        client.send(encode_head(MessageType.GET, number, b""))
    await eventually(lambda: len(waiting) == 2)
    assert admitted == [True, False], "the first one is on its way"
    for responder in waiting:
        responder.reply(Empty())
    await answers(client, 2)
    client.send(encode_head(MessageType.GET, 3, b""))
    await eventually(lambda: len(waiting) == 3)
    assert admitted[2]
    waiting[2].reply(Empty())
    assert (await client.frame()).correlation == 3

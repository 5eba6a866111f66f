"""Reading a body through aiohttp's own StreamReader, fed by hand."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_exceptions import ClientConnectionResetError, ClientPayloadError
from aiohttp.http_exceptions import TransferEncodingError
from aiohttp.web_protocol import RequestPayloadError

from ambry.errors import InvalidRequest, Overloaded, RequestTimeout
from ambry.patience import Patience
from frontend.http.body import RECEIVED_AHEAD, RECEIVED_AHEAD_LARGE, BodyReader, ClientGone
from frontend.http.connections import Connection
from frontend.http.digests import ExpectedDigests
from frontend.limits.meters import Meters
from frontend.limits.rates import Rates
from frontend.request import RequestContext
from frontend.router.budget import MemoryBudget
from frontend.who import NOBODY
from tests.support.virtual_loop import virtual_time

NONE = ExpectedDigests({})


def reader() -> StreamReader:
    loop = asyncio.get_running_loop()
    protocol: Any = mock.create_autospec(BaseProtocol, instance=True, _reading_paused=False)
    return StreamReader(protocol, limit=1 << 16, loop=loop)


def body(
    stream: StreamReader,
    *,
    stall_s: float = 5.0,
    rate_min: int = 1,
    digests: ExpectedDigests = NONE,
    budget: MemoryBudget | None = None,
    wait_s: float = 5.0,
    widths: list[bool] | None = None,
    context: RequestContext | None = None,
) -> BodyReader:
    connection: Any = mock.create_autospec(Connection, instance=True)
    connection.widen = ([] if widths is None else widths).append
    return BodyReader(
        stream,
        size=None,
        patience=Patience(stall_s, rate_min),
        stall_timeout_s=stall_s,
        connection=connection,
        budget=budget or MemoryBudget(1 << 30),
        wait_s=wait_s,
        digests=digests,
        context=context or RequestContext(id="r", timeout_s=20.0, deadline=20.0),
    )


def straight_connection() -> Any:
    """A connection that lets everything come straight."""
    connection: Any = mock.create_autospec(Connection, instance=True)
    connection.handler = mock.Mock(body_left=1 << 20, takes_more=True)
    connection.server = mock.Mock(now=asyncio.get_running_loop().time)
    connection.transport = mock.create_autospec(asyncio.Transport, instance=True)
    connection.inlet = None
    return connection


async def read(stream: StreamReader, **options: Any) -> list[bytes]:
    return [piece async for piece in body(stream, **options) if piece is not None]


async def test_a_body_comes_as_it_arrives_and_ends() -> None:
    stream = reader()
    pieces = body(stream)
    stream.feed_data(b"abc")
    assert await anext(pieces) == b"abc"
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.feed_data(b"de")
    assert await waiting == b"de"
    stream.feed_eof()
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)


async def test_an_empty_body_is_no_piece_at_all() -> None:
    stream = reader()
    stream.feed_eof()
    assert await read(stream) == []


@virtual_time
async def test_a_body_that_stalls_is_a_timeout_of_the_client_and_what_comes_gives_it_time() -> None:
    stream = reader()
    loop = asyncio.get_running_loop()
    for number in range(1, 5):
        loop.call_at(4.0 * number, stream.feed_data, b"x" * 10)
    got: list[bytes] = []
    with pytest.raises(RequestTimeout, match="the last 5 s brought nothing"):
        async for piece in body(stream, stall_s=5, rate_min=1):
            assert piece is not None
            got.append(piece)
    assert b"".join(got) == b"x" * 40
    assert loop.time() == pytest.approx(21)


@virtual_time
async def test_a_body_that_drips_is_a_timeout_too_however_fast_it_began() -> None:
    """A body of one byte every 25 s, each within the time for a stall, was once never ended (F21)."""
    stream = reader()
    loop = asyncio.get_running_loop()
    stream.feed_data(b"x" * 50_000)
    for number in range(1, 100):
        loop.call_at(25.0 * number, stream.feed_data, b"x")
    with pytest.raises(RequestTimeout):
        await read(stream, stall_s=30, rate_min=1024)
    assert loop.time() < 60


@virtual_time
async def test_a_body_holds_memory_while_it_comes_more_when_it_flows_and_little_when_that_is_scarce() -> None:
    stream = reader()
    budget = MemoryBudget(8 << 20)
    widths: list[bool] = []
    pieces = body(stream, budget=budget, widths=widths)
    stream.feed_data(b"x" * 100_000)
    await anext(pieces)
    assert budget.size - budget.free == RECEIVED_AHEAD
    stream.feed_data(b"x" * 100_000)
    await anext(pieces)
    assert budget.size - budget.free == RECEIVED_AHEAD_LARGE
    await budget.take(4 << 20, timeout_s=1)
    stream.feed_data(b"x")
    await anext(pieces)
    assert budget.size - budget.free == RECEIVED_AHEAD + (4 << 20)
    pieces.close()
    assert budget.size - budget.free == 4 << 20
    assert widths == [True, False]


@virtual_time
async def test_a_body_without_memory_is_refused_in_time_and_one_that_is_here_needs_none() -> None:
    stream, whole = reader(), reader()
    budget = MemoryBudget(1 << 20)
    await budget.take(budget.largest, timeout_s=1)
    stream.feed_data(b"abc")
    with pytest.raises(Overloaded):
        await read(stream, budget=budget)
    whole.feed_data(b"abc")
    whole.feed_eof()
    assert await read(whole, budget=budget) == [b"abc"]


@pytest.mark.parametrize("error", [ConnectionResetError("x"), ClientConnectionResetError("x"), ClientPayloadError("x")])
@pytest.mark.parametrize("before", [b"", b"abc"])
async def test_a_client_that_goes_away_is_not_an_error_to_answer(error: Exception, before: bytes) -> None:
    stream = reader()
    if before:
        stream.feed_data(before)
    stream.set_exception(error)
    with pytest.raises(ClientGone):
        await read(stream)


@pytest.mark.parametrize("error", [TransferEncodingError("bad chunk"), RequestPayloadError("bad chunk")])
async def test_a_malformed_body_is_a_bad_request(error: Exception) -> None:
    stream = reader()
    stream.set_exception(error)
    with pytest.raises(InvalidRequest, match="malformed"):
        await read(stream)


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(RequestPayloadError("no chunk"), InvalidRequest), (ClientConnectionResetError("gone"), ClientGone)],
)
@pytest.mark.parametrize("ended", [True, False])
async def test_a_body_that_fails_behind_the_end_of_a_chunk_is_not_taken_for_whole(
    failure: Exception, raised: type[Exception], ended: bool
) -> None:
    """`0\\r\\n\\rGET` behind the CRLF of a chunk, in one piece: the upload before it was answered 201."""
    stream = reader()
    pieces = body(stream, stall_s=0.05)
    stream.begin_http_chunk_receiving()
    stream.feed_data(b"hello")
    assert await anext(pieces) == b"hello"
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    stream.end_http_chunk_receiving()
    stream.set_exception(failure)
    if ended:
        stream.feed_eof()
    with pytest.raises(raised):
        await asyncio.wait_for(waiting, 60)


@virtual_time
async def test_a_body_that_does_not_come_while_others_want_memory_says_so_once_and_gives_back_what_it_has_no_use_for() -> (
    None
):
    stream = reader()
    budget = MemoryBudget(4 << 20)
    pieces = body(stream, budget=budget, stall_s=30)
    for _ in range(2):
        stream.feed_data(b"x" * 100_000)
        assert await anext(pieces)
    assert budget.size - budget.free == RECEIVED_AHEAD_LARGE
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(1)
    assert not waiting.done(), "nobody wants anything"
    wanted = 13 << 18
    other = asyncio.create_task(budget.take(wanted, timeout_s=10))
    assert await waiting is None
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.wait_for(other, 1)
    assert budget.size - budget.free == RECEIVED_AHEAD + wanted
    other = asyncio.create_task(budget.take(1 << 20, timeout_s=5))
    with pytest.raises(Overloaded):
        await other
    assert not waiting.done(), "it gave what it had, and is not asked again"
    stream.feed_data(b"y")
    assert await waiting == b"y"
    pieces.close()


@virtual_time
async def test_giving_way_is_no_reprieve_for_a_body_that_stalls() -> None:
    stream, loop = reader(), asyncio.get_running_loop()
    budget = MemoryBudget(4 << 20)
    pieces = body(stream, budget=budget, stall_s=5, rate_min=1 << 20)
    stream.feed_data(b"x" * 100_000)
    await anext(pieces)
    began = loop.time()
    taken = asyncio.create_task(budget.take(3 << 20, timeout_s=1))
    more = asyncio.create_task(budget.take(3 << 20, timeout_s=20))
    assert await anext(pieces) is None
    with pytest.raises(RequestTimeout):
        await anext(pieces)
    assert loop.time() - began == pytest.approx(5)
    more.cancel()
    await asyncio.gather(taken, more, return_exceptions=True)
    pieces.close()


@virtual_time
async def test_a_short_body_is_never_asked_to_give_way() -> None:
    stream = reader()
    budget = MemoryBudget(1 << 20)
    pieces = body(stream, budget=budget)
    stream.feed_data(b"x" * 1000)
    await anext(pieces)
    waiting = asyncio.ensure_future(anext(pieces))
    with pytest.raises(Overloaded):
        await budget.take(budget.largest, timeout_s=1)
    assert not waiting.done()
    stream.feed_eof()
    with pytest.raises(StopAsyncIteration):
        await waiting
    pieces.close()


@virtual_time
async def test_a_straight_body_that_stalls_is_waited_for_as_long_as_any_other() -> None:
    """What came before it stalled used to give it the whole time once more, since nobody was told when that came."""
    stream, loop = reader(), asyncio.get_running_loop()
    stream.feed_data(b"x" * 100_000)
    pieces = body(stream, stall_s=5)
    await anext(pieces)
    pieces._connection = connection = straight_connection()
    room = memoryview(bytearray(10_000))
    for at in (1.0, 3.0):
        loop.call_at(at, lambda: connection.inlet.came(1_000))
    assert await pieces.receive_into(room, lambda: room[:0]) == 2_000
    assert loop.time() == pytest.approx(5)
    with pytest.raises(RequestTimeout, match="the last 5 s brought nothing"):
        await pieces.receive_into(room[2_000:], lambda: room[:0])
    assert loop.time() == pytest.approx(8)


@virtual_time
async def test_time_for_which_nobody_reads_a_straight_body_does_not_count_as_its_clients() -> None:
    stream, loop = reader(), asyncio.get_running_loop()
    stream.feed_data(b"x" * 100_000)
    pieces = body(stream, stall_s=5)
    await anext(pieces)
    pieces._connection = connection = straight_connection()
    room = memoryview(bytearray(10_000))
    for at in (4.0, 60.0 + 3.5):
        loop.call_at(at, lambda: connection.inlet.came(1_000))
    assert await pieces.receive_into(room, lambda: room[:0]) == 1_000
    await asyncio.sleep(60 - loop.time())
    assert await pieces.receive_into(room[1_000:], lambda: room[:0]) == 1_000
    assert loop.time() == pytest.approx(64)


def paced(rate: float) -> RequestContext:
    """A request of somebody who may send so many bytes in a second."""
    meters = Meters(now=asyncio.get_running_loop().time, anonymous=Rates(bytes_per_s=rate, burst_s=0.001))
    return RequestContext(id="r", timeout_s=20.0, deadline=20.0, meter=meters.admit(NOBODY, "10.0.0.1"))


@virtual_time
async def test_a_body_that_has_its_turns_is_slowed_and_comes_whole_and_is_not_taken_for_one_that_stalls() -> None:
    stream, loop, context = reader(), asyncio.get_running_loop(), paced(1_000.0)
    pieces = body(stream, stall_s=5, context=context)
    began = loop.time()
    for _ in range(5):
        stream.feed_data(b"x" * 10_000)
        assert await anext(pieces) == b"x" * 10_000
    stream.feed_eof()
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)
    assert loop.time() - began == pytest.approx(50, rel=0.01)
    assert context.paced == 50_000 and context.left_s() > 15
    pieces.close()


@virtual_time
async def test_a_body_that_waits_for_its_turn_gives_way_to_who_wants_memory() -> None:
    stream, budget = reader(), MemoryBudget(4 << 20)
    pieces = body(stream, budget=budget, context=paced(1_000.0))
    stream.feed_data(b"x" * 100_000)
    assert await anext(pieces)
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(10)
    assert not waiting.done(), "nobody wants anything"
    other = asyncio.create_task(budget.take(budget.largest, timeout_s=60))
    assert await waiting is None
    other.cancel()
    pieces.close()


@virtual_time
async def test_a_body_that_waits_for_its_turn_ends_soon_after_its_client() -> None:
    stream, loop = reader(), asyncio.get_running_loop()
    pieces = body(stream, context=paced(1_000.0))
    stream.feed_data(b"x" * 100_000)
    assert await anext(pieces)
    began = loop.time()
    loop.call_later(3, stream.set_exception, ConnectionResetError())
    with pytest.raises(ClientGone):
        await anext(pieces)
    assert loop.time() - began < 5
    pieces.close()

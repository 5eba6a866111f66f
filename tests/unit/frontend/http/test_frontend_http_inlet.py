"""Bodies that come straight into the memory where they are kept, through a real server, cut into chunks as an upload is."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest

from ambry.errors import AmbryError
from frontend.http.body import RECEIVED_AHEAD
from frontend.http.connections import READ_BYTES, Connection
from frontend.http.inlet import Inlet
from frontend.http.turns import HEAVY_BYTES, Portions
from tests.support.fake_clock import SettableClock
from tests.support.http_frontend import until
from tests.support.straight_uploads import MIB, content, head, served


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all reads that came straight."""
    sizes: list[int] = []
    came = Inlet.came

    def note(inlet: Inlet, size: int) -> None:
        sizes.append(size)
        came(inlet, size)

    monkeypatch.setattr(Inlet, "came", note)
    return sizes


@pytest.mark.parametrize("burst", [1, 700, 70_000])
async def test_a_body_that_comes_in_bits_comes_whole(burst: int, taken: list[int]) -> None:
    body = content(200_000 + burst * 100)
    async with served() as (uploads, server), server.connected() as client:
        await client.send(head(len(body)) + body[:200_000])
        for at in range(200_000, len(body), burst):
            await client.send(body[at : at + burst])
            await asyncio.sleep(0)
        assert (await client.answer()).status == 200
    assert b"".join(uploads.bodies[0]) == body
    assert taken


async def test_nothing_is_read_that_there_is_no_place_for() -> None:
    async with served() as (uploads, server), server.connected() as client:
        uploads.gate.clear()
        sending = asyncio.ensure_future(client.send(head(12 * MIB) + bytes(12 * MIB)))
        await until(lambda: uploads.bodies and uploads.bodies[0], "one chunk is here")
        await asyncio.sleep(0.05)
        (connection,) = server.server._open
        handler = connection.handler
        assert handler is not None
        assert handler.body_left >= 10 * MIB - (64 << 10), "of the second no more than what is read ahead"
        uploads.gate.set()
        await sending
        assert (await client.answer()).body.count(b"2097152") == 6


async def test_a_client_that_goes_in_the_middle_leaves_nothing(taken: list[int]) -> None:
    async with served() as (uploads, server):
        async with server.connected() as client:
            await client.send(head(4 * MIB) + bytes(MIB))
            await until(lambda: sum(taken) > MIB // 2, "some of it is here")
        await until(lambda: uploads.errors, "it is told")
    assert uploads.errors in (["ClientGone"], ["InvalidRequest"]), "by a reset, or by the end of what it sent"


async def test_a_client_that_ends_its_body_early_is_told(taken: list[int]) -> None:
    async with served() as (uploads, server), server.connected() as client:
        await client.send(head(4 * MIB) + bytes(MIB))
        await until(lambda: sum(taken) > MIB // 2, "some of it is here")
        client.writer.write_eof()
        assert (await client.answer()).status == 400
    assert uploads.errors == ["InvalidRequest"]


async def test_a_client_that_stalls_is_told_and_one_that_is_slow_is_waited_for(taken: list[int]) -> None:
    async with served(body_stall_timeout_s=0.3, rate_min_bytes=1) as (uploads, server), server.connected() as client:
        await client.send(head(4 * MIB) + bytes(MIB))
        for _ in range(8):  # longer than a stall may be, and less than one step of the chunk's memory
            await client.send(bytes(1000))
            await asyncio.sleep(0.1)
        assert not uploads.errors
        assert (await client.answer()).status == 408
    assert uploads.errors == ["RequestTimeout"]
    assert sum(taken) > MIB // 2


async def test_what_came_of_a_stalled_body_is_a_chunk_when_others_need_memory(taken: list[int]) -> None:
    async with served() as (uploads, server), server.connected() as client:
        await client.send(head(2 * MIB) + bytes(MIB))
        await until(lambda: sum(taken) > MIB // 2, "some of it is here")
        size = uploads.budget.largest - RECEIVED_AHEAD
        others = asyncio.ensure_future(uploads.budget.take(size, timeout_s=5))
        await until(lambda: uploads.bodies[0], "it gives way")
        await others
        assert len(uploads.bodies[0][0]) < 2 * MIB
        uploads.budget.give_back(size)
        await client.send(bytes(MIB))
        assert (await client.answer()).status == 200
    assert sum(map(len, uploads.bodies[0])) == 2 * MIB


async def test_who_is_refused_in_the_middle_is_answered(taken: list[int]) -> None:
    async with served() as (uploads, server), server.connected() as client:
        await client.send(head(4 * MIB) + bytes(MIB))
        await until(lambda: sum(taken) > MIB // 2, "some of it is here")
        (connection,) = server.server._open
        handler = connection.handler
        assert handler is not None
        handler.give_up(AmbryError("enough"))
        assert (await client.answer()).status == 500
    assert uploads.errors == ["AmbryError"]


async def test_one_that_ends_leaves_no_place_in_the_queue() -> None:
    """Its connection kept it, and the next body of that went before all who had queued up meanwhile."""
    portions = Portions(asyncio.get_running_loop(), clock=SettableClock())
    server: Any = mock.Mock(portions=portions, now=asyncio.get_running_loop().time)
    transport: Any = mock.create_autospec(asyncio.Transport, instance=True)
    transport.is_closing.return_value = False
    handler: Any = mock.Mock(body_left=8 * MIB, takes_more=True)
    connection = Connection(server, "127.0.0.1")
    connection.transport, connection.handler = transport, handler
    resumed = transport.resume_reading
    assert portions.allows(HEAVY_BYTES, heavy=True, known=True), "and nothing is left of this turn"

    def begun() -> Inlet:
        inlet = Inlet(connection, mock.Mock(), memoryview(bytearray(MIB)), lambda: memoryview(b""))
        assert inlet.begin()
        return inlet

    first = begun()
    first.came(READ_BYTES)
    assert transport.pause_reading.call_count == 1
    first.end()
    assert resumed.call_count == 1, "what comes is heard as everything else"

    resumed_before: list[int] = []

    class Other:
        def take_up(self) -> int:
            resumed_before.append(resumed.call_count)
            return HEAVY_BYTES

    portions.wait(Other(), heavy=True, known=True)
    begun().came(READ_BYTES)
    assert transport.pause_reading.call_count == 2
    await until(lambda: resumed.call_count == 2, "its own turn comes")
    assert resumed_before == [1], "who came first went first"

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

from ambry.errors import InvalidRequest, RequestTimeout
from frontend.http.body import ClientGone, read_body
from frontend.http.digests import ExpectedDigests

NONE = ExpectedDigests({})


def reader() -> StreamReader:
    loop = asyncio.get_running_loop()
    protocol: Any = mock.create_autospec(BaseProtocol, instance=True, _reading_paused=False)
    return StreamReader(protocol, limit=1 << 16, loop=loop)


async def read(stream: StreamReader, *, stall_s: float = 5.0, digests: ExpectedDigests = NONE) -> list[bytes]:
    return [piece async for piece in read_body(stream, stall_timeout_s=stall_s, digests=digests)]


async def test_a_body_comes_as_it_arrives_and_ends() -> None:
    stream = reader()
    pieces = read_body(stream, stall_timeout_s=5, digests=NONE)
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


async def test_a_body_that_stalls_is_a_timeout_of_the_client_and_every_piece_has_its_own_deadline() -> None:
    stream = reader()
    loop = asyncio.get_running_loop()
    for number in range(4):
        loop.call_later(0.03 * (number + 1), stream.feed_data, b"x")
    got: list[bytes] = []
    with pytest.raises(RequestTimeout, match=r"no byte of the body came for 0\.06 s"):
        async for piece in read_body(stream, stall_timeout_s=0.06, digests=NONE):
            got.append(piece)  # noqa: PERF401  the pieces before the failure are wanted
    assert b"".join(got) == b"xxxx"


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

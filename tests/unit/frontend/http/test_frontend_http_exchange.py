from __future__ import annotations

from typing import Any, cast

from aiohttp import HttpVersion, HttpVersion10, HttpVersion11, web

from frontend.http.exchange import Exchange
from frontend.request import RequestContext


class FakeWriter:
    def __init__(self) -> None:
        self.written = b""
        self.output_size = 0

    async def write(self, data: bytes) -> None:
        self.written += data
        self.output_size += len(data)


class FakeHttp:
    """As much of aiohttp's request as is used."""

    method = "GET"
    protocol = None

    def __init__(self, *, received: int = 0, version: HttpVersion = HttpVersion11) -> None:
        self.version = version
        self.writer = FakeWriter()
        self.content = type("Content", (), {"total_bytes": received})()


async def make(*, received: int = 0, version: HttpVersion = HttpVersion11) -> tuple[Exchange, FakeHttp]:
    http = FakeHttp(received=received, version=version)
    context = RequestContext("f" * 32, timeout_s=20.0)
    exchange = Exchange(cast(Any, http), context, {"x-request": "f" * 32, "x-server": "f1"})
    exchange.headers = {}
    return exchange, http


async def test_every_response_carries_the_common_headers() -> None:
    exchange, _ = await make()
    response = web.Response()
    exchange.finish_headers(response)
    assert (response.headers["x-request"], response.headers["x-server"]) == ("f" * 32, "f1")


async def test_notes_add_up_for_the_log_line() -> None:
    exchange, _ = await make()
    exchange.note(blob="a", size=1)
    exchange.note(size=2)
    assert exchange.noted == {"blob": "a", "size": 2}
    assert (exchange.op, exchange.streaming) == ("other", False)


async def test_continue_is_said_once_and_does_not_count_as_the_response() -> None:
    exchange, http = await make()
    exchange.headers = {"expect": "100-continue"}
    await exchange.continue_if_expected()
    assert http.writer.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert http.writer.output_size == 0


async def test_nothing_is_said_where_nobody_waits_for_it() -> None:
    exchange, http = await make()
    await exchange.continue_if_expected()
    exchange, http = await make(received=5)
    exchange.headers = {"expect": "100-continue"}
    await exchange.continue_if_expected()
    assert http.writer.written == b""


async def test_a_client_of_http_1_0_is_told_of_no_continue() -> None:
    """RFC 9110 section 10.1.1: it would take that for the answer."""
    exchange, http = await make(version=HttpVersion10)
    exchange.headers = {"expect": "100-continue"}
    await exchange.continue_if_expected()
    assert http.writer.written == b""

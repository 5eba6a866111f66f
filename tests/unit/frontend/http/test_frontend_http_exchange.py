from __future__ import annotations

from typing import Any, cast

from aiohttp import HttpVersion, HttpVersion10, HttpVersion11

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

    def __init__(self, *, received: int = 0, version: HttpVersion = HttpVersion11) -> None:
        self.version = version
        self.writer = FakeWriter()
        self.content = type("Content", (), {"total_bytes": received})()


def make(*, received: int = 0, version: HttpVersion = HttpVersion11) -> tuple[Exchange, FakeHttp]:
    http = FakeHttp(received=received, version=version)
    context = RequestContext(id="f" * 32, timeout_s=20.0, deadline=20.0)
    return Exchange(http=cast(Any, http), method="GET", connection=None, context=context, common={}), http


async def test_continue_is_said_once_and_does_not_count_as_the_response() -> None:
    exchange, http = make()
    exchange.headers = {"expect": "100-continue"}
    await exchange.continue_if_expected()
    assert http.writer.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert http.writer.output_size == 0


async def test_nothing_is_said_where_nobody_waits_for_it() -> None:
    exchange, http = make()
    await exchange.continue_if_expected()
    exchange, http = make(received=5)
    exchange.headers = {"expect": "100-continue"}
    await exchange.continue_if_expected()
    assert http.writer.written == b""


async def test_a_client_of_http_1_0_is_told_of_no_continue() -> None:
    """RFC 9110 section 10.1.1: it would take that for the answer."""
    exchange, http = make(version=HttpVersion10)
    exchange.headers = {"expect": "100-continue"}
    await exchange.continue_if_expected()
    assert http.writer.written == b""

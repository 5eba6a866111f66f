from __future__ import annotations

from typing import Any, cast

import pytest
from aiohttp import web

from frontend.request import RequestContext
from frontend.rest.request import Request


class FakeWriter:
    def __init__(self) -> None:
        self.written = b""
        self.output_size = 0

    async def write(self, data: bytes) -> None:
        self.written += data
        self.output_size += len(data)


class FakeHttp:
    """As much of aiohttp's request as is used."""

    def __init__(self, headers: dict[str, str], *, received: int = 0) -> None:
        self.headers = headers
        self.writer = FakeWriter()
        self.content = type("Content", (), {"total_bytes": received})()


async def make(headers: dict[str, str] | None = None, *, received: int = 0) -> tuple[Request, FakeHttp]:
    http = FakeHttp(headers or {}, received=received)
    context = RequestContext("f" * 32, timeout_s=20.0)
    return Request(cast(Any, http), context, {"x-ambry-datacenter": "dc1", "x-ambry-frontend": "f1"}), http


async def test_every_response_names_its_request_datacenter_and_frontend() -> None:
    request, _ = await make()
    response = web.Response()
    request.prepare_headers(response)
    assert response.headers["x-ambry-request-id"] == "f" * 32
    assert (response.headers["x-ambry-datacenter"], response.headers["x-ambry-frontend"]) == ("dc1", "f1")


async def test_notes_add_up_for_the_log_line() -> None:
    request, _ = await make()
    request.note(blob="a", size=1)
    request.note(size=2)
    assert request.noted == {"blob": "a", "size": 2}
    assert (request.op, request.streaming) == ("other", False)


@pytest.mark.parametrize("value", ["100-continue", "100-Continue"])
async def test_continue_is_said_once_and_does_not_count_as_the_response(value: str) -> None:
    request, http = await make({"Expect": value})
    await request.continue_if_expected()
    assert http.writer.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert http.writer.output_size == 0


@pytest.mark.parametrize(("headers", "received"), [({}, 0), ({"Expect": "tea"}, 0), ({"Expect": "100-continue"}, 5)])
async def test_nothing_is_said_where_nobody_waits_for_it(headers: dict[str, str], received: int) -> None:
    request, http = await make(headers, received=received)
    await request.continue_if_expected()
    assert http.writer.written == b""

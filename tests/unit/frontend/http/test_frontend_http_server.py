from __future__ import annotations

import asyncio
import random
import re

import pytest
from aiohttp import web
from aiohttp.http_exceptions import BadStatusLine, LineTooLong

from ambry.errors import HeadersTooLarge, InternalError, InvalidRequest, UriTooLong
from frontend.http.server import FIELD_SIZE_MAX, LINE_SIZE_MAX, HttpServer, refusal
from tests.support.plain_dialect import PlainDialect


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LineTooLong("secret", FIELD_SIZE_MAX), HeadersTooLarge),
        (LineTooLong("secret", LINE_SIZE_MAX), UriTooLong),
        (BadStatusLine("x"), InvalidRequest),
        (RuntimeError("secret"), InternalError),
        (None, InternalError),
    ],
)
def test_a_refusal_has_the_fitting_class_and_never_repeats_what_was_sent(
    error: BaseException | None, expected: type[Exception]
) -> None:
    assert type(refusal(error)) is expected
    assert "secret" not in str(refusal(error))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"this is no http <script>\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_the_parser_refuses_is_answered_with_a_problem_and_a_request_id(sent: bytes, status: int) -> None:
    async def handler(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    server = HttpServer(
        handler,
        random_source=random.Random(1),
        dialect=PlainDialect(),
        keepalive_timeout_s=5,
    )
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    finally:
        await runner.cleanup()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"%d" % status
    request_id = re.search(rb"x-plain-id: ([0-9a-f]{32})", head)
    assert request_id is not None and request_id[1] in body
    assert b"script" not in body

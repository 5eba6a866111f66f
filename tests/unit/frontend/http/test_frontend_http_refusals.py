from __future__ import annotations

import asyncio

import pytest
from aiohttp.http_exceptions import BadHttpMessage, BadStatusLine, LineTooLong

from ambry.errors import HeadersTooLarge, InternalError, InvalidRequest, UriTooLong
from frontend.http.refusals import FIELD_SIZE_MAX, LINE_SIZE_MAX, refusal
from tests.support.edge import edge


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LineTooLong("secret", FIELD_SIZE_MAX), HeadersTooLarge),
        (LineTooLong("secret", LINE_SIZE_MAX), UriTooLong),
        (BadStatusLine("x"), InvalidRequest),
        (BadHttpMessage("Invalid header token:\n\n  b'secret `Transfer-Encoding` Too many headers'"), InvalidRequest),
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
    ("sent", "status", "said"),
    [
        (b"FETCH / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "knows no such method"),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "upper case"),
        (b"DESCRIBE / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "knows no such method"),
        (b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request line"),
        (b"this is no http\r\n\r\n", 400, "request line"),
        (b"GET / FTP/1.1\r\nHost: x\r\n\r\n", 400, "request line"),
        (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "target"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "Host header"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", 400, "a header is malformed"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n", 400, "a header is malformed"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n", 400, "Content-Length is a number"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "stands there once"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "not both",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "TLS"),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else None,
)
@pytest.mark.parametrize("apart", [False, True])
async def test_a_refusal_says_what_is_wrong(sent: bytes, status: int, said: str, apart: bool) -> None:
    """All of them were 400, and "not a well-formed HTTP/1.1 request"."""
    async with edge() as server, server.connected() as client:
        for piece in (sent[:2], sent[2:]) if apart else (sent,):
            await client.send(piece)
            await asyncio.sleep(0)
        answer = await client.answer()
    assert answer.status == status, answer.body
    assert said in answer.json()["detail"]

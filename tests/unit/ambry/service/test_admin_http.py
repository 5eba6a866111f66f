"""The HTTP of an admin port, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from ambry.errors import InvalidRequest
from ambry.service import admin_http
from ambry.service.admin_http import (
    BODY_BYTES_MAX,
    HEAD_BYTES_MAX,
    AdminAnswer,
    AdminConnection,
    AdminRequest,
    as_json,
    parse_head,
)
from tests.support.eventually import eventually

Ask = Callable[..., "asyncio.Task[bytes]"]


class Port:
    """Says back what it heard; `gate` holds answers up."""

    def __init__(self) -> None:
        self.heard: list[AdminRequest] = []
        self.open: set[AdminConnection] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.number = 0

    def connection(self) -> AdminConnection:
        made = AdminConnection(self.answer, self.open.discard)
        self.open.add(made)
        return made

    async def answer(self, request: AdminRequest) -> AdminAnswer:
        self.heard.append(request)
        await self.gate.wait()
        if request.path == "/bug":
            raise RuntimeError("secret")
        return as_json({"path": request.path, "size": len(request.body)})

    async def ask(self, *pieces: bytes, end: bool = False) -> bytes:
        """All that is answered to these bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        with contextlib.closing(writer):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
            if end:
                writer.write_eof()
            return await asyncio.wait_for(reader.read(), 10)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    made = Port()
    server = await asyncio.get_running_loop().create_server(made.connection, "127.0.0.1", 0)
    made.number = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await eventually(lambda: not made.open)


GET = b"GET /page?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
SAID = b'{"path":"/page","size":0}'


async def test_an_answer_tells_its_length_and_that_it_is_the_last(port: Port) -> None:
    head, _, body = (await port.ask(GET)).partition(b"\r\n\r\n")
    assert body == SAID
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(SAID),
        b"Server: ambry",
        b"Connection: close",
    ]


async def test_head_has_no_body(port: Port) -> None:
    answer = await port.ask(GET.replace(b"GET", b"HEAD"))
    assert b"Content-Length: 25\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("at", [1, 20, len(GET) - 1])
async def test_a_request_may_come_in_pieces_and_its_client_may_stop_sending(port: Port, at: int) -> None:
    port.gate.clear()
    asking = asyncio.ensure_future(port.ask(GET[:at], GET[at:], end=True))
    await eventually(lambda: port.heard)
    port.gate.set()
    assert (await asking).endswith(SAID)


async def test_a_body_is_waited_for_and_asked_for_where_it_must_be(port: Port) -> None:
    head = b"POST /page HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
    assert (await port.ask(head + b"\r\n01234", b"56789")).endswith(b'"size":10}')
    answer = await port.ask(head + b"Expect: 100-continue\r\n\r\n", b"0123456789")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert [request.body for request in port.heard] == [b"0123456789"] * 2


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1), 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * HEAD_BYTES_MAX, 431),
    ],
)
async def test_what_is_no_request_is_refused(port: Port, sent: bytes, status: int) -> None:
    answer = await port.ask(sent)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b'{"error":"InvalidRequest","detail":"' in answer
    assert not port.heard


async def test_a_bug_is_told_as_one_and_keeps_its_secrets(port: Port) -> None:
    answer = await port.ask(GET.replace(b"/page", b"/bug"))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer


async def test_who_says_nothing_or_goes_holds_nothing(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_http, "COMES_WITHIN_S", 0.05)
    with contextlib.suppress(ConnectionError):
        assert await port.ask(GET[:10]) == b""
    assert not port.open
    port.gate.clear()
    asking = asyncio.ensure_future(port.ask(GET))
    await eventually(lambda: port.heard)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert port.open, "what was begun goes on"
    port.gate.set()
    await eventually(lambda: not port.open)


def test_an_absolute_target_names_whom_its_client_means() -> None:
    parsed = parse_head(b"GET http://evil.example/page?q HTTP/1.1\r\nHost: localhost\r\nX-Y:  z ")
    assert (parsed.authority, parsed.path, parsed.headers["x-y"]) == ("evil.example", "/page", "z")
    assert parse_head(b"GET http://evil.example HTTP/1.0").path == "/"
    with pytest.raises(InvalidRequest):
        parse_head(b"GET / HTTP/1.1\r\n folded: x")

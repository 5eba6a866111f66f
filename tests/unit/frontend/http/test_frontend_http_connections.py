"""What a connection may send and hold, over real sockets with nothing behind them."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections import Counter
from contextlib import suppress

import pytest
from aiohttp import web

from ambry.errors import Unavailable
from frontend.http import refusals
from frontend.http.connections import READ_BYTES, Connection
from frontend.http.framing import FRAMING_EXCESS_MAX
from frontend.http.handler import Handler
from frontend.http.refusals import Refusal
from frontend.http.turns import HEAVY_BYTES, LIGHT_MAX, LIGHT_WAITING_MAX, Portions, Unheard
from tests.support.captured_log import capture_log, said
from tests.support.edge import Edge, edge
from tests.support.http_frontend import until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def handler_of(server: Edge) -> Handler:
    """That of the only connection."""
    (connection,) = server.server._open
    assert connection.handler is not None
    return connection.handler


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        # RFC 9112 section 3: what is no request line.
        (b"this is no http <script>\r\n\r\n", 400),
        # RFC 9112 section 6.3: lengths that do not agree.
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        # RFC 9112 section 3.2: HTTP/1.1 without Host.
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        # RFC 9112 section 3: a request line that is too long.
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        # RFC 6585 section 5: one header too long, too many of them, too much of all.
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Many: a\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Much: %s\r\n" % (b"a" * 10_000) * 7 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Much: %s\r\n" % (b"a" * 10_000) * 7, 431),
        # RFC 9112 section 6.1: a transfer coding that is not known.
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 501),
        # RFC 9110 section 15.6.6: another version.
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.7\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
async def test_what_the_parser_refuses_is_answered_with_a_problem_and_a_request_id(sent: bytes, status: int) -> None:
    async with edge() as server, server.connected() as client:
        await client.send(sent)
        answer = await client.answer()
        assert await client.at_end()
    problem = answer.json()
    assert answer.status == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == problem["request_id"]
    assert answer.headers["server"] == "ambry"
    assert answer.headers["connection"] == "close"
    assert b"script" not in answer.body


async def test_a_head_that_does_not_come_to_its_end_is_answered_408() -> None:
    async with edge(header_timeout_s=0.3) as server, server.connected() as client, server.connected() as silent:
        await client.send(GET[:-2])
        answer = await client.answer()
        assert answer.status == 408
        assert answer.headers["connection"] == "close"
        assert await client.at_end()
        assert await silent.at_end()


async def test_the_deadline_of_a_head_does_not_move_with_every_byte() -> None:
    async with edge(header_timeout_s=0.5) as server, server.connected() as client:
        await client.send(GET)
        assert (await client.answer()).status == 200

        async def drip() -> None:
            await client.send(b"GET / HTTP/1.1\r\nHost: ")
            while True:
                await client.send(b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert (await client.answer()).status == 408
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_an_idle_connection_is_closed_after_a_while_and_one_in_use_is_not() -> None:
    async def slow(_request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(1.2)
        return web.Response()

    async with edge(slow, header_timeout_s=0.5) as server, server.connected() as busy:
        await busy.send(GET)
        assert (await busy.answer()).status == 200
        assert await busy.at_end()


async def test_heads_on_their_way_hold_a_bounded_sum_together() -> None:
    """300 heads of 127 headers with 16 KB, none of them whole, once held 1.2 GB."""
    async with edge(head_bytes_max=32 << 10, heads_bytes_max=128 << 10) as server:
        part = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Much: %s\r\n" % (b"a" * 10_000) * 2
        async with server.connected() as first, server.connected() as second, server.connected() as third:
            for client in (first, second):
                await client.send(part)
            await until(lambda: server.server.admission.head_bytes > 2 * 3 * 20_000, "both are held")
            await third.send(part)
            answer = await third.answer()
            assert (answer.status, answer.headers["connection"]) == (503, "close")
            await first.send(b"\r\n")
            assert (await first.answer()).status == 200
            await until(lambda: server.server.admission.head_bytes < 2 * 3 * 20_000, "the first gave back")
        await until(lambda: server.server.admission.head_bytes == 0, "all gave back")


async def test_a_client_that_sends_no_more_gets_the_answers_to_all_it_asked() -> None:
    async with edge() as server, server.connected() as client:
        await client.send(GET * 3)
        client.writer.write_eof()
        answers = [await client.answer() for _ in range(3)]
        assert [each.status for each in answers] == [200, 200, 200]
        assert await client.at_end()


@pytest.mark.parametrize("sent", [GET[:10], GET[:-2]])
async def test_a_head_that_ends_early_is_answered_400(sent: bytes) -> None:
    async with edge() as server, server.connected() as client:
        await client.send(GET + sent)
        client.writer.write_eof()
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 400
        assert await client.at_end()


async def test_requests_that_come_ahead_of_their_turn_are_all_answered_in_order_and_hold_little() -> None:
    seen: list[str] = []
    going = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await going.wait()
        seen.append(request.raw_path)
        return web.Response(text=request.raw_path)

    async with edge(handler) as server, server.connected() as client:
        count = 20_000
        sending = asyncio.create_task(
            client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(count)))
        )
        await until(lambda: any(not each.idle for each in server.server._open), "the first is being answered")
        assert not seen
        going.set()
        for number in range(count):
            assert (await client.answer()).body == b"/%d" % number
        await sending


async def test_a_body_that_cannot_be_understood_ends_the_request_that_has_it() -> None:
    seen: list[BaseException] = []
    started: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        started.append(request.method)
        try:
            await request.read()
        except Exception as error:
            seen.append(error)
        return web.Response(status=400)

    async with edge(handler) as server, server.connected() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await until(lambda: started, "the request is being answered")
        await client.send(b"zz\r\n")
        assert (await client.answer()).status == 400
        assert await client.at_end()
    assert [type(error) for error in seen] == [web.RequestPayloadError]


async def test_the_answer_to_what_is_refused_reaches_a_client_that_still_sends() -> None:
    """A connection that is closed on unread bytes is reset, and the answer with it."""
    async with edge() as server, server.connected() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Much: %s\r\n" % (b"a" * 10_000) * 100)
        answer = await client.answer()
        assert answer.status == 431
        assert json.loads(answer.body)["status"] == 431


BROKEN = [b"G@T / HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", GET.replace(b"\r\nHost", b"\r\n Host"), b"\0"]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("whole", [1, 2, 5])
async def test_whole_requests_are_answered_though_a_broken_one_came_with_them(whole: int, broken: bytes) -> None:
    """In one packet: the parser forgot the whole ones, so an upload was answered with the refusal of what came behind it."""
    upload = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nab\r\n\r\n"
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nab\r\n\r\n\r\n0\r\n\r\n"

    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=await request.read())

    async with edge(echo) as server, server.connected() as client:
        await client.send((GET + upload + chunked) * whole + broken)
        for _ in range(whole):
            assert [(await client.answer()).body for _ in range(3)] == [b"", b"ab\r\n\r\n", b"ab\r\n\r\n"]
        assert (await client.answer()).status in (400, 505)
        assert await client.at_end()


@pytest.mark.parametrize("cut", range(1, 40))
async def test_a_trailer_is_never_a_header_of_the_next_request(cut: int) -> None:
    """The parser kept the last line of a trailer and gave it to the next request, whoever it came from through a proxy."""
    seen: list[list[str]] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(sorted(name.lower() for name in request.headers))
        return web.Response(body=await request.read())

    chunked = (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-One: 1\r\nX-Leak: 1\r\n\r\n"
    )
    sent = chunked + GET
    async with edge(handler) as server, server.connected() as client:
        await client.send(sent[:-cut])
        await asyncio.sleep(0.001)
        await client.send(sent[-cut:])
        assert (await client.answer()).body == b"ab"
        assert (await client.answer()).status == 200
    assert seen[1] == ["host"]


@pytest.mark.parametrize(
    "head", [b"HEAD /a b HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n", b"\r\nHEAD / HTTP/9.9\r\n\r\n"]
)
@pytest.mark.parametrize("cut", [0, 7, 12])
async def test_the_refusal_of_a_head_has_no_body(head: bytes, cut: int) -> None:
    """RFC 9110 section 9.3.2."""
    async with edge() as server, server.connected() as client:
        await client.send(head[:cut])
        await asyncio.sleep(0.001)
        await client.send(head[cut:])
        status, _ = await client.head()
        assert status in (400, 505)
        assert await client.at_end()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        # RFC 9110 section 2.5: other protocols, which the parser takes for this one.
        (b"GET / RTSP/1.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505),
        # RFC 9112 section 3: one space.
        (b"GET /  HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        # RFC 9112 section 6.1: framing that is not known, whatever the method.
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
    ],
)
async def test_what_the_parser_takes_and_nobody_here_speaks_is_refused(sent: bytes, status: int) -> None:
    async with edge() as server, server.connected() as client:
        await client.send(sent + GET)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert await client.at_end()


@pytest.mark.parametrize(
    "head", [b"CONNECT / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"]
)
async def test_what_follows_a_change_of_protocol_is_not_taken_for_requests(head: bytes) -> None:
    async def refuse(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=405, text="no")

    async with edge(refuse) as server, server.connected() as client:
        await client.send(head + b"Content-Length: 2\r\n\r\nxx" + GET)
        assert (await client.answer()).status == 405
        assert await client.at_end()


@pytest.mark.parametrize("body", [b"\r\n", b"Content-Length: 1\r\n\r\na"])
@pytest.mark.parametrize("behind", [b"", GET])
async def test_close_wins_over_keep_alive(body: bytes, behind: bytes) -> None:
    """RFC 9112 section 9.3; for HTTP/1.0 the parser had it the other way round, and a body hid it from us."""
    async with edge() as server, server.connected() as client:
        await client.send(b"GET / HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n" + body + behind)
        answer = await client.answer()
        assert (answer.status, answer.headers.get("connection", "close")) == (200, "close")
        assert await client.at_end()


async def test_a_proxys_wish_keeps_no_connection() -> None:
    """RFC 9112 appendix C.2.2; the parser obeyed it."""
    async with edge() as server, server.connected() as client:
        await client.send(b"GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n" + GET)
        assert (await client.answer()).status == 200
        assert await client.at_end()


ENDS = {
    "the server": GET,
    "the client": GET.replace(b"Host", b"Connection: close\r\nHost"),
    "the client, who also does not": GET.replace(b"Host", b"Connection: close\r\nConnection: keep-alive\r\nHost"),
    "the age of the client": GET.replace(b"1.1", b"1.0"),
    "the drain": GET,
    "the drain, with requests waiting": GET * 4,
    "a refusal of an upload": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 100_000,
}


@pytest.mark.parametrize("ends", ENDS)
async def test_the_last_answer_reaches_a_client_that_still_sends(ends: str) -> None:
    """RFC 9112 section 9.6: closed at once, the connection was reset by what came next, and the rest of the answer was lost.

    The client has room for less than the answer, so some of it waits in the server's kernel, which a reset throws away.
    """
    size = 12_000
    asked = asyncio.Event()
    drained = ends.startswith("the drain")

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        if drained:
            await until(lambda: server.server.draining, "it is drained")
        response = web.Response(body=bytes(size))
        if drained or ends in ("the server", "a refusal of an upload"):
            response.force_close()
        return response

    async with edge(handler, lingering_s=5.0) as server:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", server.port))
            await loop.sock_sendall(client, ENDS[ends])
            await asked.wait()
            hurry = asyncio.Event()
            draining = asyncio.ensure_future(server.server.drain(timeout_s=5, hurry=hurry) if drained else hurry.wait())
            await until(lambda: said_all(server), "it has answered, and closed or not")
            with suppress(BlockingIOError):
                client.send(b"more" * 500)
            answer = b""
            while data := await loop.sock_recv(client, 1 << 16):
                answer += data
        hurry.set()
        await draining
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) and answer.endswith(bytes(size))


def said_all(server: Edge) -> bool:
    """Whether the only connection has given its last answer to the kernel."""
    return not server.server._open or all(each._lingering is not None for each in server.server._open)


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_the_rest_of_a_body_that_was_given_up_is_never_a_request() -> None:
    """It was at its end for us, so what came next in the chunk was parsed and answered as a request."""
    seen: list[str] = []
    failed = asyncio.Event()
    going = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.method)
        try:
            await request.read()
        except Exception:
            failed.set()
            await going.wait()
            return web.Response(status=503)
        return web.Response()

    async with edge(handler) as server, server.connected() as client:
        await client.send(CHUNKED + b"10000\r\n" + b"a" * 100)
        await until(lambda: seen, "the upload runs")
        (connection,) = server.server._open
        connection.give_up(Unavailable("stopping", retry_after_s=1))
        await failed.wait()
        await client.send(b"DELETE /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.05)
        going.set()
        assert (await client.answer()).status == 503
        assert await client.at_end()
    assert seen == ["POST"]


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
        CHUNKED + b"5\r\nab",
        CHUNKED + b"5\r\nabcde\r\n",
        CHUNKED + b"0\r\nX-Trailer: ",
    ],
)
@pytest.mark.parametrize("then", [b"", b"malformed"])
async def test_a_client_that_leaves_after_an_early_refusal_is_no_error(
    sent: bytes, then: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It once was a line of level error with a traceback, which anybody could write as often as he liked."""
    events = capture_log(monkeypatch, refusals)

    async def refuse(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=400, text="no")

    with caplog.at_level(logging.INFO):
        async with edge(refuse) as server, server.connected() as client:
            await client.send(sent)
            assert (await client.answer()).status == 400
            handler = handler_of(server)
            await until(lambda: handler._body._waiter is not None, "the rest is waited for, to be forgotten")
            await client.send(then)
            client.writer.write_eof()
            assert await client.at_end()
            await until(lambda: not server.server._open, "the connection ended")
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert {item["log_level"] for item in events} <= {"info"}
    assert then or said(events, "the rest of a body that was not wanted is not whole")


@pytest.mark.parametrize("lines", [10, 200, 5000])
async def test_a_request_behind_a_chunked_body_full_of_empty_lines_is_answered(lines: int) -> None:
    """Above 16 empty lines in one read the end of the body was not found, and what followed was refused."""
    text = b"\r\n\r\n" * lines

    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=await request.read())

    async with edge(echo) as server, server.connected() as client:
        await client.send((CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text) + GET) * 2)
        for expected in (text, b"", text, b""):
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, expected)


async def test_after_a_body_that_came_apart_from_its_head_the_connection_is_idle() -> None:
    """Its bytes were counted as those of a head: a 408 that nobody had asked for came, and a drain waited for it."""

    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=await request.read())

    async with edge(echo, header_timeout_s=0.3) as server, server.connected() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
        await until(lambda: any(not each.idle for each in server.server._open), "the upload runs")
        (connection,) = server.server._open
        await client.send(b"abc")
        assert (await client.answer()).body == b"abc"
        await until(lambda: connection.idle, "nothing is under way")
        assert (handler_of(server).head_size, connection.head_deadline) == (0, 0.0)
        assert not server.server._busy()
        assert await client.at_end()


@pytest.mark.parametrize("before", [b"", GET])
@pytest.mark.parametrize("lines", [b"\r\n", b"\r\n" * 100, b"\n\r\n"])
async def test_empty_lines_are_no_request_that_has_begun(before: bytes, lines: bytes) -> None:
    """RFC 9112 section 2.2: some clients send one behind a body. It was answered 408 when the time for a head was over."""
    async with edge(header_timeout_s=0.3) as server, server.connected() as client:
        await client.send(before + lines)
        if before:
            assert (await client.answer()).status == 200
        assert await client.at_end()
    async with edge() as server, server.connected() as client:
        await client.send(before + lines + GET)
        for _ in range(2 if before else 1):
            assert (await client.answer()).status == 200
        await client.send(lines)
        client.writer.write_eof()
        assert await client.at_end()


async def test_who_is_lost_in_the_turn_in_which_they_came_is_no_bug() -> None:
    """aiohttp asserted in a task that nobody awaits, which is an ERROR in the log: one of 100,000 hostile requests."""
    async with edge() as server, server.connected():
        await until(lambda: server.server._open, "it is connected")
        (connection,) = server.server._open
        handler = server.server.make_handler(connection)
        answers = handler._task_handler
        handler.connection_lost(None)
        assert answers is not None
        await answers


async def test_a_bug_while_something_is_read_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was deaf from then on, for as long as its client stayed."""
    real = Handler.data_received

    def broken(self: Handler, data: bytes) -> None:
        if b"boom" in data:
            raise RuntimeError("a bug")
        real(self, data)

    monkeypatch.setattr(Handler, "data_received", broken)
    async with edge() as server, server.connected() as client:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        await client.send(GET)
        assert (await client.answer()).status == 200
        (connection,) = server.server._open
        with pytest.raises(RuntimeError):
            handler_of(server).feed(GET.replace(b"/", b"/boom", 1))
        assert await client.at_end()
        assert connection.broken


async def say_why(request: web.BaseRequest) -> web.StreamResponse:
    """Answers with what ended the body, or how long it was."""
    try:
        return web.Response(text=str(len(await request.read())))
    except Refusal as refused:
        return web.Response(status=refused.error.status, text=refused.error.message)
    except web.RequestPayloadError as error:
        return web.Response(status=400, text=str(error))


@pytest.mark.parametrize(
    ("before", "piece", "status", "word"),
    [
        (b"0\r\n", b"X-Long: %b\r\n" % (b"a" * 4_000), 431, b"trailers"),
        (b"1;", b"x" * 1_000, 400, b"the line before a chunk"),
        (b"", b"1\r\nx\r\n" * 1_000, 400, b"larger chunks"),
    ],
)
async def test_what_stands_around_the_content_of_a_chunked_body_is_bounded(
    before: bytes, piece: bytes, status: int, word: bytes
) -> None:
    """1,200 uploads with long trailers once held 770 MB; 200 in chunks of one byte held everybody up for a minute."""
    async with edge(say_why) as server, server.connected() as client:

        async def flood() -> None:
            for _ in range(FRAMING_EXCESS_MAX // 1_000):
                await client.send(piece)

        await client.send(CHUNKED + before)
        flooding = asyncio.create_task(flood())
        answer = await client.answer()
        assert answer.status == status
        assert word in answer.body
        assert await client.at_end()
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


async def test_trailers_on_their_way_are_in_the_account_of_the_heads() -> None:
    trailer = b"X-Long: %b\r\n" % (b"a" * 10_000)
    async with edge(say_why, head_bytes_max=32 << 10, heads_bytes_max=128 << 10) as server:
        async with server.connected() as first, server.connected() as second, server.connected() as third:
            for client in (first, second):
                await client.send(CHUNKED + b"1\r\nx\r\n0\r\n" + trailer * 2)
            await until(lambda: server.server.admission.head_bytes > 2 * 3 * 20_000, "both are held")
            await third.send(CHUNKED + b"1\r\nx\r\n0\r\n" + trailer * 2)
            assert (await third.answer()).status == 503
            assert await third.at_end()
            await first.send(b"\r\n")
            answer = await first.answer()
            assert (answer.status, answer.body) == (200, b"1")
            await until(lambda: server.server.admission.head_bytes < 2 * 3 * 20_000, "the first gave back")
            await first.send(GET)
            assert (await first.answer()).status == 200
        await until(lambda: server.server.admission.head_bytes == 0, "all gave back")


@pytest.mark.parametrize("length", [1, 10, 100_000])
@pytest.mark.parametrize("before", [b"", GET])
async def test_an_upload_whose_client_sends_no_more_has_one_answer(before: bytes, length: int) -> None:
    """A second one came, for a head that nobody had begun."""
    async with edge(say_why) as server, server.connected() as client:
        await client.send(
            before + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length + b"x" * (length // 2)
        )
        client.writer.write_eof()
        if before:
            assert (await client.answer()).status == 200
        assert (await client.answer()).status == 400
        assert await client.at_end()


class Crowd:
    """Connections that send at once, before the event loop turns again."""

    def __init__(self, server: Edge, count: int) -> None:
        self.socks = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]

    def send(self, data: bytes) -> None:
        for sock in self.socks:
            sock.sendall(data)

    async def answers(self) -> list[bytes]:
        loop = asyncio.get_running_loop()
        for sock in self.socks:
            sock.setblocking(False)
        async with asyncio.timeout(60):
            return [await loop.sock_recv(sock, 1 << 16) for sock in self.socks]

    def close(self) -> None:
        for sock in self.socks:
            sock.close()


@pytest.mark.parametrize("ends", [False, True])
async def test_the_requests_of_a_crowd_are_taken_up_a_few_in_a_turn_and_all_answered(
    ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, heard, loop = 0, Counter[int](), asyncio.get_running_loop()
    waiting: list[list[Connection]] = []
    real = Handler.feed

    def feed(handler: Handler, data: bytes) -> None:
        heard[turn] += 1
        waiting.append([each for each in server.server._open if each._unheard])
        assert not any(each.idle for each in waiting[-1])
        real(handler, data)

    monkeypatch.setattr(Handler, "feed", feed)

    def tick() -> None:
        nonlocal turn
        turn += 1
        ticking[0] = loop.call_soon(tick)

    ticking = [loop.call_soon(tick)]
    async with edge() as server:
        crowd = Crowd(server, 100)
        await until(lambda: len(server.server._open) == 100, "all are adopted")
        crowd.send(GET)
        if ends:
            for sock in crowd.socks:
                sock.shutdown(socket.SHUT_WR)
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in await crowd.answers())
        crowd.close()
    ticking[0].cancel()
    assert heard.total() == 100
    assert max(map(len, waiting)) > 50
    assert max(heard.values()) <= LIGHT_MAX + LIGHT_WAITING_MAX


async def test_who_leaves_before_it_was_heard_is_forgotten() -> None:
    handled = 0

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal handled
        handled += 1
        for connection in list(server.server._open):
            if connection._unheard:
                connection.abort("as if it were reset")
        return web.Response()

    async with edge(handle) as server:
        crowd = Crowd(server, 100)
        await until(lambda: len(server.server._open) == 100, "all are adopted")
        crowd.send(GET)
        await until(lambda: handled > 0, "some are heard")
        crowd.close()
        await until(lambda: not server.server._open, "all are gone")
    assert handled < 50


async def test_full_reads_of_bodies_wait_for_each_other_and_all_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    async def count(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=str(len(await request.read())))

    waited: list[bool] = []
    real = Portions.wait

    def wait(portions: Portions, who: Unheard, *, heavy: bool, known: bool) -> None:
        waited.append(heavy)
        real(portions, who, heavy=heavy, known=known)

    monkeypatch.setattr(Portions, "wait", wait)
    size = 1 << 17
    async with edge(count) as server:
        crowd = Crowd(server, 32)
        await until(lambda: len(server.server._open) == 32, "all are adopted")
        crowd.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        assert all(answer.endswith(b"%d" % size) for answer in await crowd.answers())
        crowd.close()
    assert waited.count(True) >= 32 - HEAVY_BYTES // READ_BYTES

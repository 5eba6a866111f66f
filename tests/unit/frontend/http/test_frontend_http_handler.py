"""How much of one connection is parsed before the others have their turn, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, defaultdict
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from frontend.http import connections
from frontend.http.handler import Handler
from frontend.http.turns import LINES_MAX, Turns, Waiting
from tests.support.edge import edge
from tests.support.http_frontend import until

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
TINY = b"5\r\nabcde\r\n"


async def count(request: web.BaseRequest) -> web.StreamResponse:
    size = 0
    async for piece in request.content.iter_any():
        size += len(piece)
    return web.Response(text=str(size))


class Parsed:
    """What parsers were given, by connection and by turn of the event loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turn = 0
        self.lines: defaultdict[int, Counter[int]] = defaultdict(Counter)
        real = Handler.data_received

        def noting(handler: Handler, data: bytes) -> None:
            self.lines[id(handler)][self.turn] += data.count(b"\n") // 2
            real(handler, data)

        monkeypatch.setattr(Handler, "data_received", noting)
        self._tick()

    def _tick(self) -> None:
        self.turn += 1
        self._handle = asyncio.get_running_loop().call_soon(self._tick)

    def stop(self) -> None:
        self._handle.cancel()

    @property
    def total(self) -> int:
        return sum(sum(turns.values()) for turns in self.lines.values())


@pytest.fixture
async def parsed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parsed]:
    noted = Parsed(monkeypatch)
    yield noted
    noted.stop()


def those_who_wait(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Everybody who queues up from now on."""
    waited: list[object] = []
    real = Turns.wait

    def wait(turns: Turns, who: Waiting) -> None:
        waited.append(who)
        real(turns, who)

    monkeypatch.setattr(Turns, "wait", wait)
    return waited


@pytest.mark.parametrize("begin", [b"", b"100000\r\n" + bytes(1 << 20) + b"\r\n"])
async def test_a_flood_of_tiny_chunks_is_parsed_in_shares(begin: bytes, parsed: Parsed) -> None:
    """Up to 256 KiB of them were parsed at a time, and what waited was copied for each: others' puts took 7 s."""
    async with edge(count) as server, server.connected() as one, server.connected() as other:
        for client in (one, other):
            await client.send(CHUNKED + begin + TINY * 2_000 + b"0\r\n\r\n" + GET)
        for client in (one, other):
            assert (await client.answer()).body == b"%d" % (10_000 + (len(begin) and 1 << 20))
            assert (await client.answer()).body == b"0"
    for turns in parsed.lines.values():
        # One from what waited, one from what was read, and the lines of a head.
        assert max(turns.values()) <= 2 * LINES_MAX + 5
    shares = Counter[int]()
    for turns in parsed.lines.values():
        shares.update(turn for turn, lines in turns.items() if lines == LINES_MAX)
    assert max(shares.values()) <= 3, "the second waits while the first has its turn"


@pytest.mark.parametrize("extension", [b";a", b";a=b", b';a="b;  c"', b";a=b;c", b";unheard-of=1"])
async def test_extensions_of_chunks_are_read_past(extension: bytes) -> None:
    """RFC 9112 section 7.1.1: a recipient MUST ignore those it does not know."""
    async with edge(count) as server, server.connected() as client:
        await client.send(CHUNKED + b"5" + extension + b"\r\nabcde\r\n0\r\n\r\n" + GET)
        assert [(await client.answer()).body for _ in range(2)] == [b"5", b"0"]


async def test_trailers_are_parsed_in_shares(parsed: Parsed) -> None:
    async with edge(count) as server, server.connected() as client:
        await client.send(CHUNKED + b"1\r\nx\r\n0\r\n" + b"a: b\r\n" * 100 + b"\r\n")
        assert (await client.answer()).body == b"1"
    (turns,) = parsed.lines.values()
    assert max(turns.values()) <= LINES_MAX + 5


async def test_what_a_client_that_is_gone_sent_is_not_parsed_to_its_end(
    parsed: Parsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Megabytes of tiny chunks in the kernel's buffers kept the frontend busy for up to 39 s."""
    monkeypatch.setattr(connections, "ASK_AFTER_S", 0.01)
    async with edge(count) as server:
        sent = 0
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setblocking(False)
            client.send(CHUNKED)
            await until(lambda: parsed.lines, "it is heard")
            for _ in range(40):
                try:
                    sent += client.send(TINY * 10_000) // len(TINY)
                except BlockingIOError:
                    break
        await until(lambda: not server.server._open, "it is let go")
    assert 0 < parsed.total < sent


async def test_a_client_that_is_there_gets_its_answer_though_it_was_asked(
    parsed: Parsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ASK_AFTER_S", 0.001)
    async with edge(count) as server, server.connected() as client:
        await client.send(CHUNKED + TINY * 20_000 + b"0\r\n\r\n")
        client.writer.write_eof()
        asked = 0
        while (head := await client.head())[0] == 100:
            asked += 1
        assert 0 < asked <= connections.ASKED_MAX
        assert head[0] == 200
        assert await client.reader.readexactly(6) == b"100000"


async def test_a_client_of_http_1_0_is_asked_nothing(parsed: Parsed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows no interim answers (RFC 9110 section 15.2), and took the question for the answer."""
    monkeypatch.setattr(connections, "ASK_AFTER_S", 0.001)
    async with edge(count) as server, server.connected() as client:
        await client.send(CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + TINY * 20_000 + b"0\r\n\r\n")
        assert (await client.head())[0] == 200


async def test_who_drips_within_a_request_waits_for_a_turn_after_every_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd that sends single bytes took all of the frontend's time: a turn of the loop heard all of them."""
    waited = those_who_wait(monkeypatch)
    async with edge(count) as server, server.connected() as client:
        await client.send(POST + b"Content-Length: 4\r\n\r\n")
        await until(lambda: any(each.handler is not None for each in server.server._open), "the head came")
        (connection,) = server.server._open
        handler = connection.handler
        assert handler is not None
        for drops in range(1, 4):
            await client.send(b"a")
            await until(lambda drops=drops: handler._body.total_bytes == drops, "a drop came")
            assert waited == [handler] * drops
        await client.send(b"a")
        assert (await client.answer()).body == b"4"
        assert waited == [handler] * 3


@pytest.mark.parametrize("sent", [b"\r\n" * 1_000, b"\n", GET + GET + b"\r\n" * 100_000])
async def test_empty_lines_between_requests_are_read_turn_by_turn(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = those_who_wait(monkeypatch)
    async with edge(count) as server, server.connected() as client:
        await client.send(sent + GET)
        for _ in range(1 + sent.count(b"GET")):
            assert (await client.answer()).status == 200
        await client.send(b"\r\n")
        before = len(waited)
        await until(lambda: len(waited) > before, "they are read and forgotten")
        await client.send(GET)
        assert (await client.answer()).status == 200

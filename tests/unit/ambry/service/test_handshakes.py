"""Sockets on their way to connections: who shows who it is, who says nothing, who speaks HTTP, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from ambry.service import handshakes as module
from ambry.service import turned_away
from ambry.service.handshakes import Handshakes
from ambry.service.listener import Listener, Socket, bind
from ambry.service.tls import HANDSHAKE_S, ReloadingTls, front_context
from ambry.service.turned_away import TurnedAway
from tests.support.captured_log import Events, capture_log, said
from tests.support.eventually import eventually
from tests.support.node_certificates import authority, front_section

ANSWER = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def on_both_loops(story: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The one that servers have, and asyncio's own: each takes a socket over in its own way."""

    @functools.wraps(story)
    def told(new_loop: Callable[[], asyncio.AbstractEventLoop], **given: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(story(**given))

    asked = inspect.signature(story)
    loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    told.__signature__ = asked.replace(parameters=[*asked.parameters.values(), loop])  # type: ignore[attr-defined]
    loops = [uvloop.new_event_loop, asyncio.new_event_loop]
    marked: Callable[..., None] = pytest.mark.parametrize("new_loop", loops, ids=["uvloop", "asyncio"])(told)
    return marked


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    return capture_log(monkeypatch, turned_away)


class Said(asyncio.Protocol):
    """A connection that counts how often it was made and lost."""

    def __init__(self) -> None:
        self.made = self.lost = 0
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made += 1
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost += 1


class Port:
    """A port that does nothing with who is connected."""

    def __init__(self, directory: Path, *, within_s: float, in_tls: bool = True) -> None:
        self.ca = authority(directory)
        self.tls = ReloadingTls(front_section(self.ca), front_context) if in_tls else None
        self.failed = 0
        self.connections: list[Said] = []
        turned = TurnedAway("a client", asyncio.get_running_loop().time)
        self.handshakes: Handshakes[Said] = Handshakes(
            turned, within_s=within_s, to_http=lambda client: ANSWER, failed=self._count
        )
        self.listener = Listener(bind("127.0.0.1", 0), self._accepted, name="test")

    def _count(self) -> None:
        self.failed += 1

    def _accepted(self, sock: Socket, client: str) -> None:
        self.connections.append(Said())
        self.handshakes.begin(sock, client, self.connections[-1], self.tls)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        before = len(self.connections)
        made = await asyncio.open_connection("127.0.0.1", self.listener.port)
        await eventually(lambda: len(self.connections) > before)
        return made

    async def connect_in_tls(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cafile=str(self.ca.certificate_file))
        return await asyncio.open_connection("127.0.0.1", self.listener.port, ssl=context, server_hostname="localhost")


@contextlib.asynccontextmanager
async def opened(directory: Path, *, within_s: float = HANDSHAKE_S, in_tls: bool = True) -> AsyncIterator[Port]:
    port = Port(directory, within_s=within_s, in_tls=in_tls)
    try:
        yield port
    finally:
        port.listener.close()
        await port.handshakes.ended(within_s=0)
        assert not port.handshakes


async def ends(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""


@on_both_loops
async def test_who_shows_who_it_is_is_connected(tmp_path: Path) -> None:
    async with opened(tmp_path) as port:
        _, writer = await port.connect_in_tls()
        await eventually(lambda: not port.handshakes)
        assert (port.connections[0].made, port.connections[0].lost, port.failed) == (1, 0, 0)
        writer.close()
        await eventually(lambda: port.connections[0].lost)


@on_both_loops
async def test_who_says_nothing_is_given_up_by_age_and_nobody_else_is(tmp_path: Path, events: Events) -> None:
    async with opened(tmp_path) as port:
        silent = [await port.connect() for _ in range(3)]
        assert port.handshakes.give_up_oldest() is port.connections[0]
        await ends(silent[0][0])
        await eventually(lambda: len(port.handshakes) == 2)
        assert (port.connections[0].made, port.connections[0].lost, port.failed) == (0, 1, 0)
        [line] = said(events, "a client was turned away in its handshake")
        assert line["error"] == "others came, and it had not said who it is"
        assert port.handshakes.give_up_oldest() is port.connections[1], "each is given up once"
        _, writer = await port.connect_in_tls()
        writer.close()
        for _, each in silent:
            each.close()


@on_both_loops
async def test_what_is_a_connection_is_not_given_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as port:
        _, writer = await port.connect_in_tls()
        await eventually(lambda: not port.handshakes)
        assert port.handshakes.give_up_oldest() is None
        port.handshakes.give_up_all("it stops")
        assert port.connections[0].lost == 0
        writer.close()


@on_both_loops
async def test_who_says_nothing_has_its_time_and_then_is_gone_without_a_line_or_a_count(
    tmp_path: Path, events: Events
) -> None:
    """Browsers open connections in advance, and load balancers look whether a port is open: refused handshakes rose."""
    async with opened(tmp_path, within_s=0.05) as port:
        reader, writer = await port.connect()
        await ends(reader)
        writer.close()
        _, prober = await port.connect()
        prober.close()
        await eventually(lambda: [each.lost for each in port.connections] == [1, 1])
        await eventually(lambda: not port.handshakes)
        assert port.failed == 0
        assert said(events, "a client was turned away in its handshake") == []


@on_both_loops
async def test_who_begins_a_handshake_and_stops_has_that_time_in_all(tmp_path: Path, events: Events) -> None:
    async with opened(tmp_path, within_s=0.05) as port:
        for _ in range(100):
            # What it says is here before it is accepted. A process that stands still meanwhile takes it for silent: then again.
            raw = socket.create_connection(("127.0.0.1", port.listener.port))
            raw.send(b"\x16\x03\x01")
            reader, writer = await asyncio.open_connection(sock=raw)
            await ends(reader)
            writer.close()
            await eventually(lambda: not port.handshakes)
            if events:
                break
        [line] = said(events, "a client was turned away in its handshake")
        assert line["error"] == "it stopped in its hello for 0.05 s"
        assert (port.connections[-1].lost, port.failed) == (1, 1)


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1\r\n", b"PROPFIND /", b"p"])
@on_both_loops
async def test_who_speaks_http_in_the_clear_is_told_so_in_the_clear(
    tmp_path: Path, events: Events, request_line: bytes
) -> None:
    async with opened(tmp_path) as port:
        reader, writer = await port.connect()
        writer.write(request_line)
        assert await reader.read() == ANSWER
        writer.close()
        await eventually(lambda: not port.handshakes)
        assert (port.connections[0].made, port.connections[0].lost) == (0, 1)
        assert (events, port.failed) == ([], 0), "it is answered, by whoever writes that down"


@on_both_loops
async def test_of_a_flood_a_few_are_told_and_all_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    """Each that waits to be told has a descriptor of its own, or is read for a second."""
    monkeypatch.setattr(module, "TOLD_MAX", 2)
    async with opened(tmp_path) as port:
        flood = [await port.connect() for _ in range(6)]
        for _, writer in flood:
            writer.write(b"GET / HTTP/1.1\r\n")
        # They do not close theirs, so those that are told keep their places for a while.
        told = []
        for reader, _ in flood:
            with contextlib.suppress(ConnectionError):  # of what it sent nobody read anything
                told.append(await reader.read())
        assert 2 <= told.count(ANSWER) < 6, told
        for _, writer in flood:
            writer.close()
        await eventually(lambda: not port.handshakes)
        assert port.failed == len(events) > 0
        assert {line["error"] for line in events} == {"it speaks HTTP in the clear, and this port speaks HTTPS"}


@on_both_loops
async def test_at_the_end_those_that_are_silent_are_closed_and_the_wait_is_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path, within_s=3_600) as port:
        silent = [await port.connect() for _ in range(5)]
        begun = await port.connect()
        begun[1].write(b"\x16\x03\x01")
        async with asyncio.timeout(60):
            await port.handshakes.ended(within_s=0.05)
        for reader, writer in [*silent, begun]:
            await ends(reader)
            writer.close()
        assert [each.lost for each in port.connections] == [1] * 6


@on_both_loops
async def test_in_the_clear_whoever_comes_is_connected_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path, in_tls=False) as port:
        reader, writer = await port.connect()
        await eventually(lambda: port.connections[0].made and not port.handshakes)
        port.handshakes.give_up_all("it stops")
        writer.close()
        await eventually(lambda: port.connections[0].lost)
        await ends(reader)


def hello() -> bytes:
    """What a client says first."""
    heard, said_first = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(heard, said_first, server_hostname="localhost").do_handshake()
    return said_first.read()


@on_both_loops
async def test_a_handshake_begins_in_its_turn_and_when_the_whole_hello_is_here(tmp_path: Path) -> None:
    asked: list[asyncio.Future[None]] = []

    async def turn() -> None:
        asked.append(asyncio.get_running_loop().create_future())
        await asked[-1]

    async with opened(tmp_path / "a") as port:
        port.handshakes = Handshakes(
            TurnedAway("a client", asyncio.get_running_loop().time), within_s=HANDSHAKE_S, turn=turn
        )
        words = hello()
        reader, writer = await port.connect()
        _, quick = await port.connect()
        for part in (words[:1], words[1:5], words[5:-1]):
            writer.write(part)
            await writer.drain()
        quick.write(words)
        await eventually(lambda: len(asked) == 1)
        asked[0].set_result(None)
        writer.write(words[-1:])
        await eventually(lambda: len(asked) == 2)
        asked[1].set_result(None)
        answer = await reader.read(1)
        assert answer == b"\x16", "the server's hello"
        writer.close()
        quick.close()


@on_both_loops
async def test_half_a_hello_wakes_nobody_and_is_heard_when_no_more_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bytes] = []
    wanted = module._wanted

    def counted(words: bytes) -> int:
        looks.append(words)
        return wanted(words)

    monkeypatch.setattr(module, "_wanted", counted)
    async with opened(tmp_path / "a") as port:
        reader, writer = await port.connect()
        writer.write(hello()[:100])
        await eventually(lambda: bool(looks))
        seen = len(looks)
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(looks) == seen == 1
        writer.write_eof()
        await ends(reader)
        await eventually(lambda: port.failed == 1)
        assert len(looks) == 2


def test_the_first_record_of_a_handshake_is_waited_for_and_nothing_else() -> None:
    words = hello()
    assert [module._wanted(words[:count]) for count in (1, 4, 5, len(words) - 1, len(words))] == [
        module.RECORD_HEAD, module.RECORD_HEAD, len(words), len(words), 0
    ]  # fmt: skip
    assert [module._wanted(other) for other in (b"", b"GET /", b"\x15\x03\x01", b"\x16\x03\x01\x40\x01")] == [0] * 4


@on_both_loops
async def test_without_a_descriptor_to_spare_nobody_is_told_and_whoever_is_well_gets_in(tmp_path: Path) -> None:
    """The wish to tell a client why its handshake fails took another descriptor, and without one reset who was well."""
    async with opened(tmp_path) as port:
        good = ssl.create_default_context(cafile=str(port.ca.certificate_file))
        bad = ssl.create_default_context()
        (_, well), (_, wrong) = await port.connect(), await port.connect()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                os.open(os.devnull, os.O_RDONLY)
            await well.start_tls(good, server_hostname="localhost")
            with pytest.raises(OSError):
                await wrong.start_tls(bad, server_hostname="localhost")
            await eventually(lambda: not port.handshakes)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert [each.made for each in port.connections] == [1, 0]
        assert port.failed == 1
        well.close()
        wrong.close()

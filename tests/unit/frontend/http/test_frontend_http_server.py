"""Accepting, slow clients, and the end, over real sockets with nothing behind them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from ambry.service import handshakes, heap, turned_away
from ambry.service.metrics import registry
from ambry.service.tls import ReloadingTls, front_context
from frontend.http import server as http_server
from frontend.http.connections import Connection
from frontend.http.server import LOOKS_MAX, HttpServer
from frontend.http.taken import UNSENT_BYTES
from tests.support.captured_log import capture_log
from tests.support.edge import Edge, edge
from tests.support.fake_clock import SettableClock
from tests.support.http_frontend import until
from tests.support.node_certificates import authority, front_section

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def refused(server: Edge) -> None:
    async with server.connected() as client:
        await client.send(GET)
        answer = await client.answer()
        assert answer.status == 503
        assert answer.headers["connection"] == "close"
        assert answer.json()["status"] == 503
        assert await client.at_end()


async def test_above_the_number_of_connections_one_is_told_so_and_there_is_room_again() -> None:
    async with edge(connections_max=2) as server:
        async with server.connected() as first, server.connected() as second:
            for client in (first, second):
                await client.send(GET)
                assert (await client.answer()).status == 200
            await refused(server)
            await first.send(GET)
            assert (await first.answer()).status == 200
        await until(lambda: server.server.admission.connections == 0, "both have left")
        async with server.connected() as client:
            await client.send(GET)
            assert (await client.answer()).status == 200


async def test_above_the_number_of_connections_in_tls_one_waits_until_another_has_left(tmp_path: Path) -> None:
    """It was reset without a word: nothing can be said before a handshake."""
    made = authority(tmp_path)
    context = ssl.create_default_context(cafile=str(made.certificate_file))

    async def ask(raw: socket.socket) -> None:
        raw.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=raw, ssl=context, server_hostname="localhost")
        writer.write(GET)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()

    async with edge(connections_max=2, tls=front_section(made), header_timeout_s=3_600) as server, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
        silent = socket.create_connection(("127.0.0.1", server.port))
        await until(lambda: server.server.admission.full, "there is room for no more")
        raws = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        waiting = [asyncio.create_task(ask(raw)) for raw in raws[:-1]]
        for _ in range(3):
            writer.write(GET)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(2) == b"ok"
        assert server.server.admission.connections == 2 and not any(task.done() for task in waiting)
        silent.close()
        await asyncio.gather(*waiting)
        writer.close()
    raws[-1].close()


async def test_one_client_has_no_more_connections_than_it_may() -> None:
    async with edge(connections_per_client_max=1) as server, server.connected() as first:
        await first.send(GET)
        assert (await first.answer()).status == 200
        await refused(server)


async def test_a_crowd_that_is_turned_away_is_all_told_so() -> None:
    async with edge(connections_max=1) as server, server.connected() as first:
        await first.send(GET)
        assert (await first.answer()).status == 200
        await asyncio.gather(*(refused(server) for _ in range(100)))


def slow_reader(server: Edge) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    sock.send(GET)
    return sock


class Sender:
    """A handler that sends much, and remembers how that ended."""

    def __init__(self) -> None:
        self.ended: list[BaseException] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        try:
            await response.prepare(request)
            for _ in range(64):
                await response.write(b"x" * (1 << 20))
        except ConnectionError as error:
            self.ended.append(error)
            raise
        return response


async def test_a_client_that_does_not_take_its_answer_is_given_up() -> None:
    sender = Sender()
    async with edge(sender, body_stall_timeout_s=1.0) as server:
        with slow_reader(server):
            await until(lambda: sender.ended, "the answer is broken off")
            await until(lambda: server.server.admission.connections == 0, "and the connection gone")


async def test_a_client_that_takes_some_is_not_given_up() -> None:
    sender = Sender()
    async with edge(sender, body_stall_timeout_s=1.0) as server:
        with slow_reader(server) as sock:
            loop = asyncio.get_running_loop()
            await until(lambda: server.server.slow, "it is slow")
            end = loop.time() + 3
            while loop.time() < end:
                # Far below what the kernel must have free before it takes more: only what it holds tells that some went.
                await loop.sock_recv(sock, 4096)
                await asyncio.sleep(0.05)
            assert not sender.ended


async def draining(server: HttpServer, timeout_s: float = 5.0) -> tuple[asyncio.Task[None], asyncio.Event]:
    hurry = asyncio.Event()
    task = asyncio.create_task(server.drain(timeout_s=timeout_s, hurry=hurry))
    await asyncio.sleep(0)
    return task, hurry


async def test_a_drain_finishes_what_is_under_way_and_answers_503_to_what_comes_then() -> None:
    going = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        await going.wait()
        return web.Response(body=body)

    async with edge(handler) as server, server.connected() as upload, server.connected() as idle:
        await upload.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"a" * 50_000)
        await until(lambda: any(not each.idle for each in server.server._open), "the upload runs")
        await until(lambda: len(server.server._open) == 2, "the other is connected")
        task, _ = await draining(server.server)
        await idle.send(GET)
        answer = await idle.answer()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        idle.abort()
        await upload.send(b"a" * 50_000)
        going.set()
        assert (await upload.answer()).body == b"a" * 100_000
        upload.abort()
        await task
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)


@pytest.mark.parametrize("hurried", [False, True])
async def test_what_does_not_finish_in_time_is_told_so(hurried: bool) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        try:
            await request.read()
        except Exception:
            return web.Response(status=503)
        return web.Response()

    async with edge(handler) as server, server.connected() as upload:
        await upload.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"a" * 50_000)
        await until(lambda: any(not each.idle for each in server.server._open), "the upload runs")
        task, hurry = await draining(server.server, 60 if hurried else 0.2)
        if hurried:
            hurry.set()
        assert (await upload.answer()).status == 503
        await task


async def test_connections_that_the_kernel_has_accepted_when_the_port_closes_are_served() -> None:
    async with edge() as server:
        socks = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
        for sock in socks:
            sock.sendall(GET)
        task, _ = await draining(server.server)
        loop = asyncio.get_running_loop()
        for sock in socks:
            sock.setblocking(False)
            assert (await loop.sock_recv(sock, 100))[:13] in (b"HTTP/1.1 503 ", b"HTTP/1.1 200 ")
            sock.close()
        await task


async def test_a_drain_does_not_wait_for_who_says_nothing_and_finishes_what_is_under_way(tmp_path: Path) -> None:
    """It waited for each silent handshake, up to the time for a head, before it looked at anything else."""
    going = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await going.wait()
        return web.Response(text="done")

    made = authority(tmp_path)
    context = ssl.create_default_context(cafile=str(made.certificate_file))
    async with edge(handler, tls=front_section(made), header_timeout_s=3_600) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        silent[0][1].write(b"\x16\x03\x01")
        reader, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
        writer.write(GET)
        await until(lambda: any(not each.idle for each in server.server._open), "the request runs")
        await until(lambda: server.server.admission.connections == 21, "all are accepted")
        task, _ = await draining(server.server, timeout_s=3_600)
        for each, closes in silent:
            assert await each.read() == b""
            closes.close()
        assert not task.done()
        going.set()
        assert (await reader.read()).endswith(b"done")
        writer.close()
        async with asyncio.timeout(60):
            await task
        assert server.server.admission.connections == 0


async def test_who_connects_in_tls_while_it_drains_is_answered_503(tmp_path: Path) -> None:
    made = authority(tmp_path)
    context = ssl.create_default_context(cafile=str(made.certificate_file))
    going = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await going.wait()
        return web.Response(text="done")

    async with edge(handler, tls=front_section(made)) as server:
        _, busy = await asyncio.open_connection("localhost", server.port, ssl=context)
        busy.write(GET)
        await until(lambda: any(not each.idle for each in server.server._open), "a request runs")
        raw = socket.create_connection(("127.0.0.1", server.port))
        raw.setblocking(False)
        await until(lambda: server.server.admission.connections == 2, "the other is accepted")
        task, _ = await draining(server.server, timeout_s=3_600)
        reader, writer = await asyncio.open_connection(sock=raw, ssl=context, server_hostname="localhost")
        writer.write(GET)
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        going.set()
        writer.close()
        busy.close()
        await task


async def test_http_in_the_clear_to_a_port_of_https_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was closed without a word, which nobody took for a wrong scheme; then counted as two refusals, in two lines."""
    lines = capture_log(monkeypatch, http_server, turned_away)

    def counted() -> list[float]:
        return [
            registry.get_sample_value("ambry_frontend_refused_total", {"kind": kind}) or 0.0
            for kind in ("in_the_clear", "handshake")
        ]

    before = counted()
    async with edge(tls=front_section(authority(tmp_path))) as server, server.connected() as client:
        await client.send(GET)
        answer = await client.answer()
        assert answer.status == 400
        assert answer.headers["connection"] == "close"
        assert "this port speaks https" in answer.json()["detail"]
        assert await client.at_end()
        client.abort()
        await until(lambda: server.server.admission.connections == 0, "it has left")
    assert counted() == [before[0] + 1, before[1]]
    assert [line["event"] for line in lines] == ["request refused at the edge"]


async def test_the_kernel_takes_little_for_a_client_that_takes_nothing_and_as_much_as_it_likes_for_one_that_reads() -> (
    None
):
    async def much(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(8 << 20))

    def bound(connection: Connection) -> int:
        sock = connection.transport.get_extra_info("socket")
        return int(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT))

    async with edge(much) as server, server.connected() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: server.server.slow, "it waits for its client")
        (connection,) = server.server.slow
        assert bound(connection) == UNSENT_BYTES
        assert len((await client.answer()).body) == 8 << 20
        await until(lambda: bound(connection) == 0, "it knows that it reads")


async def test_of_many_slow_clients_a_few_are_looked_at_in_a_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,300 of them were one turn of 5 ms, twice a second."""
    looked: list[Any] = []
    turns: list[int] = []
    look_further = HttpServer._look_further

    def note(server: HttpServer) -> None:
        before = len(looked)
        look_further(server)
        turns.append(len(looked) - before)

    monkeypatch.setattr(HttpServer, "_look_further", note)
    monkeypatch.setattr(HttpServer, "_look_at", lambda _server, connection, _now: looked.append(connection))
    async with edge(header_timeout_s=1) as server:
        crowd = [cast(Connection, object()) for _ in range(2 * LOOKS_MAX + 2)]
        server.server.slow.update(crowd)
        await until(lambda: looked, "some were looked at")
        gone = next(each for each in crowd if each not in looked)
        server.server.slow.discard(gone)
        await until(lambda: len(looked) >= len(crowd) - 1, "all were")
        server.server.slow.clear()
    assert max(turns) == LOOKS_MAX
    assert set(looked) == set(crowd) - {gone}


async def test_when_a_crowd_has_gone_its_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 slow readers took a frontend from 41 to 427 MiB, and it stayed there."""
    given: list[bool] = []
    monkeypatch.setattr(heap, "MANY", 8)
    monkeypatch.setattr(heap, "give_back", lambda: given.append(True))
    monkeypatch.setattr(http_server, "GIVE_BACK_AFTER_S", 0.0)
    async with edge(header_timeout_s=0.1) as server:
        reached = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(8)]
        await until(lambda: server.server._crowd._most == 8, "all were seen")
        assert given == []
        for _, writer in reached:
            writer.transport.abort()
        await until(lambda: given, "what they left is given back")
        assert given == [True]


async def test_of_hellos_that_come_together_one_is_answered_in_a_turn_of_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of 500 clients were answered before the loop turned, which took half a second."""
    turn = 0
    began: list[int] = []

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def begin(*_given: Any, **_more: Any) -> None:
        began.append(turn)
        raise ConnectionResetError("for this test")

    monkeypatch.setattr(handshakes, "adopt", begin)
    async with edge() as running:
        running.server.portions._clock = SettableClock()
        running.server._tls = ReloadingTls(front_section(authority(tmp_path / "a")), front_context)
        clients = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(20)]
        await until(lambda: len(running.server._handshakes) == 20, "all are accepted")
        counting = asyncio.create_task(count_turns())
        for _, writer in clients:
            writer.write(b"\x16\x03\x01\x00\x04" + b"\x01\x00\x00\x00")
        await until(lambda: len(began) == 20, "all have had their turn")
        assert len(set(began)) == 20
        counting.cancel()
        for _, writer in clients:
            writer.close()

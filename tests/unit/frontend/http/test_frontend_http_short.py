"""What a connection owes its client and the server while an answer goes the short way."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from ambry.errors import ReplicaUnavailable
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from frontend import metrics
from frontend.http import access_log
from frontend.rest import short_read
from frontend.router import reading
from tests.support.captured_log import capture_log
from tests.support.content import content
from tests.support.fake_cluster import some_id
from tests.support.fake_peers import Fault, held
from tests.support.http_frontend import HttpFrontend, RawClient, http_frontend, request, reset, until

BODY = content(3, 5_000)


@contextlib.asynccontextmanager
async def one_blob(**section: object) -> AsyncIterator[tuple[HttpFrontend, str]]:
    async with http_frontend(**section) as frontend:  # type: ignore[arg-type]
        yield frontend, await frontend.put(BODY)


def hold_reads(frontend: HttpFrontend, blob_id: str) -> asyncio.Event:
    """Every replica answers reads of the blob only when this is set."""
    answers = asyncio.Event()
    for peer in frontend.cluster.peers():
        peer.script(held(answers), type=MessageType.GET, blob=BlobId.parse(blob_id).raw)
    return answers


def get(blob_id: str) -> bytes:
    return request("GET", f"/{blob_id}")


def once(function: Callable[..., None]) -> Callable[..., None]:
    """It, for its first call."""
    called: list[bool] = []

    def call(*arguments: object) -> None:
        if not called:
            called.append(True)
            function(*arguments)

    return call


def busy(frontend: HttpFrontend) -> bool:
    return any(each.short is not None for each in frontend.server._open)


async def test_it_needs_no_handler() -> None:
    async with one_blob() as (frontend, blob_id), frontend.connected() as client:
        for _ in range(3):
            await client.send(get(blob_id))
            assert (await client.answer()).body == BODY
        connections = [each for each in frontend.server._open if each.handler is None]
        assert len(connections) == 1 and connections[0].head_deadline


async def test_what_comes_behind_is_answered_in_order_by_whichever_way() -> None:
    async with one_blob() as (frontend, blob_id), frontend.connected() as client:
        answers = hold_reads(frontend, blob_id)
        await client.send(get(blob_id))
        await until(lambda: busy(frontend), "the first read is under way")
        whole, part = get(blob_id), request("GET", f"/{blob_id}", {"Range": "bytes=1-2"})
        await client.send(part + request("POST", "/", body=b"new") + whole)
        await asyncio.sleep(0.01)
        await client.send(whole[:30])
        answers.set()
        statuses = [(await client.answer()).status for _ in range(4)]
        assert statuses == [200, 206, 201, 200]
        await client.send(whole[30:])
        assert (await client.answer()).body == BODY


async def test_requests_that_come_one_by_one_take_turns_between_the_ways() -> None:
    async with one_blob() as (frontend, blob_id), frontend.connected() as client:
        for _ in range(3):
            await client.send(get(blob_id))
            assert (await client.answer()).body == BODY
            await client.send(request("POST", "/", body=BODY))
            assert (await client.answer()).status == 201
            await client.send(request("POST", "/", {"Transfer-Encoding": "chunked"}, b"1\r\na\r\n0\r\n\r\n"))
            assert (await client.answer()).status == 201


async def test_a_half_closed_client_gets_its_answer_and_the_end() -> None:
    for behind in (b"", b"second"):
        async with one_blob() as (frontend, blob_id), frontend.connected() as client:
            answers = hold_reads(frontend, blob_id)
            await client.send(get(blob_id))
            await until(lambda frontend=frontend: busy(frontend), "it is under way")
            if behind:
                await client.send(get(blob_id))
                await asyncio.sleep(0.01)
            client.writer.write_eof()
            await asyncio.sleep(0.01)
            answers.set()
            last = [await client.answer() for _ in range(1 + bool(behind))][-1]
            assert last.body == BODY and last.headers["connection"] == "close"
            assert await client.at_end()


async def test_half_a_request_behind_and_the_end_are_told_so() -> None:
    async with one_blob() as (frontend, blob_id), frontend.connected() as client:
        answers = hold_reads(frontend, blob_id)
        await client.send(get(blob_id))
        await until(lambda: busy(frontend), "it is under way")
        await client.send(b"GET /x HT")
        await asyncio.sleep(0.01)
        client.writer.write_eof()
        answers.set()
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 400
        assert await client.at_end()


async def test_a_client_that_goes_is_told_of_and_its_read_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()  # a request that another test left behind is over when its task is collected
    events = capture_log(monkeypatch, access_log)
    async with one_blob(access_log=True) as (frontend, blob_id):
        free, in_flight = frontend.cluster.context.reading.budget.free, metrics.begun.value - metrics.over.value
        async with frontend.connected() as client:
            hold_reads(frontend, blob_id)
            await client.send(get(blob_id))
            await until(lambda: busy(frontend), "it is under way")
            reset(client)
            await until(lambda: not frontend.server._open, "the frontend saw it")
        assert frontend.cluster.context.reading.budget.free == free
        assert metrics.begun.value - metrics.over.value == in_flight
        assert any(peer.given_up for peer in frontend.cluster.peers())
        assert [(event["status"], event["error"], event["blob"]) for event in events if event.get("op") == "get"] == [
            (499, "the client went away", blob_id)
        ]


async def test_a_drain_waits_for_it_and_it_is_the_last() -> None:
    async with one_blob() as (frontend, blob_id), frontend.connected() as client:
        answers = hold_reads(frontend, blob_id)
        await client.send(get(blob_id))
        await until(lambda: busy(frontend), "it is under way")
        drained = asyncio.create_task(frontend.server.drain(timeout_s=5.0, hurry=asyncio.Event()))
        await asyncio.sleep(0.15)
        assert not drained.done()
        answers.set()
        answer = await client.answer()
        assert answer.body == BODY and answer.headers["connection"] == "close"
        await drained


async def test_in_the_lame_duck_period_every_answer_is_the_last() -> None:
    async with one_blob() as (frontend, blob_id), frontend.connected() as client:
        frontend.server.draining = True
        await client.send(get(blob_id) + get(blob_id))
        answer = await client.answer()
        assert answer.body == BODY
        if "connection" not in answer.headers:  # two came together, which is no plain request
            answer = await client.answer()
        assert answer.headers["connection"] == "close"
        assert await client.at_end()


async def test_a_drain_that_is_over_breaks_it_off() -> None:
    async with one_blob() as (frontend, blob_id), frontend.connected() as client:
        hold_reads(frontend, blob_id)
        await client.send(get(blob_id))
        await until(lambda: busy(frontend), "it is under way")
        await frontend.server.drain(timeout_s=0.05, hurry=asyncio.Event())
        assert await client.at_end()
        assert not busy(frontend)


async def test_it_may_take_longer_than_a_head_may() -> None:
    for ordinary_first in (False, True):
        async with one_blob(header_timeout_s=0.2) as (frontend, blob_id), frontend.connected() as client:
            if ordinary_first:
                await client.send(request("POST", "/", body=BODY))
                assert (await client.answer()).status == 201
            answers = hold_reads(frontend, blob_id)
            await client.send(get(blob_id))
            await asyncio.sleep(0.6)
            answers.set()
            assert (await client.answer()).body == BODY
            # And then the next head has its time, and no more.
            assert await client.at_end()


async def test_a_client_that_takes_nothing_holds_its_answer_and_is_ended() -> None:
    body = content(4, 60_000)
    async with http_frontend(body_stall_timeout_s=0.5, header_timeout_s=5.0) as frontend:
        blob_id = await frontend.put(body)
        free = frontend.cluster.context.reading.budget.free
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", frontend.port))
        sock.setblocking(False)
        sock.send(get(blob_id))
        await until(lambda: bool(frontend.server.slow), "it does not take it")
        assert len(body) <= free - frontend.cluster.context.reading.budget.free < 2 * len(body)
        await until(lambda: not frontend.server._open, "it was ended")
        assert frontend.cluster.context.reading.budget.free == free
        sock.close()


@pytest.mark.parametrize("shortcut", [True, False])
async def test_a_client_that_takes_nothing_gives_way_when_others_want_its_memory(
    monkeypatch: pytest.MonkeyPatch, shortcut: bool
) -> None:
    for name in ("STALLED_S", "ENDED_AFTER_S", "RELIEVE_EVERY_S"):
        monkeypatch.setattr(reading, name, 0.05)
    body = content(4, 60_000)
    async with http_frontend(shortcut=shortcut) as frontend:
        blob_id = await frontend.put(body)
        budget = frontend.cluster.context.reading.budget
        free = budget.free
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", frontend.port))
        sock.setblocking(False)
        sock.send(get(blob_id))
        await until(lambda: bool(frontend.server.slow), "it does not take it")
        # All the rest is taken by others.
        rest = budget.free
        budget.free = 0
        other = asyncio.create_task(frontend.call("GET", f"/{blob_id}"))
        await until(lambda: not frontend.server.slow, "it gave way")
        budget.give_back(rest)
        assert (await other).body == body
        await until(lambda: budget.free == free, "all is given back")
        sock.close()


async def test_a_slow_client_gets_all_of_it_and_the_next() -> None:
    body = content(4, 60_000)
    async with http_frontend() as frontend:
        blob_id = await frontend.put(body)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", frontend.port))
        sock.setblocking(False)
        sock.send(get(blob_id))
        await until(lambda: bool(frontend.server.slow), "it does not take it yet")
        sock.send(get(blob_id))
        await asyncio.sleep(0.02)
        reader, writer = await asyncio.open_connection(sock=sock)
        client = RawClient(reader, writer)
        for _ in range(2):
            assert (await client.answer()).body == body
        client.abort()


async def test_what_tls_itself_had_to_send_is_not_taken_for_the_answer() -> None:
    """What stood before the first answer in TLS left while that was made: the request was over, and never answered."""
    async with one_blob() as (frontend, blob_id), frontend.connected() as client:
        answers = hold_reads(frontend, blob_id)
        await until(lambda: frontend.server._open, "it is connected")
        (connection,) = frontend.server._open
        connection.pause_writing()
        await client.send(get(blob_id))
        await until(lambda: busy(frontend), "its read is under way")
        connection.resume_writing()
        assert busy(frontend)
        answers.set()
        for _ in range(2):
            assert (await client.answer()).body == BODY
            await client.send(get(blob_id))


async def test_what_a_drain_finds_begun_goes_the_ordinary_way_to_its_end() -> None:
    in_flight = metrics.begun.value - metrics.over.value
    async with one_blob() as (frontend, _), frontend.connected() as reader, frontend.connected() as writer:
        absent = str(some_id())
        answers = hold_reads(frontend, absent)
        refused = asyncio.Event()
        for peer in frontend.cluster.peers()[:2]:
            peer.script(Fault(error=ReplicaUnavailable("no"), until=refused), type=MessageType.PUT, times=1)
        await reader.send(get(absent))
        await writer.send(request("POST", "/", {}, b"new"))
        await until(lambda: sum(each.short is not None for each in frontend.server._open) == 2, "both are under way")
        drained = asyncio.create_task(frontend.server.drain(timeout_s=5.0, hurry=asyncio.Event()))
        await until(lambda: all(each.handler for each in frontend.server._open), "the drain has begun")
        answers.set()
        refused.set()
        for client, status in ((reader, 404), (writer, 201)):
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "close")
        await drained
    assert metrics.begun.value - metrics.over.value == in_flight


async def test_a_request_that_is_lost_on_its_way_back_is_told_of_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    events = capture_log(monkeypatch, access_log)
    in_flight = metrics.begun.value - metrics.over.value
    async with one_blob(access_log=True) as (frontend, _):
        free = frontend.cluster.context.reading.budget.free
        absent = str(some_id())
        answers = hold_reads(frontend, absent)
        async with frontend.connected() as client:
            await client.send(get(absent))
            await until(lambda: busy(frontend), "it is under way")
            (connection,) = frontend.server._open
            hand_over = connection.hand_over

            def and_lose(data: bytes) -> None:
                hand_over(data)
                connection.abort("on purpose")
                connection.connection_lost(None)

            monkeypatch.setattr(type(connection), "hand_over", lambda _self, data: and_lose(data))
            monkeypatch.setattr(type(connection), "connection_lost", once(type(connection).connection_lost))
            answers.set()
            await until(lambda: not frontend.server._open, "it is lost")
        assert frontend.cluster.context.reading.budget.free == free
        assert metrics.begun.value - metrics.over.value == in_flight
        assert [(event["status"], event["error"]) for event in events if event["op"] == "get"] == [(499, "on purpose")]


async def test_a_bug_on_the_short_way_ends_its_connection_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    in_flight = metrics.begun.value - metrics.over.value
    async with one_blob() as (frontend, blob_id):
        free = frontend.cluster.context.reading.budget.free
        for module, name in ((short_read, "head_of"), (short_read, "Fetch")):
            with monkeypatch.context() as patch:
                patch.setattr(module, name, lambda *_: 1 / 0)
                async with frontend.connected() as client:
                    await client.send(get(blob_id))
                    assert await client.at_end()
        await until(lambda: not frontend.server._open, "both ended")
        assert frontend.cluster.context.reading.budget.free == free
        assert metrics.begun.value - metrics.over.value == in_flight
        assert (await frontend.call("GET", f"/{blob_id}")).body == BODY

"""A plain upload is stored and answered alike whichever way it goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import InsufficientStorage, ReplicaUnavailable
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from ambry.rest import names
from frontend import metrics
from frontend.http import access_log
from frontend.router.budget import Need
from tests.support.captured_log import capture_log
from tests.support.content import content
from tests.support.fake_peers import FakePeer, fails, held, silent
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend, request, reset, until

ORDINARY = {"X-Nobody-Knows": "1"}
"""Means nothing, and is not plain."""
VARYING = {"date", "x-ambry-answered-ms", "x-ambry-request-id", "location", names.CREATION_TIME}
HEADERS: list[dict[str, str]] = [
    {},
    {"Content-Type": "image/png", "x-ambry-service-id": "s", "x-ambry-owner-id": "o"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"x-ambry-ttl": "600", "x-ambry-private": "true", "x-ambry-durability": "memory"},
    {"x-ambry-um-kind": "model", "x-ambry-enc-um-title": "%C3%A9"},
    {"x-ambry-filename": "a b.bin", "Content-Encoding": "gzip"},
    {"x-ambry-target-account-name": "ml", "x-ambry-target-container-name": "models"},
    {"x-ambry-ttl": "-5"},
    {"x-ambry-um-": "nameless"},
    {"x-ambry-durability": "geo"},
    {"x-ambry-durability": "eternal"},
    {"Content-Type": "multipart/form-data; boundary=x"},
    {"x-ambry-target-account-name": "nobody"},
    {"x-ambry-unknown": "1"},
    {"x-ambry-idempotency-key": "1"},
    {"x-ambry-digest": "0" * 32},
    {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="},
    {"Origin": "http://elsewhere.example"},
    {"Expect": "100-continue"},
]


def told(answer: Answer) -> Any:
    headers = {name: value for name, value in answer.headers.items() if name not in VARYING | {"content-length"}}
    said = answer.json()
    said.pop("id", None)
    assert said.pop("request_id", answer.headers["x-ambry-request-id"]) == answer.headers["x-ambry-request-id"]
    return answer.status, headers, said


def stored(frontend: HttpFrontend, answer: Answer) -> Any:
    """What the replicas were sent, but for what is each blob's own."""
    raw = BlobId.parse(answer.blob_id).raw
    calls = [call for call in frontend.cluster.pool.journal if call.type == MessageType.PUT and call.message.id == raw]
    put, body = calls[0].message, calls[0].body
    lives_ms = NEVER_MS if put.expires_at_ms == NEVER_MS else put.expires_at_ms - put.created_at_ms
    return len(calls), put.kind, put.properties, put.metadata, put.digest, put.sync, lives_ms, body


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("headers", HEADERS)
async def test_headers_of_every_kind(method: str, headers: dict[str, str]) -> None:
    async with http_frontend() as frontend:
        body = content(1, 4096)
        if "Expect" in headers:
            async with frontend.connected() as client:
                await client.send(request(method, "/", headers, body))
                assert (await client.answer()).status == 201
            return
        short = await frontend.call(method, "/", headers, body)
        ordinary = await frontend.call(method, "/", {**headers, **ORDINARY}, body)
        assert told(short) == told(ordinary)
        if short.status == 201:
            assert stored(frontend, short) == stored(frontend, ordinary)
            assert (await frontend.call("GET", f"/{short.blob_id}")).body == body


@pytest.mark.parametrize("size", [0, 1, 15_000, 16_384, 20_000, 200_000])
async def test_sizes(size: int) -> None:
    async with http_frontend() as frontend:
        short = await frontend.call("POST", "/", {}, content(2, size))
        ordinary = await frontend.call("POST", "/", ORDINARY, content(2, size))
        assert told(short) == told(ordinary)
        assert (await frontend.call("GET", f"/{short.blob_id}")).body == content(2, size)


async def test_a_body_that_comes_in_bits_and_one_with_something_behind() -> None:
    async with http_frontend() as frontend, frontend.connected() as client:
        whole = request("POST", "/", {}, b"0123456789")
        for cut in (5, len(whole) - 12, len(whole) - 10, len(whole) - 3):
            await client.send(whole[:cut])
            await asyncio.sleep(0.01)
            await client.send(whole[cut:])
            blob_id = (await client.answer()).blob_id
            assert (await frontend.call("GET", f"/{blob_id}")).body == b"0123456789"
        await client.send(whole + whole + whole[:20])
        assert [(await client.answer()).status for _ in range(2)] == [201, 201]
        await client.send(whole[20:])
        assert (await client.answer()).status == 201


@pytest.mark.parametrize(
    "lengths",
    [
        "Content-Length: 2\r\nContent-Length: 2",
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2, 2",
        "A: b",
    ],
)
async def test_lengths_that_disagree_go_the_ordinary_way(lengths: str) -> None:
    async with http_frontend() as frontend:
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\n{lengths}\r\n\r\n"
        assert (await frontend.exchange(head.encode() + b"ab")).status in (400, 201)
        assert frontend.cluster.pool.journal == [] or lengths == "A: b"


def everywhere(frontend: HttpFrontend, change: Any) -> None:
    for peer in frontend.cluster.peers():
        change(peer)


def puts_that_live(frontend: HttpFrontend) -> int:
    """Blobs that are held and not discarded."""
    held_by = [peer.records for peer in frontend.cluster.peers()]
    ids = {raw for records in held_by for raw in records}
    return sum(not any(raw in records and records[raw].state.deleted for records in held_by) for raw in ids)


async def test_replicas_that_refuse_are_replaced_by_others_and_the_first_try_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = capture_log(monkeypatch, access_log)
    async with http_frontend(access_log=True) as frontend:
        free = frontend.cluster.budget.free
        for error in (ReplicaUnavailable("closed"), InsufficientStorage("full")):
            for peer in frontend.cluster.peers()[:2]:
                peer.script(fails(error), type=MessageType.PUT, times=1)
            answer = await frontend.call("POST", "/", {}, b"here")
            assert (await frontend.call("GET", f"/{answer.blob_id}")).body == b"here"
            asked = {each.message.request_id for each in frontend.cluster.pool.journal if each.type == MessageType.PUT}
            assert asked == {answer.headers["x-ambry-request-id"]}
            assert [event["status"] for event in events if event["op"] == "put"] == [201]
            assert puts_that_live(frontend) == 1
            assert frontend.cluster.budget.free == free
            del frontend.cluster.pool.journal[:], events[:]
            everywhere(frontend, lambda peer: peer.records.clear())


async def test_what_cannot_be_stored_is_told_so_and_discarded() -> None:
    async with http_frontend() as frontend:
        free = frontend.cluster.budget.free
        everywhere(
            frontend, lambda peer: peer.script(fails(InsufficientStorage("full"), applies=True), type=MessageType.PUT)
        )
        short = await frontend.call("POST", "/", {}, b"here")
        ordinary = await frontend.call("POST", "/", ORDINARY, b"here")
        assert short.status == ordinary.status == 507
        assert puts_that_live(frontend) == 0
        assert frontend.cluster.budget.free == free


def hold_puts(frontend: HttpFrontend) -> asyncio.Event:
    go_on = asyncio.Event()
    everywhere(frontend, lambda peer: peer.script(held(go_on), type=MessageType.PUT))
    return go_on


def busy(frontend: HttpFrontend) -> bool:
    return any(each.short is not None for each in frontend.server._open)


@pytest.mark.parametrize("confirmed", [True, False])
async def test_a_client_that_goes_holds_memory_until_its_put_is_over(
    monkeypatch: pytest.MonkeyPatch, confirmed: bool
) -> None:
    events = capture_log(monkeypatch, access_log)
    async with http_frontend(access_log=True) as frontend:
        free, in_flight = frontend.cluster.budget.free, metrics.begun.value - metrics.over.value
        go_on = asyncio.Event()

        def script(peer: FakePeer) -> None:
            peer.script(held(go_on) if confirmed else fails(ReplicaUnavailable("no"), delay_s=0.3, applies=True))

        everywhere(frontend, script)
        async with frontend.connected() as client:
            await client.send(request("POST", "/", {}, b"here"))
            await until(lambda: busy(frontend), "it is under way")
            assert frontend.cluster.budget.free == free - 4
            reset(client)
            await until(lambda: not frontend.server._open, "the frontend saw it")
        assert frontend.cluster.budget.free == free - 4
        go_on.set()
        await until(lambda: frontend.cluster.budget.free == free, "its put is over")
        assert metrics.begun.value - metrics.over.value == in_flight
        assert [(event["status"], event["error"]) for event in events] == [(499, "the client went away")]
        if not confirmed:
            discards = [call for call in frontend.cluster.pool.journal if call.type == MessageType.UPDATE]
            assert discards and all(BlobState(0, True, 0).deleted == call.message.state.deleted for call in discards)


async def test_in_a_drain_it_is_finished_and_is_the_last() -> None:
    async with http_frontend() as frontend, frontend.connected() as client:
        go_on = hold_puts(frontend)
        await client.send(request("POST", "/", {}, b"here"))
        await until(lambda: busy(frontend), "it is under way")
        drained = asyncio.create_task(frontend.server.drain(timeout_s=5.0, hurry=asyncio.Event()))
        await asyncio.sleep(0.12)
        go_on.set()
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (201, "close")
        await drained


async def test_silent_replicas_end_as_on_the_ordinary_way() -> None:
    async with http_frontend() as frontend:
        everywhere(frontend, lambda peer: peer.script(silent(), type=MessageType.PUT))
        for peer in frontend.cluster.peers():
            peer.well = False
        short, ordinary = await asyncio.gather(
            frontend.call("POST", "/", {}, b"here"), frontend.call("POST", "/", ORDINARY, b"here")
        )
        assert short.status == ordinary.status == 503


async def test_without_memory_it_waits_for_it_as_everybody() -> None:
    async with http_frontend() as frontend:
        budget = frontend.cluster.budget
        taken = budget.free
        assert budget.try_take(taken, Need.READY)
        waiting = asyncio.create_task(frontend.call("POST", "/", {}, b"here"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        budget.give_back(taken)
        assert (await waiting).status == 201
        assert budget.free == taken

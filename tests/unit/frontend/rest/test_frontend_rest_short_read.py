"""A plain read is answered alike whichever way it goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ambry.blob import BlobState
from ambry.checksum import digest
from ambry.errors import DataCorrupt, ReplicaUnavailable
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import MessageType
from ambry.rest import names
from frontend.http import access_log
from frontend.rest.read import WHOLE_BYTES
from tests.support.captured_log import capture_log
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, some_id
from tests.support.fake_peers import FakePeer, fails
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend

VARYING = {"date", "x-ambry-answered-ms", "x-ambry-request-id"}
ORDINARY = {"X-Nobody-Knows": "1"}
"""Means nothing, and is not plain."""
PROPERTIES: list[dict[str, str]] = [
    {},
    {"Content-Type": "text/html; charset=utf-8", "x-ambry-filename": "a b.html"},
    {names.ENCODED_FILENAME: "%C3%A9%22.png", "Content-Type": "image/png"},
    {"x-ambry-um-kind": "model", "x-ambry-enc-um-title": "%C3%A9t%C3%A9%0A"},
    {"x-ambry-private": "true", "x-ambry-ttl": "600"},
    {"x-ambry-ttl": "600", "Content-Encoding": "gzip", "x-ambry-service-id": "s", "x-ambry-owner-id": "o"},
    {"x-ambry-target-account-name": "ml", "x-ambry-target-container-name": "models"},
]


def told(answer: Answer) -> tuple[int, dict[str, str], Any]:
    headers = {name: value for name, value in answer.headers.items() if name not in VARYING}
    if answer.status == 200:
        return answer.status, headers, digest(answer.body)
    problem = answer.json()
    assert problem.pop("request_id") == answer.headers["x-ambry-request-id"]
    return answer.status, headers, problem


async def alike(frontend: HttpFrontend, path: str) -> Answer:
    short, ordinary = await frontend.call("GET", path), await frontend.call("GET", path, ORDINARY)
    assert told(short) == told(ordinary)
    assert [set(each.headers) & VARYING for each in (short, ordinary)] == [VARYING, VARYING]
    assert len({short.headers["x-ambry-request-id"], ordinary.headers["x-ambry-request-id"]}) == 2
    return short


@pytest.mark.parametrize("properties", PROPERTIES)
async def test_properties_of_every_kind(properties: dict[str, str]) -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(content(1, 4096), properties)
        answer = await alike(frontend, f"/{blob_id}")
        assert answer.body == content(1, 4096)
        await alike(frontend, f"/{blob_id}.bin")


@pytest.mark.parametrize(
    "size", [0, 1, WHOLE_BYTES - 1, WHOLE_BYTES, WHOLE_BYTES + 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK]
)
async def test_sizes_and_each_record_is_read_once(size: int) -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(content(2, size))
        assert (await alike(frontend, f"/{blob_id}")).body == content(2, size)
        if size <= CHUNK:
            del frontend.cluster.pool.journal[:]
            await frontend.call("GET", f"/{blob_id}")
            reads = [call for call in frontend.cluster.pool.journal if call.type == MessageType.GET]
            assert len(reads) == 1


async def test_ids_that_are_none() -> None:
    async with http_frontend() as frontend:
        wrong = str(some_id())[:-1] + "!"
        for path in (f"/{some_id()}", f"/{some_id(kind=IdKind.CHUNK)}", f"/{wrong}", "/" + "A" * 48, "/" + "é" * 24):
            assert (await alike(frontend, path)).status in (400, 404)


def everywhere(frontend: HttpFrontend, change: Any) -> None:
    for peer in frontend.cluster.peers():
        change(peer)


async def test_blobs_that_are_gone_and_replicas_that_fail() -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"here")
        raw = BlobId.parse(blob_id).raw

        def state(peer: FakePeer, new: BlobState) -> None:
            peer.records[raw].state = new

        everywhere(frontend, lambda peer: state(peer, BlobState(0, False, 1)))
        assert (await alike(frontend, f"/{blob_id}")).status == 410
        everywhere(frontend, lambda peer: state(peer, BlobState(0, True, 0)))
        assert (await alike(frontend, f"/{blob_id}")).status == 410
        for error in (ReplicaUnavailable("closed"), DataCorrupt("bit rot")):
            everywhere(frontend, lambda peer, error=error: peer.script(fails(error), type=MessageType.GET, blob=raw))
            assert (await alike(frontend, f"/{blob_id}")).status == 503


async def test_a_read_that_went_the_ordinary_way_after_all_has_one_line_and_one_request_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = capture_log(monkeypatch, access_log)
    async with http_frontend(access_log=True) as frontend:
        free = frontend.cluster.context.reading.budget.free
        answer = await frontend.call("GET", f"/{some_id()}")
        assert answer.status == 404
        asked = {call.message.request_id for call in frontend.cluster.pool.journal}
        assert asked == {answer.headers["x-ambry-request-id"]}
        assert [event["request_id"] for event in events] == list(asked)
        assert frontend.cluster.context.reading.budget.free == free


async def test_without_memory_it_waits_for_it_as_everybody() -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"here")
        budget = frontend.cluster.context.reading.budget
        taken = budget.free
        budget.free = 0
        answer = frontend.call("GET", f"/{blob_id}")
        waiting = asyncio.create_task(answer)
        await asyncio.sleep(0.05)
        assert not waiting.done()
        budget.give_back(taken)
        assert (await waiting).body == b"here"
        assert budget.free == taken

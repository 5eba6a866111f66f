"""A plain request by a name is answered alike whichever way it goes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.clock import SystemClock
from ambry.errors import ReplicaUnavailable
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from ambry.rest import names
from frontend.http import access_log
from frontend.metadata.sqlite import SqliteStore
from frontend.rest.read import WHOLE_BYTES
from tests.support.captured_log import capture_log
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, make_cluster
from tests.support.fake_peers import fails
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend, request
from tests.support.metadata_stores import opened, sqlite_store

HERE = "/named/default/default"
VARYING = {"date", "x-ambry-answered-ms", "x-ambry-request-id"}
ORDINARY = {"X-Nobody-Knows": "1"}
"""Means nothing, and is not plain."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = sqlite_store(tmp_path / "meta.sqlite")
    async with opened(made):
        yield made


@pytest.fixture
async def frontend(store: SqliteStore) -> AsyncIterator[HttpFrontend]:
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with http_frontend(cluster, metadata=store, shortcut=True) as made:
        yield made


def told(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name not in VARYING}
    return answer.status, headers, answer.body.replace(answer.headers["x-ambry-request-id"].encode(), b"")


async def alike(frontend: HttpFrontend, name: str, where: str = HERE) -> Answer:
    """A read of a name, that is known and that is not, and the ordinary way."""
    first = await frontend.call("GET", f"{where}/{name}")
    for _ in range(2):
        await frontend.call("HEAD", f"{where}/{name}")
    again = await frontend.call("GET", f"{where}/{name}")
    ordinary = await frontend.call("GET", f"{where}/{name}", ORDINARY)
    assert told(first) == told(again) == told(ordinary)
    return again


async def is_short(frontend: HttpFrontend, data: bytes) -> bool:
    """Whether this request needs no handler."""
    async with frontend.connected() as client:
        await client.send(data)
        await client.answer(data[:4].decode().strip())
        mine = client.writer.get_extra_info("sockname")[1]
        (connection,) = [each for each in frontend.server._open if each.transport.get_extra_info("peername")[1] == mine]
        return connection.handler is None


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a/b/c.bin",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "./a",
        "a+b",
        "a;b=c,d:e@f!$&'()*~-_",
        "%C3%A9",
        "a%20b",
        "%41",
        "x" * 1_024,
    ],
)
async def test_names_of_every_kind(frontend: HttpFrontend, name: str) -> None:
    body = content(1, 4096)
    assert (await frontend.call("PUT", f"{HERE}/{name}", {}, body)).status == 201
    assert (await alike(frontend, name)).body == body
    plain = name.isascii() and "%" not in name
    assert await is_short(frontend, request("GET", f"{HERE}/{name}")) == plain


@pytest.mark.parametrize("name", ["", "%zz", "x" * 1_025, "a?b", "a?history", "a#b", "%FF", "a\x00"])
async def test_what_is_no_name(frontend: HttpFrontend, name: str) -> None:
    await alike(frontend, name)
    answer = await frontend.call("PUT", f"{HERE}/{name}", {}, b"x")
    ordinary = await frontend.call("PUT", f"{HERE}/{name}", ORDINARY, b"x")
    assert told(answer) == told(ordinary)
    assert answer.status != 201 or name == "a?b"


@pytest.mark.parametrize(
    "properties",
    [
        {"Content-Type": "text/html; charset=utf-8", "x-ambry-filename": "a b.html"},
        {"x-ambry-um-kind": "model", "x-ambry-enc-um-title": "%C3%A9t%C3%A9%0A"},
        {"x-ambry-private": "true", "x-ambry-ttl": "600"},
        {"x-ambry-ttl": "600", "Content-Encoding": "gzip", "x-ambry-service-id": "s", "x-ambry-owner-id": "o"},
    ],
)
async def test_properties_of_every_kind(frontend: HttpFrontend, properties: dict[str, str]) -> None:
    made = await frontend.call("PUT", f"{HERE}/short", properties, b"body")
    ordinary = await frontend.call("PUT", f"{HERE}/ordinary", properties | ORDINARY, b"body")
    assert (made.status, ordinary.status) == (201, 201)
    assert set(made.headers) == set(ordinary.headers)
    one, two = await alike(frontend, "short"), await alike(frontend, "ordinary")
    differ = VARYING | {"content-location", names.CREATION_TIME, "last-modified"}
    assert {name: one.headers[name] for name in one.headers.keys() - differ} == {
        name: two.headers[name] for name in two.headers.keys() - differ
    }


@pytest.mark.parametrize("size", [0, 1, WHOLE_BYTES, WHOLE_BYTES + 1, CHUNK + 1, 3 * CHUNK])
async def test_sizes(frontend: HttpFrontend, size: int) -> None:
    body = content(2, size)
    assert (await frontend.call("PUT", f"{HERE}/n", {}, body)).status == 201
    assert (await alike(frontend, "n")).body == body
    assert await is_short(frontend, request("GET", f"{HERE}/n")) == (size <= WHOLE_BYTES)


async def test_a_name_that_changes_is_what_it_was_changed_to(frontend: HttpFrontend, tmp_path: Path) -> None:
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(frontend.cluster, metadata=store, shortcut=True) as other,
    ):
        await frontend.call("PUT", f"{HERE}/n", {}, b"0")
        for number, writer in enumerate((frontend, other, other, frontend), 1):
            assert (await alike(frontend, "n")).body == b"%d" % (number - 1)
            upsert = {names.NAMED_UPSERT: "true"}
            assert (await writer.call("PUT", f"{HERE}/n", upsert, b"%d" % number)).status == 201
            assert (await frontend.call("GET", f"{HERE}/n")).body == b"%d" % number
        await alike(frontend, "n")
        assert (await other.call("DELETE", f"{HERE}/n")).status == 202
        assert (await alike(frontend, "n")).status == 410
        undelete = json.dumps({"op": "undelete"}).encode()
        assert (await other.call("POST", f"{HERE}/n", {}, undelete)).status == 200
        assert (await alike(frontend, "n")).body == b"4"
        rename = json.dumps({"op": "rename", "from": "n"}).encode()
        assert (await other.call("POST", f"{HERE}/m", {}, rename)).status == 200
        assert (await alike(frontend, "n")).status == 410
        assert (await alike(frontend, "m")).body == b"4"


async def test_a_blob_that_is_gone_behind_its_name(frontend: HttpFrontend) -> None:
    made = await frontend.call("PUT", f"{HERE}/n", {}, b"x")
    assert (await alike(frontend, "n")).status == 200
    assert (await frontend.call("DELETE", made.headers["location"])).status == 202
    assert (await alike(frontend, "n")).status == 410


async def test_containers_that_are_none(frontend: HttpFrontend) -> None:
    for where in ("/named/default/none", "/named/none/default", "/named/ml/models"):
        await frontend.call("PUT", f"{where}/n", {}, b"x")
        await alike(frontend, "n", where)


async def test_a_read_that_finds_no_replica_has_one_line_and_one_request_id(
    frontend: HttpFrontend, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = capture_log(monkeypatch, access_log)
    async with http_frontend(frontend.cluster, metadata=store, shortcut=True, access_log=True) as logged:
        made = await logged.call("PUT", f"{HERE}/n", {}, b"x")
        raw = BlobId.parse(made.headers["location"][1:]).raw
        assert (await logged.call("GET", f"{HERE}/n")).status == 200
        assert (await logged.call("GET", f"{HERE}/n")).status == 200
        free = logged.cluster.context.reading.budget.free
        for peer in logged.cluster.peers():
            peer.script(fails(ReplicaUnavailable("closed")), type=MessageType.GET, blob=raw)
        answer = await logged.call("GET", f"{HERE}/n")
        assert answer.status == 503
        assert [event["op"] for event in events] == ["named_put", "named_get", "named_get", "named_get"]
        assert events[-1]["request_id"] == answer.headers["x-ambry-request-id"]
        assert logged.cluster.context.reading.budget.free == free


@pytest.mark.parametrize("more", [{}, ORDINARY], ids=["short", "ordinary"])
async def test_whichever_way_a_request_goes_its_line_says_its_trace(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    events = capture_log(monkeypatch, access_log)
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    trace = "0af7651916cd43dd8448eb211c80319c"
    parent = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", **more}
    async with http_frontend(cluster, metadata=store, shortcut=True, access_log=True) as frontend:
        assert (await frontend.call("PUT", f"{HERE}/traced", parent, body=b"hello")).status == 201
        blob = await frontend.put(b"hello", parent)
        for path in (f"{HERE}/traced", f"{HERE}/traced", f"/{blob}"):
            assert (await frontend.call("GET", path, parent)).body == b"hello"
            assert (await frontend.call("GET", path, {**parent, "traceparent": "nonsense"})).body == b"hello"
    told = [event.get("trace_id") for event in events if event["event"] == "request"]
    assert told == [trace] * 2 + [trace, None] * 3

"""Uploads with an idempotency key over HTTP: repeated, with another body, from another frontend, under a name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from ambry.checksum import digest
from ambry.clock import SystemClock
from ambry.rest.access import Grant
from frontend.metadata.spaces import LocalSpace
from tests.support.access import bearer
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, make_cluster
from tests.support.http_frontend import HttpFrontend, http_frontend, until
from tests.support.metadata_stores import opened, sqlite_store
from tests.unit.frontend.rest.test_access_table import MODELS, ground

KEY = {"x-ambry-idempotency-key": "job 7/part 3"}
SIZES = [0, 5, CHUNK, CHUNK + 1, 3 * CHUNK]


@pytest.fixture
async def frontends(tmp_path: Path) -> AsyncIterator[tuple[HttpFrontend, HttpFrontend]]:
    """Two of one datacenter."""
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as one,
        opened(sqlite_store(tmp_path / "meta.sqlite")) as two,
        http_frontend(cluster, metadata=one, shortcut=True) as first,
        http_frontend(cluster, metadata=two, shortcut=True) as second,
    ):
        yield first, second


@pytest.mark.parametrize("size", SIZES)
async def test_the_same_put_again_is_the_first_from_any_frontend(
    frontends: tuple[HttpFrontend, HttpFrontend], size: int
) -> None:
    body = content(1, size)
    headers = {**KEY, "x-ambry-ttl": "600", "x-ambry-um-run": "7", "x-ambry-digest": digest(body).hex()}
    first = await frontends[0].call("POST", "/", headers, body)
    assert first.status == 201, first.body
    before = len(frontends[0].cluster.pool.visible())
    for frontend in frontends:
        again = await frontend.call("POST", "/", headers, body)
        assert (again.status, again.body) == (201, first.body)
        for name in ("location", "etag", "x-ambry-digest", "x-ambry-creation-time", "x-ambry-durability"):
            assert again.headers[name] == first.headers[name]
    assert len(frontends[0].cluster.pool.visible()) == before
    assert (await frontends[1].call("GET", first.headers["location"])).body == body


async def test_a_body_in_pieces_of_unknown_length_is_compared_too(
    frontends: tuple[HttpFrontend, HttpFrontend],
) -> None:
    chunked = {**KEY, "Transfer-Encoding": "chunked"}
    first = await frontends[0].call("POST", "/", KEY, b"hello world")
    again = await frontends[1].call("POST", "/", chunked, b"6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n")
    assert (again.status, again.body) == (201, first.body)
    other = await frontends[1].call("POST", "/", chunked, b"5\r\nhello\r\n0\r\n\r\n")
    assert (other.status, other.headers["x-ambry-error-code"]) == (409, "UpdateConflict")


@pytest.mark.parametrize("target", ["/", "/named/default/default/model"])
async def test_a_body_that_does_not_end_where_the_first_one_did_is_refused_there(
    frontends: tuple[HttpFrontend, HttpFrontend], target: str
) -> None:
    """It was read for as long as its client sent something: a body of unknown length that is compared had no bound."""
    assert (await frontends[0].call("PUT", target, KEY, b"hello")).status == 201
    head = f"PUT {target} HTTP/1.1\r\nHost: localhost\r\n{next(iter(KEY))}: {KEY[next(iter(KEY))]}\r\n"
    async with frontends[1].connected() as client:
        await client.send(f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".encode())
        await client.send(b"1\r\n!\r\n")  # and no end
        refused = await client.answer()
    assert (refused.status, refused.headers["x-ambry-error-code"]) == (409, "UpdateConflict")
    assert "another body" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "body", "why"),
    [
        ({}, b"hellO", "another body"),
        ({}, b"hello!", "another body"),
        ({"x-ambry-ttl": "60"}, b"hello", "something else"),
        ({"x-ambry-um-run": "7"}, b"hello", "something else"),
        ({"x-ambry-filename": "a"}, b"hello", "something else"),
    ],
)
async def test_the_same_key_for_something_else_is_refused_and_changes_nothing(
    frontends: tuple[HttpFrontend, HttpFrontend], headers: dict[str, str], body: bytes, why: str
) -> None:
    first = await frontends[0].call("POST", "/", KEY, b"hello")
    refused = await frontends[1].call("POST", "/", {**KEY, **headers}, body)
    assert (refused.status, refused.headers["x-ambry-error-code"]) == (409, "UpdateConflict")
    assert why in refused.json()["detail"]
    assert (await frontends[0].call("POST", "/", KEY, b"hello")).body == first.body


async def test_keys_are_of_a_container_and_uploads_without_one_are_each_their_own(
    frontends: tuple[HttpFrontend, HttpFrontend],
) -> None:
    ids = {
        (await frontends[0].call("POST", "/", headers, b"hello")).blob_id
        for headers in ({}, {}, KEY, {**KEY, "x-ambry-target-container-name": "other"})
    }
    assert len(ids) == 4


@pytest.mark.parametrize("path", ["/", "/named/ml/models/z/n"])
async def test_nobody_gets_at_the_upload_of_another_by_its_idempotency_key(tmp_path: Path, path: str) -> None:
    """Whoever guessed one heard the id that was made under it, or took the place of an upload under way."""
    async with ground(tmp_path) as here:
        grants = Grant(roles=("write", "name"), account="ml", container="models")
        ours, other = here.key(grants), here.key(grants)
        own = {**bearer(ours), **KEY, **({"x-ambry-named-upsert": "true"} if path != "/" else MODELS)}
        theirs = {**own, **bearer(other)}
        body = content(1, 3 * CHUNK)
        async with here.frontend.connected() as client:
            lines = "".join(f"{name}: {value}\r\n" for name, value in own.items())
            head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
            stands = len(here.frontend.cluster.pool.visible())
            await client.send(head.encode() + body[:-1])
            await until(lambda: len(here.frontend.cluster.pool.visible()) > stands, "its first chunks")
            guessed = await here.frontend.call("PUT", path, theirs, body)
            await client.send(body[-1:])
            made = await client.answer()
        assert (guessed.status, made.status) == (201, 201)
        assert guessed.json()["id"] != made.json()["id"], "each has its own"
        assert (await here.frontend.call("PUT", path, own, body)).json()["id"] == made.json()["id"]
        assert (await here.frontend.call("PUT", path, theirs, body)).json()["id"] == guessed.json()["id"]
        different = await here.frontend.call("PUT", path, {**theirs, **KEY}, b"hello")
        assert different.status == 409, "of its own"


async def test_a_rotated_key_repeats_its_uploads(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        json = {"Content-Type": "application/json"}
        grants = msgspec.json.encode(
            {"name": "job", "grants": [{"roles": ["write"], "account": "ml", "container": "models"}]}
        )
        made = (await here.frontend.call("POST", "/keys", {**bearer(here.root), **json}, grants)).json()

        async def put(key: str) -> str:
            answer = await here.frontend.call(
                "POST", "/", {"Authorization": f"Bearer {key}", **MODELS, **KEY}, b"hello"
            )
            assert answer.status == 201, answer.body
            return str(answer.json()["id"])

        first = await put(made["key"])
        rotated = await here.frontend.call("POST", f"/keys/{made['id']}/rotate", {**bearer(here.root), **json}, b"{}")
        assert rotated.json()["key"] != made["key"]
        assert await put(rotated.json()["key"]) == first


@pytest.mark.parametrize("key", ["", "é", "k" * 4_000])
async def test_what_is_no_key_is_refused(frontends: tuple[HttpFrontend, HttpFrontend], key: str) -> None:
    refused = await frontends[0].call("POST", "/", {"x-ambry-idempotency-key": key}, b"hello")
    assert refused.status == 400, refused.body


async def test_without_a_metadata_store_a_key_is_refused() -> None:
    async with http_frontend() as frontend:
        refused = await frontend.call("POST", "/", KEY, b"hello")
    assert (refused.status, "metadata store" in refused.json()["detail"]) == (400, True)


async def test_a_name_is_pointed_once_and_a_repeated_put_changes_it_no_more(
    frontends: tuple[HttpFrontend, HttpFrontend],
) -> None:
    path = "/named/default/default/model"
    headers = {**KEY, "If-None-Match": "*"}
    first = await frontends[0].call("PUT", path, headers, b"one")
    again = await frontends[1].call("PUT", path, headers, b"one")
    assert (again.status, again.body) == (201, first.body)
    other = await frontends[0].call("PUT", path, {"x-ambry-named-upsert": "true"}, b"two")
    assert other.status == 201, other.body
    again = await frontends[1].call("PUT", path, headers, b"one")
    assert (again.status, again.body) == (201, first.body)
    assert (await frontends[1].call("GET", path)).body == b"two"
    refused = await frontends[0].call("PUT", "/named/default/default/another", KEY, b"one")
    assert (refused.status, "something else" in refused.json()["detail"]) == (409, True)
    services = frontends[0].services
    assert services is not None
    assert await services.sessions._store.locals(LocalSpace.INTENT) == []


async def test_a_bare_key_is_told_where_it_belongs(frontends: tuple[HttpFrontend, HttpFrontend]) -> None:
    """Was told that keys are not implemented."""
    refused = await frontends[0].call("POST", "/", {"Idempotency-Key": "1"}, b"x")
    assert refused.status == 400
    assert refused.json()["detail"].endswith("in a header of this API's own, which /docs names; send it there")


@pytest.mark.parametrize(
    "length", ["Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "Content-Length: 20\r\n\r\nhello"]
)
async def test_a_repeated_body_that_does_not_come_is_given_up_and_its_memory_given_back(
    tmp_path: Path, length: str
) -> None:
    async with (
        opened(sqlite_store(tmp_path / "m")) as store,
        http_frontend(metadata=store, body_stall_timeout_s=0.1) as frontend,
    ):
        assert (await frontend.call("POST", "/", KEY, b"x" * 20)).status == 201
        lines = "".join(f"{name}: {value}\r\n" for name, value in KEY.items())
        async with frontend.connected() as client:
            await client.send(f"POST / HTTP/1.1\r\nHost: localhost\r\n{lines}{length}".encode())
            assert (await client.answer()).status == 408
        budget = frontend.cluster.context.budget
        await until(lambda: budget.free == budget.size, "its memory is back")

"""Chunks that are stitched to a blob, as Ambry's clients do it, over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ambry.checksum import digest
from ambry.clock import SystemClock
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, make_cluster
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend
from tests.support.metadata_stores import opened, sqlite_store

CHUNK_SAID = {"x-ambry-chunk-upload": "true", "x-ambry-session": "s1", "x-ambry-max-upload-size": "1000000"}


@pytest.fixture
async def frontend(tmp_path: Path) -> AsyncIterator[HttpFrontend]:
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(cluster, metadata=store) as made,
    ):
        yield made


async def chunk(frontend: HttpFrontend, body: bytes, **headers: str) -> Answer:
    return await frontend.call("POST", "/", {**CHUNK_SAID, **headers}, body)


async def signed(frontend: HttpFrontend, body: bytes, **headers: str) -> str:
    answer = await chunk(frontend, body, **headers)
    assert answer.status == 201, answer.body
    assert answer.headers["location"].startswith("/signedId/")
    return answer.headers["location"]


async def stitch(frontend: HttpFrontend, ids: Any, **headers: str) -> Answer:
    return await frontend.call("POST", "/stitch", headers, json.dumps({"signedChunkIds": ids}).encode())


async def test_chunks_are_stitched_in_the_order_of_the_list(frontend: HttpFrontend) -> None:
    pieces = [content(number, size) for number, size in ((1, CHUNK), (2, 5), (3, 2 * CHUNK + 1))]
    ids = [await signed(frontend, piece, **{"x-ambry-digest": digest(piece).hex()}) for piece in pieces]
    order = [2, 0, 1]
    said = {"x-ambry-filename": "a.bin", "x-ambry-um-run": "7", "x-ambry-ttl": "600"}
    done = await stitch(frontend, [ids[each] for each in order], **said)
    assert done.status == 201, done.body
    read = await frontend.call("GET", done.headers["location"])
    assert read.body == b"".join(pieces[each] for each in order)
    assert (read.headers["x-ambry-filename"], read.headers["x-ambry-um-run"]) == ("a.bin", "7")
    assert read.headers["x-ambry-ttl"] == "600"
    again = await stitch(frontend, [ids[each].removeprefix("/") for each in order], **said)
    assert (again.status, again.body) == (201, done.body)
    other = await stitch(frontend, ids, **said)
    assert other.status == 409
    assert (await stitch(frontend, [ids[each] for each in order])).status == 409
    assert (await chunk(frontend, b"late")).status == 409


@pytest.mark.parametrize("durability", ["memory", "disk"])
async def test_chunks_and_their_blob_name_the_class_that_they_are_acknowledged_with(
    frontend: HttpFrontend, durability: str
) -> None:
    said = {"x-ambry-durability": durability}
    one = await chunk(frontend, b"one", **said)
    done = await stitch(frontend, [one.headers["location"]])
    assert (one.status, one.headers["x-ambry-durability"]) == (201, durability)
    assert (done.status, done.headers["x-ambry-durability"]) == (201, durability)


async def test_one_chunk_alone_is_a_blob_and_chunks_left_out_are_not_in_it(frontend: HttpFrontend) -> None:
    kept, left = await signed(frontend, b"kept"), await signed(frontend, b"left")
    assert kept != left
    done = await stitch(frontend, [kept], **{"x-ambry-digest": digest(b"kept").hex()})
    assert (done.status, done.headers["x-ambry-digest"]) == (201, digest(b"kept").hex())
    assert (await frontend.call("GET", done.headers["location"])).body == b"kept"


@pytest.mark.parametrize(
    ("headers", "body", "status", "why"),
    [
        ({"x-ambry-session": ""}, b"x", 400, "x-ambry-session"),
        ({"x-ambry-max-upload-size": ""}, b"x", 400, "x-ambry-max-upload-size"),
        ({"x-ambry-max-upload-size": "4"}, b"hello", 413, "at most 4"),
        ({"x-ambry-chunk-upload": "false"}, b"x", 400, "is said of a chunk"),
        ({"x-ambry-ttl": "-1"}, b"x", 400, "lives for at most"),
        ({"x-ambry-ttl": "99999999"}, b"x", 400, "lives for at most"),
        ({"x-ambry-um-a": "1"}, b"x", 400, "POST /stitch"),
        ({"x-ambry-filename": "a"}, b"x", 400, "POST /stitch"),
        ({"x-ambry-durability": "memory"}, b"x", 400, "as durable"),
        ({"x-ambry-digest": digest(b"other").hex()}, b"x", 400, "xxh3-128"),
        ({}, b"", 400, "at least one byte"),
    ],
)
async def test_a_chunk_that_is_none_is_refused_and_leaves_nothing(
    frontend: HttpFrontend, headers: dict[str, str], body: bytes, status: int, why: str
) -> None:
    first = await signed(frontend, b"first")
    refused = await chunk(frontend, body, **headers)
    assert (refused.status, why in refused.json()["detail"]) == (status, True), refused.body
    done = await stitch(frontend, [first])
    assert (await frontend.call("GET", done.headers["location"])).body == b"first"


def changed(text: str, **fields: object) -> str:
    token = text.removeprefix("/signedId/")
    held = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return "/signedId/" + base64.urlsafe_b64encode(json.dumps({**held, **fields}).encode()).decode()


async def test_lists_that_are_none_are_refused_and_change_nothing(frontend: HttpFrontend) -> None:
    one, two = await signed(frontend, b"one"), await signed(frontend, b"two")
    other = await signed(frontend, b"other", **{"x-ambry-session": "s2"})
    elsewhere = await signed(frontend, b"one", **{"x-ambry-target-container-name": "other"})
    blob = await frontend.put(b"blob")
    for ids, status, why in (
        ([], 400, "1 to 10000"),
        ([one, other], 400, "several sessions"),
        ([one, two, one], 400, "twice"),
        ([one, f"/{blob}"], 400, "no signed id"),
        ([elsewhere], 412, "another container"),
        (["/signedId/!"], 400, "no signed id"),
        ([changed(one, size=4)], 400, "no chunk"),
        ([changed(one, part=7)], 400, "no chunk"),
        ([changed(one, session="0" * 32)], 404, "no upload session"),
        ([changed(one, expirationTimeMs=1)], 410, "expired"),
        ([changed(one, more=1)], 400, "no signed id"),
        ("x", 400, "signedChunkIds"),
    ):
        refused = await stitch(frontend, ids)
        assert (refused.status, why in refused.json()["detail"]) == (status, True), (ids, refused.body)
    assert (await stitch(frontend, [one], **{"x-ambry-durability": "memory"})).status == 400
    done = await stitch(frontend, [one, two])
    assert (await frontend.call("GET", done.headers["location"])).body == b"onetwo"


async def test_a_session_that_was_aborted_is_begun_anew_under_its_name(frontend: HttpFrontend) -> None:
    first = await chunk(frontend, b"one")
    token = first.headers["location"].removeprefix("/signedId/")
    session = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))["session"]
    assert (await frontend.call("DELETE", f"/uploads/{session}")).status == 202
    second = await signed(frontend, b"two")
    assert (await stitch(frontend, [first.headers["location"]])).status == 410
    assert (await stitch(frontend, [second])).status == 201

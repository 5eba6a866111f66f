"""Blobs by name over HTTP: what a name points to, who may change it, and what stays of it."""

from __future__ import annotations

import asyncio
import json
import random
import string
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ambry.clock import SystemClock
from ambry.errors import MetadataUnavailable, ReplicaUnavailable
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from frontend.container import scope_of
from frontend.metadata.spaces import LocalSpace
from frontend.names.names import Names, NameVersion
from tests.support.eventually import eventually
from tests.support.fake_cluster import CHUNK, make_cluster
from tests.support.fake_peers import fails
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend, ways
from tests.support.metadata_stores import opened, sqlite_store

__all__ = ["ways"]

HERE = "/named/default/default"
UPSERT = {"x-ambry-named-upsert": "true"}


@pytest.fixture
async def frontend(tmp_path: Path, ways: bool) -> AsyncIterator[HttpFrontend]:
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(cluster, metadata=store) as made,
    ):
        yield made


async def put(frontend: HttpFrontend, name: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    return await frontend.call("PUT", f"{HERE}/{name}", headers, body)


async def get(frontend: HttpFrontend, name: str, headers: dict[str, str] | None = None) -> Answer:
    return await frontend.call("GET", f"{HERE}/{name}", headers)


async def act(
    frontend: HttpFrontend, name: str, action: dict[str, Any], headers: dict[str, str] | None = None
) -> Answer:
    return await frontend.call("POST", f"{HERE}/{name}", headers, json.dumps(action).encode())


async def listed(frontend: HttpFrontend, query: str = "") -> list[dict[str, Any]]:
    answer = await frontend.call("GET", f"{HERE}{query}")
    assert answer.status == 200, answer.body
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return entries


async def intents(frontend: HttpFrontend) -> int:
    assert frontend.services is not None
    return len(await frontend.services.names._store.locals(LocalSpace.INTENT))


def visible(frontend: HttpFrontend) -> set[bytes]:
    return frontend.cluster.pool.visible()


# --- what a name points to ---


@pytest.mark.parametrize("size", [0, 5, 3 * CHUNK])
async def test_a_blob_is_read_by_its_name_and_by_its_id(frontend: HttpFrontend, size: int) -> None:
    body = b"x" * size
    new = await put(frontend, "team/models/fraud", body, {"x-ambry-um-run": "7", "x-ambry-content-type": "text/plain"})
    assert new.status == 201, new.body
    read = await get(frontend, "team/models/fraud")
    assert (read.status, read.body) == (200, body)
    assert read.headers["content-location"] == f"/{new.blob_id}"
    assert read.headers["cache-control"] == "public, no-cache"
    assert read.headers["x-ambry-um-run"] == "7"
    assert (await frontend.call("GET", f"/{new.blob_id}")).body == body
    head = await frontend.call("HEAD", f"{HERE}/team/models/fraud")
    assert (head.status, head.headers["content-length"]) == (200, str(size))
    assert await intents(frontend) == 0


async def test_ranges_and_conditions_of_a_read_hold_by_name(frontend: HttpFrontend) -> None:
    etag = (await put(frontend, "n", b"0123456789")).headers["etag"]
    part = await get(frontend, "n", {"Range": "bytes=2-4"})
    assert (part.status, part.body) == (206, b"234")
    same = await get(frontend, "n", {"If-None-Match": etag})
    assert same.status == 304
    assert same.headers["cache-control"] == "public, no-cache"
    assert (await get(frontend, "n", {"If-Match": '"other"'})).status == 412


ODD_NAMES = [
    "a//b",
    "/a",
    "a/",
    ".",
    "..",
    "a/../b",
    "a%2Fb",
    "a+b",
    "a b",
    "é/😀",
    "?",
    "#",
    "%",
    "\0",
    "a\nb",
    "x" * 1024,
    "Ü" * 512,
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
async def test_a_name_comes_back_as_it_went_in(frontend: HttpFrontend, name: str) -> None:
    path = quote(name, safe="/.+")
    new = await put(frontend, path, name.encode())
    assert new.status == 201, new.body
    assert (await get(frontend, path)).body == name.encode()
    assert (await get(frontend, quote(name, safe=""))).body == name.encode()
    assert [entry["blobName"] for entry in await listed(frontend)] == [name]


async def test_names_that_differ_at_all_are_others(frontend: HttpFrontend) -> None:
    names = ["a/b", "a//b", "a/b/", "A/b", "a%252Fb", "a+b", "a%20b", "./a/b"]
    for number, name in enumerate(names):
        assert (await put(frontend, name, str(number).encode())).status == 201
    for number, name in enumerate(names):
        assert (await get(frontend, name)).body == str(number).encode()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.text(
        alphabet=st.one_of(st.sampled_from(string.printable), st.characters(exclude_categories=["Cs"])),
        min_size=1,
        max_size=40,
    )
)
def test_text_of_any_kind_is_a_name(name: str) -> None:
    from ambry.rest.text import percent_decoded

    assert percent_decoded("it", quote(name, safe="")) == name
    assert percent_decoded("it", quote(name, safe="/~!$&'()*+,;=:@")) == name


@pytest.mark.parametrize("path", ["x" * 1025, quote("Ü" * 513), "%ff", "%zz", ""])
async def test_what_is_no_name_is_refused(frontend: HttpFrontend, path: str) -> None:
    answer = await put(frontend, path, b"x")
    assert answer.status == 400, answer.body
    assert visible(frontend) == set()


# --- who may change it ---


async def test_a_name_that_exists_is_kept_unless_the_request_says_otherwise(frontend: HttpFrontend) -> None:
    first = await put(frontend, "n", b"one")
    refused = await put(frontend, "n", b"two")
    assert (refused.status, refused.headers["x-ambry-error-code"]) == (409, "AlreadyExists")
    assert (await get(frontend, "n")).body == b"one"
    assert (await put(frontend, "n", b"two", UPSERT)).status == 201
    assert (await get(frontend, "n")).body == b"two"
    assert (await frontend.call("GET", f"/{first.blob_id}")).body == b"one", "it stays in the history"


async def test_conditions_decide_whether_a_name_changes(frontend: HttpFrontend) -> None:
    assert (await put(frontend, "n", b"one", {"If-Match": "*"})).status == 412
    assert (await put(frontend, "n", b"one", {"If-None-Match": "*"})).status == 201
    assert (await put(frontend, "n", b"two", {"If-None-Match": "*"} | UPSERT)).status == 412
    etag = (await get(frontend, "n")).headers["etag"]
    assert (await put(frontend, "n", b"two", {"If-Match": etag})).status == 201
    assert (await put(frontend, "n", b"three", {"If-Match": etag})).status == 412
    assert (await frontend.call("DELETE", f"{HERE}/n", {"If-Match": etag})).status == 412
    assert (await get(frontend, "n")).body == b"two"
    assert (await intents(frontend), len(visible(frontend))) == (0, 2)


async def test_of_many_who_make_a_name_at_once_one_does_and_nothing_of_the_others_stays(frontend: HttpFrontend) -> None:
    answers = await asyncio.gather(*(put(frontend, "n", str(number).encode()) for number in range(10)))
    assert sorted(answer.status for answer in answers) == [201] + 9 * [409]
    [winner] = [number for number, answer in enumerate(answers) if answer.status == 201]
    assert (await get(frontend, "n")).body == str(winner).encode()
    await eventually(lambda: len(visible(frontend)) == 1)


# --- deleted, and back ---


async def test_a_deleted_name_takes_its_blob_with_it_and_an_undelete_brings_both_back(frontend: HttpFrontend) -> None:
    new = await put(frontend, "n", b"one")
    assert (await frontend.call("DELETE", f"{HERE}/n")).status == 202
    gone = await get(frontend, "n")
    assert (gone.status, gone.headers["x-ambry-error-code"]) == (410, "NameDeleted")
    assert (await frontend.call("GET", f"/{new.blob_id}")).status == 410
    assert (await frontend.call("DELETE", f"{HERE}/n")).status == 202
    assert await listed(frontend) == []
    assert (await act(frontend, "n", {"op": "undelete"})).status == 200
    assert (await get(frontend, "n")).body == b"one"
    assert (await act(frontend, "n", {"op": "undelete"})).status == 409
    assert await intents(frontend) == 0


async def test_what_never_was_is_404(frontend: HttpFrontend) -> None:
    for method, body in (("GET", None), ("HEAD", None), ("DELETE", None)):
        assert (await frontend.call(method, f"{HERE}/n", {}, body)).status == 404, method
    assert (await act(frontend, "n", {"op": "undelete"})).status == 404


async def test_a_name_that_was_deleted_may_be_given_again(frontend: HttpFrontend) -> None:
    await put(frontend, "n", b"one")
    await frontend.call("DELETE", f"{HERE}/n")
    assert (await put(frontend, "n", b"two", {"If-None-Match": "*"})).status == 201
    assert (await get(frontend, "n")).body == b"two"


async def test_a_name_that_only_another_datacenter_knows_is_deleted_too(
    frontend: HttpFrontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was answered 202, and stayed."""
    assert frontend.services is not None
    names = frontend.services.names
    await put(frontend, "elsewhere", b"one")
    known = await names.newest(scope_of(1, 1), b"elsewhere")
    seen: list[bytes] = []
    newest = Names.newest

    async def late(self: Names, scope: int, key: bytes) -> NameVersion | None:
        if not seen:
            seen.append(key)
            return None
        return await newest(self, scope, key)

    monkeypatch.setattr(Names, "newest", late)
    assert known is not None
    assert (await frontend.call("DELETE", f"{HERE}/elsewhere")).status == 202
    assert (await get(frontend, "elsewhere")).status == 410


# --- names alone ---


async def test_a_rename_moves_the_blob_in_one_moment(frontend: HttpFrontend) -> None:
    await put(frontend, "old", b"one")
    await put(frontend, "taken", b"two")
    assert (await act(frontend, "taken", {"op": "rename", "from": "old"})).status == 409
    assert (await get(frontend, "old")).body == b"one"
    assert (await act(frontend, "new", {"op": "rename", "from": "old"})).status == 200
    assert (await get(frontend, "old")).status == 410
    assert (await get(frontend, "new")).body == b"one"
    assert (await act(frontend, "taken", {"op": "rename", "from": "new"}, UPSERT)).status == 200
    assert (await get(frontend, "taken")).body == b"one"
    assert (await act(frontend, "x", {"op": "rename", "from": "nothing"})).status == 404


async def test_an_id_that_is_bound_to_a_name_stays_when_the_name_goes(frontend: HttpFrontend) -> None:
    blob = await frontend.put(b"one")
    assert (await act(frontend, "n", {"op": "bind", "id": blob})).status == 200
    assert (await get(frontend, "n")).body == b"one"
    await frontend.call("DELETE", f"{HERE}/n")
    assert (await frontend.call("GET", f"/{blob}")).body == b"one"
    assert (await act(frontend, "n", {"op": "undelete"})).status == 200
    elsewhere = (await frontend.call("POST", "/", {"x-ambry-target-container-name": "other"}, b"two")).blob_id
    assert (await act(frontend, "m", {"op": "bind", "id": elsewhere})).status == 412


async def test_an_id_that_is_bound_to_belong_to_its_name_goes_with_it(frontend: HttpFrontend) -> None:
    blob = await frontend.put(b"one")
    assert (await act(frontend, "n", {"op": "bind", "id": blob, "owned": True})).status == 200
    await frontend.call("DELETE", f"{HERE}/n")
    assert (await frontend.call("GET", f"/{blob}")).status == 410
    assert (await act(frontend, "n", {"op": "undelete"})).status == 200
    assert (await frontend.call("GET", f"/{blob}")).body == b"one"


@pytest.mark.parametrize(
    "action",
    [
        {},
        {"op": "fly"},
        {"op": "rename"},
        {"op": "bind"},
        {"op": "undelete", "owned": True},
        {"op": "undelete", "id": "x"},
        {"op": "rename", "from": ""},
        {"ob": 1},
    ],
)
async def test_what_is_no_action_is_refused(frontend: HttpFrontend, action: dict[str, Any]) -> None:
    await put(frontend, "n", b"one")
    assert (await act(frontend, "n", action)).status == 400


async def test_a_name_that_is_brought_back_after_a_rename_does_not_own_the_blob(frontend: HttpFrontend) -> None:
    """It did: a delete of it took the blob of the other name along."""
    await put(frontend, "a", b"one")
    await act(frontend, "b", {"op": "rename", "from": "a"})
    assert (await act(frontend, "a", {"op": "undelete"})).status == 200
    assert (await get(frontend, "a")).body == b"one"
    assert (await frontend.call("DELETE", f"{HERE}/a")).status == 202
    assert (await get(frontend, "b")).body == b"one"
    assert await intents(frontend) == 0


async def test_a_delete_that_did_not_get_through_does_not_take_a_blob_that_was_brought_back(
    frontend: HttpFrontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(frontend, "a", b"one")
    for peer in frontend.cluster.pool:
        peer.script(fails(ReplicaUnavailable("fenced")), type=MessageType.UPDATE)
    assert (await frontend.call("DELETE", f"{HERE}/a")).status == 503
    for peer in frontend.cluster.pool:
        peer.heal()
    assert (await act(frontend, "a", {"op": "undelete"})).status == 200
    await run_janitor(frontend, monkeypatch)
    assert (await get(frontend, "a")).body == b"one"
    assert await intents(frontend) == 0


async def test_a_blob_in_a_later_life_goes_with_its_name_too(
    frontend: HttpFrontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(frontend, "a", b"one")
    await frontend.call("DELETE", f"{HERE}/a")
    assert (await act(frontend, "a", {"op": "undelete"})).status == 200
    for peer in frontend.cluster.pool:
        peer.script(fails(ReplicaUnavailable("fenced")), type=MessageType.UPDATE)
    assert (await frontend.call("DELETE", f"{HERE}/a")).status == 503
    for peer in frontend.cluster.pool:
        peer.heal()
    await run_janitor(frontend, monkeypatch)
    assert (await intents(frontend), visible(frontend)) == (0, set())


async def run_janitor(frontend: HttpFrontend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long after everybody has given up."""
    assert frontend.services is not None
    [janitor] = [loop for loop in frontend.services.loops if loop.name == "names"]
    monkeypatch.setattr(SystemClock, "wall_ms", lambda _self, real=SystemClock.wall_ms: real(_self) + 10 * 60_000)
    await janitor.tick()
    monkeypatch.undo()


@pytest.mark.parametrize("depth", [5_000])
async def test_a_body_of_endless_brackets_is_refused(frontend: HttpFrontend, depth: int) -> None:
    answer = await frontend.call("POST", f"{HERE}/a", {}, b'{"op": ' + b"[" * depth)
    assert answer.status == 400, answer.body


# --- lists ---


async def test_names_are_listed_by_their_bytes_page_by_page_while_others_write(frontend: HttpFrontend) -> None:
    names = sorted((f"{letter}/{number}" for letter in "abc" for number in range(4)), key=str.encode)
    for name in random.Random(1).sample(names, len(names)):
        await put(frontend, name, b"x")
    seen: list[str] = []
    query = "?max-keys=5"
    while True:
        page = (await frontend.call("GET", f"{HERE}{query}")).json()
        seen += [entry["blobName"] for entry in page["entries"]]
        await put(frontend, "a/00", b"behind", UPSERT)
        if page["nextPageToken"] is None:
            break
        query = f"?max-keys=5&page={page['nextPageToken']}"
    assert seen == names
    assert [entry["blobName"] for entry in await listed(frontend, "?prefix=b/")] == [
        f"b/{number}" for number in range(4)
    ]
    folders = await listed(frontend, "?delimiter=/&prefix=")
    assert [(entry["blobName"], entry["isDirectory"]) for entry in folders] == [
        ("a/", True),
        ("b/", True),
        ("c/", True),
    ]


async def test_an_entry_tells_what_ambrys_does_and_the_id(frontend: HttpFrontend) -> None:
    new = await put(frontend, "n", b"hello", {"x-ambry-ttl": "1000"})
    [entry] = await listed(frontend)
    assert set(entry) == {"blobName", "isDirectory", "blobId", "blobSize", "modifiedTimeMs", "expirationTimeMs"}
    assert (entry["blobName"], entry["isDirectory"], entry["blobId"], entry["blobSize"]) == ("n", False, new.blob_id, 5)
    assert BlobId.parse(entry["blobId"])


@pytest.mark.parametrize(
    "query", ["?max-keys=0", "?max-keys=1001", "?max-keys=x", "?page=zz", "?page=", "?other=1", "?prefix=%ff"]
)
async def test_a_list_that_cannot_be_is_refused(frontend: HttpFrontend, query: str) -> None:
    assert (await frontend.call("GET", f"{HERE}{query}")).status == 400


async def test_the_history_of_a_name_tells_every_blob_it_pointed_to(frontend: HttpFrontend) -> None:
    ids = [(await put(frontend, "n", str(number).encode(), UPSERT)).blob_id for number in range(3)]
    await frontend.call("DELETE", f"{HERE}/n")
    answer = await frontend.call("GET", f"{HERE}/n?history")
    told = answer.json()["versions"]
    assert [each.get("blobId") for each in told] == [None, *reversed(ids)]
    assert [each.get("deleted", False) for each in told] == [True, False, False, False]
    assert (await frontend.call("GET", f"{HERE}/nothing?history")).status == 404
    assert (await frontend.call("GET", f"{HERE}/n?page=abc")).status == 400


# --- half done ---


async def test_a_name_whose_blob_finds_no_replicas_is_not_there_and_nothing_stays(frontend: HttpFrontend) -> None:
    for peer in frontend.cluster.pool:
        peer.script(fails(ReplicaUnavailable("fenced")), type=MessageType.PUT)
    assert (await put(frontend, "n", b"one")).status == 503
    assert (await get(frontend, "n")).status == 404
    for peer in frontend.cluster.pool:
        peer.heal()
    assert visible(frontend) == set()


async def test_a_blob_that_never_got_its_name_goes_when_its_time_is_over(
    frontend: HttpFrontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frontend was killed between the blob and its name, or does not know whether the store heard."""

    async def lost(self: Names, *args: object) -> None:
        raise MetadataUnavailable("the connection broke")

    monkeypatch.setattr(Names, "point", lost)
    monkeypatch.setattr(Names, "begin_point", lambda *args: asyncio.ensure_future(lost(*args)))
    answer = await put(frontend, "n", b"one")
    assert (answer.status, answer.json()["detail"]) == (503, "the connection broke")
    monkeypatch.undo()
    assert (await intents(frontend), len(visible(frontend))) == (1, 1)
    services = frontend.services
    assert services is not None
    [janitor] = [loop for loop in services.loops if loop.name == "names"]
    await janitor.tick()
    assert (await intents(frontend), len(visible(frontend))) == (1, 1), "its time is not over"
    monkeypatch.setattr(SystemClock, "wall_ms", lambda _self, real=SystemClock.wall_ms: real(_self) + 10 * 60_000)
    await janitor.tick()
    assert (await intents(frontend), visible(frontend)) == (0, set())
    assert (await get(frontend, "n")).status == 404

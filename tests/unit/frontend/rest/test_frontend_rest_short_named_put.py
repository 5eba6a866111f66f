"""A plain upload under a name is made and answered alike whichever way it goes, and nothing stays of one that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ambry.clock import SystemClock
from ambry.errors import MetadataUnavailable, Overloaded, ReplicaUnavailable
from ambry.protocol.frame import MessageType
from ambry.rest import names
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.sqlite import SqliteStore
from frontend.metadata.store import LocalPut, Put, Require
from frontend.names.names import Names
from frontend.rest import short_put
from frontend.router.quorum_write import ReplicaWrite
from tests.support.fake_cluster import make_cluster
from tests.support.fake_peers import fails, held
from tests.support.http_frontend import HttpFrontend, http_frontend, request, reset, until
from tests.support.metadata_stores import opened, sqlite_store

HERE = "/named/default/default"
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


async def intents(store: SqliteStore) -> int:
    return len(await store.locals(LocalSpace.INTENT))


async def is_short(frontend: HttpFrontend, data: bytes) -> bool:
    """Whether this request needs no handler."""
    async with frontend.connected() as client:
        await client.send(data)
        await client.answer()
        mine = client.writer.get_extra_info("sockname")[1]
        (connection,) = [each for each in frontend.server._open if each.transport.get_extra_info("peername")[1] == mine]
        return connection.handler is None


@pytest.mark.parametrize(
    ("name", "headers", "plain"),
    [
        ("a/b.c", {}, True),
        ("ttl", {"x-ambry-ttl": "600", "x-ambry-um-a": "b", "Content-Type": "text/plain"}, True),
        ("%41", {}, False),
        ("upsert", {names.NAMED_UPSERT: "true"}, False),
        ("new", {"If-None-Match": "*"}, False),
        ("key", {names.IDEMPOTENCY_KEY: "k"}, False),
        ("elsewhere", {names.ACCOUNT_NAME: "ml"}, False),
        ("digest", {names.DIGEST: "0" * 32}, False),
    ],
)
async def test_plain_ones_need_no_handler_and_all_others_do(
    frontend: HttpFrontend, name: str, headers: dict[str, str], plain: bool
) -> None:
    assert await is_short(frontend, request("PUT", f"{HERE}/{name}", headers, b"body")) == plain


async def test_each_step_is_durable_before_the_next(
    frontend: HttpFrontend, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[list[Any]] = []
    begin = store.begin_write

    def note(group: Any) -> Any:
        written.append([type(change) for change in group])
        return begin(group)

    monkeypatch.setattr(store, "begin_write", note)
    go_on = asyncio.Event()
    for peer in frontend.cluster.peers():
        peer.script(held(go_on), type=MessageType.PUT)
    asked = asyncio.create_task(frontend.call("PUT", f"{HERE}/n", {}, b"body"))
    await until(
        lambda: any(call.type == MessageType.PUT for call in frontend.cluster.pool.journal), "the blob is on its way"
    )
    assert (written, await intents(store)) == ([[Require, LocalPut]], 1)
    go_on.set()
    assert (await asked).status == 201
    assert written[1][0] is Put
    assert await intents(store) == 0


@pytest.mark.parametrize("known", [True, False])
async def test_no_blob_is_made_for_a_name_that_exists(frontend: HttpFrontend, known: bool) -> None:
    assert (await frontend.call("PUT", f"{HERE}/n", {}, b"first")).status == 201
    for _ in range(2 * known):
        await frontend.call("GET", f"{HERE}/n")
    before = len(frontend.cluster.pool.journal)
    short = await frontend.call("PUT", f"{HERE}/n", {}, b"second")
    ordinary = await frontend.call("PUT", f"{HERE}/n", ORDINARY, b"second")
    assert short.status == ordinary.status == 409
    assert short.json()["detail"] == ordinary.json()["detail"]
    assert not [call for call in frontend.cluster.pool.journal[before:] if call.type == MessageType.PUT]
    assert (await frontend.call("DELETE", f"{HERE}/n")).status == 202
    assert (await frontend.call("PUT", f"{HERE}/n", {}, b"third")).status == 201
    assert (await frontend.call("GET", f"{HERE}/n")).body == b"third"


async def test_of_two_for_one_name_one_gets_it_and_nothing_stays_of_the_other(
    frontend: HttpFrontend, store: SqliteStore
) -> None:
    answers = await asyncio.gather(*(frontend.call("PUT", f"{HERE}/n", {}, b"%d" % number) for number in range(4)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409]
    (won,) = [answer for answer in answers if answer.status == 201]
    assert (await frontend.call("GET", f"{HERE}/n")).body == b"%d" % answers.index(won)
    await until(lambda: len(frontend.cluster.pool.visible()) == 1, "the others are let go of")


async def test_where_no_replica_takes_it_others_are_tried(frontend: HttpFrontend) -> None:
    free = frontend.cluster.budget.free
    for peer in frontend.cluster.peers()[:2]:
        peer.script(fails(ReplicaUnavailable("closed"), applies=True), type=MessageType.PUT, times=1)
    assert (await frontend.call("PUT", f"{HERE}/n", {}, b"body")).status == 201
    assert (await frontend.call("GET", f"{HERE}/n")).body == b"body"
    for peer in frontend.cluster.peers():
        peer.script(fails(ReplicaUnavailable("closed")), type=MessageType.PUT)
    assert (await frontend.call("PUT", f"{HERE}/m", {}, b"body")).status == 503
    assert (await frontend.call("GET", f"{HERE}/m")).status == 404
    assert len(frontend.cluster.pool.visible()) == 1
    assert frontend.cluster.budget.free == free


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_store_that_fails_at_a_step_is_told_of(
    frontend: HttpFrontend, store: SqliteStore, monkeypatch: pytest.MonkeyPatch, step: int, at_once: bool
) -> None:
    begin, groups = store.begin_write, 0

    def fail(group: Any) -> Any:
        nonlocal groups
        groups += 1
        if groups <= step:
            return begin(group)
        if at_once:
            raise Overloaded("too many wait")
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(MetadataUnavailable("it did not answer"))
        return failed

    free = frontend.cluster.budget.free
    monkeypatch.setattr(store, "begin_write", fail)
    answer = await frontend.call("PUT", f"{HERE}/n", {}, b"body")
    assert (answer.status, answer.headers["retry-after"] != "") == (503, True)
    monkeypatch.undo()
    # Where nobody knows whether the name got the blob, it stays for the janitor to find out.
    in_doubt = step == 1 and not at_once
    await until(lambda: len(frontend.cluster.pool.visible()) == in_doubt, "what is left of it")
    assert await intents(store) == step
    assert frontend.cluster.budget.free == free


async def test_a_client_that_goes_has_its_blob_under_its_name_all_the_same(
    frontend: HttpFrontend, store: SqliteStore
) -> None:
    free = frontend.cluster.budget.free
    go_on = asyncio.Event()
    for peer in frontend.cluster.peers():
        peer.script(held(go_on), type=MessageType.PUT)
    async with frontend.connected() as client:
        await client.send(request("PUT", f"{HERE}/n", {}, b"body"))
        await until(lambda: frontend.cluster.budget.free < free, "it is under way")
        reset(client)
        await until(lambda: not frontend.server._open, "the frontend saw it")
    go_on.set()
    await until(lambda: frontend.cluster.budget.free == free, "its put is over")
    assert (await frontend.call("GET", f"{HERE}/n")).body == b"body"
    assert await intents(store) == 0


@pytest.mark.parametrize("step", ["begin", "begin_point", "told"])
async def test_one_that_breaks_at_any_step_ends_its_connection_and_holds_nothing(
    frontend: HttpFrontend, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Behind the intent and behind the name it hung for ever, and kept its memory."""

    def without_memory(*_: Any, **__: Any) -> Any:
        raise MemoryError

    free = frontend.cluster.budget.free
    where = {"begin": ReplicaWrite, "begin_point": Names, "told": short_put}[step]
    with monkeypatch.context() as patched:
        patched.setattr(where, step, without_memory)
        async with frontend.connected() as client:
            await client.send(request("PUT", f"{HERE}/n", {}, b"body"))
            assert await asyncio.wait_for(client.reader.read(), 10) == b""
    await until(lambda: frontend.cluster.budget.free == free and not frontend.server._open, "nothing is held")
    assert (await frontend.call("PUT", f"{HERE}/other", {}, b"body")).status == 201

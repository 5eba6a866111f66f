"""Requests that go on for long, while the key that they came with is revoked, changed or expires."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from ambry.clock import SystemClock
from ambry.errors import AmbryError, ReplicaUnavailable, Unauthenticated
from ambry.protocol.frame import MessageType
from ambry.rest import frames
from ambry.rest.access import Grant, KeyText, hash_of
from ambry.rest.accounts import AccountStatus
from frontend.access.key_rows import OldSecret, StoredKey
from frontend.access.verified import Access
from frontend.limits.rates import Rates
from frontend.who import ANYBODY, NOBODY
from tests.support.access import bearer, fresh_key, root_line
from tests.support.content import content
from tests.support.eventually import eventually
from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import CHUNK, FakeCluster, make_cluster
from tests.support.fake_peers import Fault
from tests.support.feeds import feed_cluster
from tests.support.http_frontend import HttpFrontend, RawClient, http_frontend, request
from tests.support.masters import TroubledProvider
from tests.support.metadata_stores import opened, sqlite_store

BODY = content(1, 20 * CHUNK)


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A frontend that asks for keys, and one key that may read and write."""

    frontend: HttpFrontend
    access: Access
    clock: SettableClock
    admin: KeyText
    key: KeyText
    stored: StoredKey

    def know(self, stored: StoredKey | None) -> None:
        """What is known of the key from now on."""
        self.access.know([] if stored is None else [(self.key.id, stored)])

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.key)

    def revoke(self) -> None:
        self.know(None)

    def expire(self) -> None:
        self.clock.advance(100)

    def narrow(self) -> None:
        self.know(replace(self.stored, grants=(Grant(roles=("name",)),)))


def guard(clock: SettableClock) -> tuple[Access, KeyText, KeyText, StoredKey]:
    admin, key = fresh_key(), fresh_key()
    stored = StoredKey(
        name="ours",
        hash=hash_of(key.secret),
        grants=(Grant(roles=("read", "write")),),
        created_ms=0,
        created_by="a test",
        expires_ms=clock.wall_ms() + 50_000,
    )
    return Access(clock=clock, root_keys=[root_line(admin)]), admin, key, stored


@pytest.fixture
async def feeding(tmp_path: Path) -> AsyncIterator[Guarded]:
    """With a feed, and a metadata store."""
    clock = SettableClock()
    access, admin, key, stored = guard(clock)
    async with feed_cluster(tmp_path, 3) as cluster:
        behind = cast(FakeCluster, SimpleNamespace(context=cluster.frontends[0].context))
        async with http_frontend(behind, metadata=cluster.stores[0], access=access) as frontend:
            made = Guarded(frontend=frontend, access=access, clock=clock, admin=admin, key=key, stored=stored)
            made.know(stored)
            yield made
            assert frontend.services is not None
            await frontend.services.notices.stop()


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    clock = SettableClock()
    access, admin, key, stored = guard(clock)
    async with http_frontend(make_cluster(((3,),) * 2, clock=SystemClock()), access=access) as frontend:
        made = Guarded(frontend=frontend, access=access, clock=clock, admin=admin, key=key, stored=stored)
        made.know(stored)
        yield made


async def lines_of(client: RawClient) -> list[Any] | None:
    """The next lines of a stream; None at its end."""
    async with asyncio.timeout(30):
        size = int(await client.reader.readline(), 16)
        if not size:
            return None
        chunk = await client.reader.readexactly(size + 2)
    return [json.loads(line) for line in chunk.splitlines() if line]


HOW = pytest.mark.parametrize("how", ["revoke", "expire", "narrow"])


@HOW
async def test_a_stream_of_changes_ends_and_tells_nothing_more(feeding: Guarded, how: str) -> None:
    """It went on until the client left, for days."""
    async with feeding.frontend.connected() as client:
        await client.send(request("GET", "/changes", {"Accept": "application/x-ndjson", **feeding.headers}))
        assert (await client.head())[0] == 200
        assert [line["type"] for line in await lines_of(client) or []] == ["token"]
        getattr(feeding, how)()
        await feeding.frontend.put(b"secret", bearer(feeding.admin))
        assert await lines_of(client) is None
    again = await feeding.frontend.call("GET", "/changes", feeding.headers)
    assert again.status == (403 if how == "narrow" else 401)


@HOW
async def test_a_long_poll_ends_and_tells_nothing_more(feeding: Guarded, how: str) -> None:
    async with feeding.frontend.connected() as client:
        await client.send(request("GET", "/changes?since=now&wait=60", feeding.headers))
        assert feeding.frontend.services is not None
        notices = feeding.frontend.services.notices
        await eventually(lambda: notices.followers == 1)
        getattr(feeding, how)()
        await feeding.frontend.put(b"secret", bearer(feeding.admin))
        answer = await client.answer()
    assert answer.json()["changes"] == []


async def test_a_stream_of_a_container_that_is_switched_off_ends(feeding: Guarded) -> None:
    async with feeding.frontend.connected() as client:
        await client.send(request("GET", "/changes", {"Accept": "application/x-ndjson", **feeding.headers}))
        assert (await client.head())[0] == 200
        await lines_of(client)
        settings = {"containerId": 1, "status": AccountStatus.INACTIVE.value}
        body = json.dumps({"containers": [settings]}).encode()
        answer = await feeding.frontend.call(
            "POST",
            "/accounts/containers",
            {"x-ambry-target-account-name": "default", "Content-Type": "application/json", **bearer(feeding.admin)},
            body,
        )
        assert answer.status == 200, answer.body
        assert await lines_of(client) is None


@HOW
async def test_an_upload_that_is_under_way_is_not_acknowledged(guarded: Guarded, how: str) -> None:
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: {guarded.headers['Authorization']}\r\nContent-Length: {len(BODY)}\r\n\r\n"
    )
    pool = guarded.frontend.cluster.pool
    async with guarded.frontend.connected() as client:
        await client.send(head.encode() + BODY[: 5 * CHUNK])
        await eventually(lambda: bool(pool.visible()))
        getattr(guarded, how)()
        await client.send(BODY[5 * CHUNK :])
        status, _ = await client.head()
        assert status == 401
    await eventually(lambda: not pool.visible())


@HOW
async def test_a_download_that_is_under_way_breaks_off(guarded: Guarded, how: str) -> None:
    blob = await guarded.frontend.put(BODY * 40, bearer(guarded.admin))
    async with guarded.frontend.connected() as client:
        await client.send(request("GET", f"/{blob}", guarded.headers))
        assert (await client.head())[0] == 200
        getattr(guarded, how)()
        with pytest.raises(asyncio.IncompleteReadError):
            await asyncio.wait_for(client.reader.readexactly(40 * len(BODY)), 30)


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
async def test_an_upload_into_a_container_that_is_encrypted_meanwhile_is_sent_again(
    tmp_path: Path, chunked: bool
) -> None:
    """It went on in the clear."""
    provider = TroubledProvider()
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(
            make_cluster(((3,),) * 2, clock=SystemClock()), metadata=store, provider=provider, shortcut=False
        ) as frontend,
    ):
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(BODY)}"

        def framed(body: bytes) -> bytes:
            return b"%x\r\n%b\r\n" % (len(body), body) if chunked else body

        async with frontend.connected() as client:
            await client.send(f"POST / HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n".encode())
            await client.send(framed(BODY[: 5 * CHUNK]))
            await eventually(lambda: bool(frontend.cluster.pool.visible()))
            body = json.dumps({"containers": [{"containerId": 1, "encrypted": True}]}).encode()
            about = {"x-ambry-target-account-name": "default", "Content-Type": "application/json"}
            assert (await frontend.call("POST", "/accounts/containers", about, body)).status == 200
            await client.send(framed(BODY[5 * CHUNK :]) + (b"0\r\n\r\n" if chunked else b""))
            status, headers = await client.head()
            assert (status, headers["x-ambry-error-code"]) == (409, "UpdateConflict")
        await eventually(lambda: not frontend.cluster.pool.visible())
        blob = await frontend.put(BODY)
        assert (await frontend.call("HEAD", f"/{blob}")).headers["x-ambry-encrypted-in-storage"] == "true"


@dataclass(frozen=True, kw_only=True)
class HeldPuts:
    """Puts that data nodes have, and do not confirm yet."""

    frontend: HttpFrontend
    go_on: asyncio.Event

    async def under_way(self) -> None:
        await eventually(lambda: bool(self.frontend.cluster.pool.visible()))


def hold_puts(frontend: HttpFrontend, error: AmbryError | None = None) -> HeldPuts:
    """Once at each of them; with `error` they fail then."""
    go_on = asyncio.Event()
    for peer in frontend.cluster.peers():
        for type in (MessageType.PUT, MessageType.PUTS):
            peer.script(Fault(until=go_on, error=error), type=type, times=1)
    return HeldPuts(frontend=frontend, go_on=go_on)


NAME = "/named/default/default/n"
BATCH = frames.encode_frame({}, b"one") + frames.encode_frame({}, b"two")
SHORT_PUTS = pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/", b"short"), ("PUT", NAME, b"short"), ("POST", "/batch/put", BATCH)],
    ids=["blob", "name", "batch"],
)
OF_BATCH = {"Content-Type": frames.CONTENT_TYPE}


@HOW
@SHORT_PUTS
@pytest.mark.parametrize("shortcut", [True, False], ids=["short", "ordinary"])
async def test_a_short_upload_whose_key_goes_while_it_is_stored_is_not_acknowledged(
    tmp_path: Path, how: str, method: str, path: str, body: bytes, shortcut: bool
) -> None:
    clock = SettableClock()
    access, admin, key, stored = guard(clock)
    stored = replace(stored, grants=(Grant(roles=("read", "write", "name")),))
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(
            make_cluster(((3,),) * 2, clock=SystemClock()), metadata=store, access=access, shortcut=shortcut
        ) as frontend,
    ):
        made = Guarded(frontend=frontend, access=access, clock=clock, admin=admin, key=key, stored=stored)
        made.know(stored)
        for _ in range(2):
            await frontend.call("GET", NAME, made.headers)  # so that what the name is is known at once
        held = hold_puts(frontend)
        given = {**made.headers, **(OF_BATCH if body is BATCH else {})}
        asked = asyncio.create_task(frontend.call(method, path, given, body))
        await held.under_way()
        getattr(made, how)()
        held.go_on.set()
        refused = await asked
        assert refused.status in ((401, 403) if how == "narrow" else (401,)), refused.body
        await eventually(lambda: not frontend.cluster.pool.visible())
        if path == NAME:
            assert (await frontend.call("GET", NAME, bearer(admin))).status == 404


@SHORT_PUTS
@pytest.mark.parametrize("fails", [False, True], ids=["confirmed", "tried_again"])
@pytest.mark.parametrize("shortcut", [True, False], ids=["short", "ordinary"])
async def test_a_short_upload_into_a_container_that_is_encrypted_meanwhile_is_encrypted_or_refused(
    tmp_path: Path, method: str, path: str, body: bytes, fails: bool, shortcut: bool
) -> None:
    """What was stored in the clear was acknowledged; what was tried again was tried in the clear."""
    provider = TroubledProvider()
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(
            make_cluster(((3,),) * 2, clock=SystemClock()), metadata=store, provider=provider, shortcut=shortcut
        ) as frontend,
    ):
        for _ in range(2):
            await frontend.call("GET", NAME)
        held = hold_puts(frontend, ReplicaUnavailable("no") if fails else None)
        asked = asyncio.create_task(frontend.call(method, path, OF_BATCH if body is BATCH else {}, body))
        await held.under_way()
        settings = json.dumps({"containers": [{"containerId": 1, "encrypted": True}]}).encode()
        about = {"x-ambry-target-account-name": "default", "Content-Type": "application/json"}
        assert (await frontend.call("POST", "/accounts/containers", about, settings)).status == 200
        held.go_on.set()
        answer = await asked
        blobs = [answer.json()["id"]] if answer.status == 201 else []
        assert blobs or (answer.status, answer.headers["x-ambry-error-code"]) == (409, "UpdateConflict"), answer.body
        await eventually(lambda: len(frontend.cluster.pool.visible()) == len(blobs))
        for blob in blobs:
            told = await frontend.call("HEAD", f"/{blob}")
            assert told.headers["x-ambry-encrypted-in-storage"] == "true"


def test_who_has_no_key_stands_and_a_change_that_changes_nothing_ends_nothing() -> None:
    clock, key = SettableClock(), fresh_key()
    access = Access(clock=clock)
    stored = StoredKey(
        name="k", hash=hash_of(key.secret), grants=(Grant(roles=("read",)),), created_ms=0, created_by="t"
    )
    access.know([(key.id, stored)])
    who = access.of(bearer(key)["Authorization"])
    for each in (NOBODY, ANYBODY, who):
        access.check_standing(each)
    access.know([(key.id, replace(stored))])
    access.check_standing(who)
    limits = Rates(requests_per_s=5.0)
    rotated = replace(stored, hash="0" * 64, old=(OldSecret(hash=stored.hash, until_ms=clock.wall_ms() + 50_000),))
    for same in (replace(stored, name="renamed"), replace(stored, limits=limits), rotated):
        access.know([(key.id, same)])
        access.check_standing(who)
    clock.advance(60)
    with pytest.raises(Unauthenticated, match="was changed while this request ran"):
        access.check_standing(who)
    access.know([(key.id, replace(stored, grants=(Grant(roles=("name",)),)))])
    with pytest.raises(Unauthenticated, match="was changed while this request ran"):
        access.check_standing(who)
    access.know([])
    with pytest.raises(Unauthenticated, match="was revoked while this request ran"):
        access.check_standing(who)

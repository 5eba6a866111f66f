"""Frontends that sleep between two steps of what they do to a name and to its blob, while others go on."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ambry.blob import NEVER_MS
from ambry.errors import AccessDenied, BlobDeleted, UpdateConflict
from ambry.ids import BlobId
from frontend.container import scope_of
from frontend.metadata.leases import Leases
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import Change, Expect, MetadataStore
from frontend.names.intents import Intents
from frontend.names.janitor import NameJanitor
from frontend.names.lives import NameLives, RevivedBlob
from frontend.names.names import Names, NameVersion
from frontend.names.rows import NamedBlob, NamePlace, name_key
from frontend.request import RequestContext
from frontend.router import update
from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import FakeCluster, make_cluster
from tests.support.metadata_stores import opened, sqlite_store

SCOPE = scope_of(1, 1)
NAME = name_key("n")
PLACE = NamePlace(Space.NAME, SCOPE, NAME)
HOUR_S = 3600.0


class Sleepers:
    """Requests that sleep before they send their next update."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._asleep: dict[str, asyncio.Event] = {}
        self.reached = asyncio.Event()
        real = update._write

        async def write(request: RequestContext, *rest: Any, **more: Any) -> Any:
            if (awake := self._asleep.get(request.id)) is not None:
                self.reached.set()
                await awake.wait()
            return await real(request, *rest, **more)

        monkeypatch.setattr(update, "_write", write)

    def sleep(self, request: RequestContext) -> None:
        self._asleep[request.id] = asyncio.Event()

    def wake(self, request: RequestContext) -> None:
        self._asleep.pop(request.id).set()


@dataclass(frozen=True, kw_only=True)
class World:
    cluster: FakeCluster
    store: MetadataStore
    clock: SettableClock
    names: Names
    lives: NameLives
    janitor: NameJanitor
    sleepers: Sleepers

    def living(self) -> set[bytes]:
        return self.cluster.pool.visible()

    async def rows(self) -> int:
        return len(await self.store.locals(LocalSpace.INTENT))

    async def named(self) -> tuple[NamedBlob, NameVersion]:
        result = await self.cluster.put(b"hello")
        blob = NamedBlob(result.id.raw, 5, NEVER_MS, True)
        return blob, await self.names.point(SCOPE, NAME, blob, Expect.ABSENT)

    async def delete(self, living: NameVersion, request: RequestContext | None = None) -> None:
        async def bury(along: Change) -> None:
            await self.names.bury(SCOPE, NAME, living.stamp, [along])

        await self.lives.bury(request or self.request(), PLACE, living, None, bury)

    async def undelete(self, blob: NamedBlob, request: RequestContext | None = None) -> NameVersion:
        """As the frontend does it (frontend/rest/named.py)."""
        tombstone, revived = await self.revive(request)
        owned = replace(blob, owned=revived.brought_back)
        return await self.names.point(SCOPE, NAME, owned, tombstone.stamp, [revived.kept])

    async def revive(
        self, request: RequestContext | None = None, may_bind: Callable[[], None] = lambda: None
    ) -> tuple[NameVersion, RevivedBlob]:
        """The first half of it."""
        tombstone = await self.names.newest(SCOPE, NAME)
        assert tombstone is not None and tombstone.blob is None
        last = await self.names.last_blob(SCOPE, tombstone)
        assert last is not None
        no_quota = contextlib.nullcontext()
        revived = await self.lives.revive(request or self.request(), PLACE, tombstone, last, no_quota, may_bind)
        return tombstone, revived

    def request(self) -> RequestContext:
        return RequestContext.of_ours(self.cluster.context.random_source, timeout_s=20)

    @contextlib.asynccontextmanager
    async def asleep(self, act: Any, *args: Any) -> AsyncIterator[asyncio.Task[Any]]:
        """`act` with a request that sleeps before its first update is sent; it is awake when this is left."""
        request = self.request()
        self.sleepers.sleep(request)
        task = asyncio.ensure_future(act(*args, request))
        await self.sleepers.reached.wait()
        try:
            yield task
        finally:
            self.sleepers.wake(request)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    clock = SettableClock()
    cluster = make_cluster(((3,),) * 4, clock=clock)
    async with opened(sqlite_store(tmp_path / "meta.sqlite", clock=clock)) as store:
        intents = Intents(store, clock=clock, random_source=random.Random(1), request_s=20, upload_max_s=1000)
        lives = NameLives(store, cluster.context, intents)
        leases = Leases(store, clock=clock, owner=b"o" * 16)
        yield World(
            cluster=cluster,
            store=store,
            clock=clock,
            names=Names(store),
            lives=lives,
            janitor=NameJanitor(store, lives, leases, clock=clock),
            sleepers=Sleepers(monkeypatch),
        )


async def test_a_name_is_deleted_and_comes_back_with_its_blob(world: World) -> None:
    blob, living = await world.named()
    for _ in range(3):
        await world.delete(living)
        assert (world.living(), await world.rows()) == (set(), 0)
        living = await world.undelete(blob)
        assert (world.living(), await world.rows()) == ({blob.id}, 0)


async def test_an_undelete_that_slept_for_an_hour_leaves_no_blob_without_a_name(world: World) -> None:
    blob, living = await world.named()
    await world.delete(living)
    async with world.asleep(world.undelete, blob) as undelete:
        world.clock.advance(HOUR_S)
        await world.janitor.tick()
        assert await world.rows() == 0
    with pytest.raises(UpdateConflict, match="took so long"):
        await undelete
    newest = await world.names.newest(SCOPE, NAME)
    assert newest is not None and newest.blob is None
    assert (world.living(), await world.rows()) == (set(), 0)
    await world.undelete(blob)
    assert world.living() == {blob.id}


async def test_an_undelete_that_slept_does_not_disturb_the_one_that_came_after_it(world: World) -> None:
    blob, living = await world.named()
    await world.delete(living)
    async with world.asleep(world.undelete, blob) as slow:
        await world.undelete(blob)
    with pytest.raises(UpdateConflict):
        await slow
    assert (world.living(), await world.rows()) == ({blob.id}, 0)


async def test_a_delete_that_slept_does_not_take_the_blob_of_a_name_that_came_back(world: World) -> None:
    blob, living = await world.named()
    async with world.asleep(world.delete, living) as slow:
        assert (await world.undelete(blob)).blob is not None
        assert world.living() == {blob.id}
    await slow
    assert (world.living(), await world.rows()) == ({blob.id}, 0)


async def test_a_delete_that_the_janitor_ended_does_not_take_the_blob_of_a_name_that_came_back(world: World) -> None:
    blob, living = await world.named()
    async with world.asleep(world.delete, living) as slow:
        world.clock.advance(HOUR_S)
        await world.janitor.tick()
        assert (world.living(), await world.rows()) == (set(), 0)
        await world.undelete(blob)
    await slow
    assert (world.living(), await world.rows()) == ({blob.id}, 0)


async def test_of_two_undeletes_at_once_one_has_the_blob_and_it_goes_with_the_name(world: World) -> None:
    """The second found the blob alive, brought back for the first, and took it for another name's: nothing deleted it."""
    blob, living = await world.named()
    await world.delete(living)
    tombstone, first = await world.revive()
    assert world.living() == {blob.id}
    second = await world.undelete(blob)
    assert second.blob is not None and second.blob.owned
    with pytest.raises(UpdateConflict):
        await world.names.point(SCOPE, NAME, blob, tombstone.stamp, [first.kept])
    assert (world.living(), await world.rows()) == ({blob.id}, 0)
    await world.delete(second)
    assert (world.living(), await world.rows()) == (set(), 0)


async def test_a_name_is_not_bound_to_a_blob_that_goes_with_another_name_in_this_moment(world: World) -> None:
    blob, living = await world.named()
    other = NamePlace(Space.NAME, SCOPE, name_key("other"))
    held = await world.lives.hold(other, BlobId(blob.id))
    await world.delete(living)
    with pytest.raises(UpdateConflict, match="came in between"):
        await world.names.point(SCOPE, other.key, blob, Expect.ABSENT, [held.kept()])
    assert (world.living(), await world.rows()) == (set(), 0)


async def test_who_holds_a_blob_and_is_killed_leaves_it_as_it_was(world: World) -> None:
    blob, _ = await world.named()
    await world.lives.hold(NamePlace(Space.NAME, SCOPE, name_key("other")), BlobId(blob.id))
    world.clock.advance(HOUR_S)
    await world.janitor.tick()
    assert (world.living(), await world.rows()) == ({blob.id}, 0)


async def test_who_may_not_bind_a_blob_that_lives_leaves_everything_as_it_was(world: World) -> None:
    blob, living = await world.named()
    await world.names.bury(SCOPE, NAME, living.stamp)

    def refuse() -> None:
        raise AccessDenied("not bound")

    with pytest.raises(AccessDenied):
        await world.revive(may_bind=refuse)
    assert (world.living(), await world.rows()) == ({blob.id}, 0)


async def test_a_name_that_was_bound_to_a_blob_does_not_come_back_without_it(world: World) -> None:
    blob, living = await world.named()
    await world.names.bury(SCOPE, NAME, living.stamp)
    bound = await world.undelete(replace(blob, owned=False))
    assert bound.blob is not None and not bound.blob.owned, "it lived, as its name alone had been deleted"
    await world.names.bury(SCOPE, NAME, bound.stamp)
    await update.delete(world.request(), world.cluster.context, BlobId(blob.id))
    with pytest.raises(BlobDeleted, match="undelete that first"):
        await world.undelete(blob)
    assert (world.living(), await world.rows()) == (set(), 0)

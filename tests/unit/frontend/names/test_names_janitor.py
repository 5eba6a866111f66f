"""What is left half done for a name, and who ends it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS
from ambry.errors import ReplicaUnavailable, UpdateConflict
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from frontend.container import scope_of
from frontend.metadata.leases import Leases
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import Expect, LocalPut, MetadataStore, Put
from frontend.names.intents import Intents
from frontend.names.janitor import NameJanitor
from frontend.names.lives import NameLives
from frontend.names.names import Names
from frontend.names.rows import Intent, IntentKind, NamedBlob, NamePlace, encode_intent, name_key
from frontend.router import update
from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import FakeCluster, make_cluster
from tests.support.fake_peers import fails
from tests.support.metadata_stores import opened, sqlite_store

SCOPE = scope_of(1, 1)
NAME = name_key("n")
PLACE = NamePlace(Space.NAME, SCOPE, NAME)
LONG_S = 200.0


@dataclass(frozen=True, kw_only=True)
class World:
    cluster: FakeCluster
    store: MetadataStore
    clock: SettableClock
    names: Names
    intents: Intents
    lives: NameLives
    janitor: NameJanitor

    async def rows(self) -> int:
        return len(await self.store.locals(LocalSpace.INTENT))

    def living(self) -> set[bytes]:
        return self.cluster.pool.visible()

    async def blob(self) -> NamedBlob:
        result = await self.cluster.put(b"hello")
        return NamedBlob(result.id.raw, 5, NEVER_MS, True)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = SettableClock()
    cluster = make_cluster(((3,),) * 4, clock=clock)
    async with opened(sqlite_store(tmp_path / "meta.sqlite", clock=clock)) as store:
        names = Names(store)
        intents = Intents(store, clock=clock, random_source=random.Random(1), request_s=20, upload_max_s=1000)
        leases = Leases(store, clock=clock, owner=b"o" * 16)
        lives = NameLives(store, cluster.context, intents)
        janitor = NameJanitor(store, lives, leases, clock=clock)
        yield World(
            cluster=cluster, store=store, clock=clock, names=names, intents=intents, lives=lives, janitor=janitor
        )


async def test_a_blob_that_never_got_its_name_goes_after_its_time_and_not_before(world: World) -> None:
    blob = await world.blob()
    await world.intents.write(IntentKind.POINT, BlobId(blob.id), PLACE)
    await world.janitor.tick()
    assert world.living() == {blob.id}
    world.clock.advance(LONG_S)
    await world.janitor.tick()
    assert (world.living(), await world.rows()) == (set(), 0)


async def test_a_blob_that_got_its_name_stays_whatever_became_of_the_name_since(world: World) -> None:
    blob, other = await world.blob(), await world.blob()
    await world.intents.write(IntentKind.POINT, BlobId(blob.id), PLACE)
    await world.names.point(SCOPE, NAME, blob, Expect.ABSENT)
    await world.names.point(SCOPE, NAME, other, Expect.ANY)
    world.clock.advance(LONG_S)
    await world.janitor.tick()
    assert (world.living(), await world.rows()) == ({blob.id, other.id}, 0)


async def test_who_wakes_up_late_does_not_point_a_name_to_a_blob_that_was_let_go(world: World) -> None:
    blob = await world.blob()
    intent = await world.intents.write(IntentKind.POINT, BlobId(blob.id), PLACE)
    world.clock.advance(LONG_S)
    await world.janitor.tick()
    with pytest.raises(UpdateConflict, match="took so long"):
        await world.names.point(SCOPE, NAME, blob, Expect.ANY, [intent.kept()])
    assert await world.names.newest(SCOPE, NAME) is None


async def test_a_row_stays_while_too_few_replicas_hear_of_it_and_nobody_else_goes_on_with_it(world: World) -> None:
    blob = await world.blob()
    intent = await world.intents.write(IntentKind.POINT, BlobId(blob.id), PLACE)
    for number in (1, 2):
        world.cluster.peer(number).script(fails(ReplicaUnavailable("fenced")), type=MessageType.UPDATE)
    world.clock.advance(LONG_S)
    await world.janitor.tick()
    assert await world.rows() == 1
    with pytest.raises(UpdateConflict):
        await world.names.point(SCOPE, NAME, blob, Expect.ANY, [intent.kept()])
    for number in (1, 2):
        world.cluster.peer(number).heal()
    await world.janitor.tick()
    assert (world.living(), await world.rows()) == (set(), 0)


async def test_the_blob_of_a_deleted_name_goes_though_its_frontend_was_killed(world: World) -> None:
    blob = await world.blob()
    pointed = await world.names.point(SCOPE, NAME, blob, Expect.ABSENT)
    put, _ = world.intents.row(IntentKind.BURY, BlobId(blob.id), PLACE, after=pointed.stamp.time)
    await world.names.bury(SCOPE, NAME, pointed.stamp, [put])
    world.clock.advance(LONG_S)
    await world.janitor.tick()
    assert (world.living(), await world.rows()) == (set(), 0)


async def test_a_blob_that_was_brought_back_for_a_name_that_was_not_goes_again(world: World) -> None:
    blob = await world.blob()
    pointed = await world.names.point(SCOPE, NAME, blob, Expect.ABSENT)
    buried = await world.names.bury(SCOPE, NAME, pointed.stamp)
    await update.delete(world.cluster.request(), world.cluster.context, BlobId(blob.id))
    request = world.cluster.request()
    assert (
        await world.lives.revive(request, PLACE, buried, pointed, contextlib.nullcontext(), lambda: None)
    ).brought_back
    assert world.living() == {blob.id}
    world.clock.advance(LONG_S)
    await world.janitor.tick()
    assert (world.living(), await world.rows()) == (set(), 0)


async def test_an_intent_that_cannot_be_read_keeps_nobody_from_the_others(world: World) -> None:
    """One for a space that only a later release knows ended the whole round."""
    blob = await world.blob()
    await world.intents.write(IntentKind.POINT, BlobId(blob.id), PLACE)
    later = Intent(IntentKind.POINT, blob.id, SCOPE, NAME, 0, space=99)
    await world.store.write(
        [
            LocalPut(LocalSpace.INTENT, b"\0" * 16, encode_intent(later)),
            LocalPut(LocalSpace.INTENT, b"\0" * 15 + b"1", b"\x02"),
        ]
    )
    world.clock.advance(LONG_S)
    await world.janitor.tick()
    assert (world.living(), await world.rows()) == (set(), 2)


async def test_a_list_of_names_passes_over_what_cannot_be_read_and_is_as_long_as_was_asked_for(world: World) -> None:
    """One such name, and nobody saw any of the page."""
    blob = await world.blob()
    for number in range(6):
        await world.names.point(SCOPE, name_key(f"n{number}"), blob, Expect.ABSENT)
    for number in (0, 1, 3):
        await world.store.write([Put(Space.NAME, SCOPE, name_key(f"n{number}"), b"\x02newer")])
    for delimiter in (b"", b"/"):
        page = await world.names.page(SCOPE, prefix=b"n", delimiter=delimiter, after=None, limit=2)
        assert [each.key for each in page] == [b"n2", b"n4"]
        page = await world.names.page(SCOPE, prefix=b"n", delimiter=delimiter, after=b"n4", limit=2)
        assert [each.key for each in page] == [b"n5"]

"""Keys wherever a frontend is killed: one acknowledged blob for each, and in the end nothing else."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobProperties
from ambry.checksum import digest
from ambry.clock import Clock
from ambry.durability import Durability
from ambry.errors import EncryptionKeyDeleted, KeysUnavailable, Unavailable, UpdateConflict
from ambry.ids import BlobId, IdKind
from frontend.container import Container
from frontend.idempotency.keys import IdempotencyKeys, KeyedPut
from frontend.idempotency.rows import said_of
from frontend.metadata.leases import Leases
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import MetadataStore
from frontend.names.intents import Intents
from frontend.names.janitor import NameJanitor
from frontend.names.lives import NameLives
from frontend.router.put import PutOperation
from frontend.router.sealing_keys import ContainerKeys
from frontend.router.values import PutResult, PutSpec
from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import CHUNK, FakeCluster, make_cluster, some_container, stream
from tests.support.memory_keys import MemoryKeys
from tests.support.metadata_stores import opened, sqlite_store

KEPT_S = 7 * 86_400
BODY = b"b" * (CHUNK + 1)


def keys_of(store: MetadataStore, encryption: ContainerKeys, clock: Clock, seed: int) -> IdempotencyKeys:
    """Those of one frontend."""
    source = random.Random(seed)
    intents = Intents(store, clock=clock, random_source=source, request_s=20.0, upload_max_s=600)
    return IdempotencyKeys(store, intents, encryption, clock=clock, random_source=source, kept_s=KEPT_S)


@dataclass(frozen=True, kw_only=True)
class World:
    cluster: FakeCluster
    store: MetadataStore
    clock: SettableClock
    one: IdempotencyKeys
    other: IdempotencyKeys

    @property
    def container(self) -> Container:
        container = self.cluster.request().container
        assert container is not None
        return container

    async def put(self, keyed: KeyedPut, body: bytes = BODY) -> PutResult:
        spec = PutSpec(
            properties=BlobProperties(size=0, digest=b""),
            metadata=b"",
            created_at_ms=self.clock.wall_ms(),
            expires_at_ms=NEVER_MS,
            durability=Durability.DISK,
        )
        put = PutOperation(self.cluster.request(), self.cluster.context, spec, None, keyed.announce)
        return await put.run(stream([body]), size=len(body), size_max=1 << 40)

    async def tidy(self) -> None:
        """The janitor comes when everybody has given up."""
        self.clock.advance(1_000)
        leases = Leases(self.store, clock=self.clock, owner=b"j" * 16)
        lives = NameLives(self.store, self.cluster.context, self.one._intents)
        await NameJanitor(self.store, lives, leases, clock=self.clock).tick()
        assert await self.store.locals(LocalSpace.INTENT) == []

    def blobs(self) -> set[bytes]:
        """Those of users that can be read, without their chunks."""
        return {raw for raw in self.cluster.pool.visible() if BlobId(raw).kind is IdKind.COMPOSITE}


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    clock = SettableClock()
    keys = MemoryKeys() if request.param else None
    cluster = make_cluster(((3,),) * 4, clock=clock, keys=keys)
    async with opened(sqlite_store(tmp_path / "meta.sqlite", clock=clock)) as store:
        one, other = (keys_of(store, cluster.context.keys, clock, seed) for seed in (1, 2))
        yield World(cluster=cluster, store=store, clock=clock, one=one, other=other)


@pytest.mark.parametrize("steps", [0, 1, 2, 3], ids=["asked", "announced", "put", "acknowledged"])
async def test_a_frontend_is_killed_between_any_two_steps_and_the_next_put_ends_with_one_blob(
    world: World, steps: int
) -> None:
    first = await world.one.find(world.container, "", "k")
    result = None
    if steps == 1:
        with pytest.raises(ZeroDivisionError):
            put_body = stream_that_breaks()
            spec = PutOperation(world.cluster.request(), world.cluster.context, spec_now(world), None, first.announce)
            await spec.run(put_body, size=len(BODY), size_max=1 << 40)
    if steps >= 2:
        result = await world.put(first)
    if steps >= 3:
        assert result is not None
        await first.keep(first.kept(result, b"said"))
    second = await world.other.find(world.container, "", "k")
    if steps == 3:
        assert result is not None and second.made is not None
        assert second.made.blob == result.id.raw
        acknowledged = result
    else:
        assert second.made is None
        acknowledged = await world.put(second)
        await second.keep(second.kept(acknowledged, b"said"))
    await world.tidy()
    assert world.blobs() == {acknowledged.id.raw}
    assert await world.cluster.read(acknowledged.id) == BODY


async def test_of_a_put_that_nobody_repeats_nothing_stays(world: World) -> None:
    await world.put(await world.one.find(world.container, "", "k"))
    assert len(world.blobs()) == 1
    await world.tidy()
    assert world.blobs() == set()


async def test_of_two_at_once_the_later_one_is_acknowledged_and_the_earlier_one_refused(world: World) -> None:
    first, second = await world.one.find(world.container, "", "k"), await world.other.find(world.container, "", "k")
    result = await world.put(first)
    other = await world.put(second)
    with pytest.raises(UpdateConflict, match="came later"):
        await first.keep(first.kept(result, b"said"))
    await second.keep(second.kept(other, b"said"))
    await world.tidy()
    assert world.blobs() == {other.id.raw}


async def test_one_that_comes_while_another_is_acknowledged_is_told_to_ask_again(world: World) -> None:
    first, second = await world.one.find(world.container, "", "k"), await world.other.find(world.container, "", "k")
    result = await world.put(first)
    await first.keep(first.kept(result, b"said"))
    with pytest.raises(Unavailable, match="ask again") as refused:
        await world.put(second)
    assert refused.value.retry_after_s
    await world.tidy()
    assert world.blobs() == {result.id.raw}


async def test_whoever_slept_past_the_janitor_acknowledges_nothing(world: World) -> None:
    first = await world.one.find(world.container, "", "k")
    result = await world.put(first)
    await world.tidy()
    with pytest.raises(UpdateConflict):
        await first.keep(first.kept(result, b"said"))
    again = await world.other.find(world.container, "", "k")
    assert again.made is None
    made = await world.put(again)
    await again.keep(again.kept(made, b"said"))
    await world.tidy()
    assert world.blobs() == {made.id.raw}


async def test_a_key_is_forgotten_after_its_time(world: World) -> None:
    first = await world.one.find(world.container, "", "k")
    await first.keep(first.kept(await world.put(first), b"said"))
    world.clock.advance(KEPT_S - 1)
    assert (await world.one.find(world.container, "", "k")).made is not None
    world.clock.advance(2)
    assert (await world.one.find(world.container, "", "k")).made is None


async def test_a_key_is_of_one_container_and_of_who_sends_it(world: World) -> None:
    first = await world.one.find(world.container, "", "k")
    await first.keep(first.kept(await world.put(first), b"said"))
    assert (await world.one.find(some_container(id=2), "", "k")).made is None
    assert (await world.one.find(world.container, "who", "k")).made is None
    assert (await world.one.find(world.container, "", "k")).made is not None


def test_what_is_said_of_a_blob_makes_another_upload(world: World) -> None:
    spec = spec_now(world)
    same = said_of("", spec, None)
    assert same == said_of("", spec, None)
    assert len({same, said_of("name", spec, None), said_of("", spec, "60"), said_of("", spec, "-1")}) == 4


def spec_now(world: World) -> PutSpec:
    return PutSpec(
        properties=BlobProperties(size=0, digest=b""),
        metadata=b"",
        created_at_ms=world.clock.wall_ms(),
        expires_at_ms=NEVER_MS,
        durability=Durability.DISK,
    )


async def stream_that_breaks() -> AsyncIterator[bytes | None]:
    yield BODY[:CHUNK]
    yield BODY[CHUNK:]
    raise ZeroDivisionError


async def test_a_row_of_an_encrypted_container_tells_nothing_of_its_blob_to_who_guesses_it(world: World) -> None:
    """It held the plain xxh3 of the bytes, and of file name and metadata."""
    first = await world.one.find(world.container, "", "k")
    result = await world.put(first)
    said = digest(b"what was said")
    await first.keep(first.kept(result, said))
    [row] = await world.store.locals(LocalSpace.IDEMPOTENCY)
    sealed = world.container.settings.encrypted
    assert (digest(BODY) in row.value, said in row.value) == (not sealed, not sealed)
    again = await world.other.find(world.container, "", "k")
    assert again.made is not None and again.made.made is not None
    assert (again.made.made.digest, again.made.made.said, again.made.blob) == (digest(BODY), said, result.id.raw)


async def test_a_key_is_known_after_rotations_and_while_the_keys_are_away_it_is_not_said_that_it_is_new(
    world: World,
) -> None:
    first = await world.one.find(world.container, "", "k")
    result = await world.put(first)
    await first.keep(first.kept(result, b"said" * 4))
    keys = world.cluster.context.keys
    if not isinstance(keys, MemoryKeys):
        return
    keys.rotate(world.container.scope)
    again = await world.other.find(world.container, "", "k")
    assert again.made is not None
    keys.known, keys.away = False, True
    with pytest.raises(KeysUnavailable):
        await world.other.find(world.container, "", "k")
    keys.away = False
    keys.deleted.add(world.container.scope)
    with pytest.raises(EncryptionKeyDeleted):
        await world.other.find(world.container, "", "k")

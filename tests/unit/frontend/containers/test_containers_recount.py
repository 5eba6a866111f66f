"""Counting anew: what was deleted comes off, what was put meanwhile does not, whatever happens in between."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from ambry.errors import Unavailable
from ambry.rest.accounts import AccountSettings, ContainerSettings
from frontend.config import AccountEntry
from frontend.container import NO_SETTINGS, Container
from frontend.containers import quota, recount
from frontend.containers.directory import AccountRecord, ContainerRecord, Directory
from frontend.containers.quota import Quotas
from frontend.containers.quota_bounds import account_number
from frontend.containers.quota_rows import QuotaAmount, count_key
from frontend.containers.recount import Recount, counted_by
from frontend.containers.resolver import Containers
from frontend.metadata.leases import OWNER_SIZE, Leases
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import LocalPut, MetadataStore
from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import make_cluster
from tests.support.metadata_stores import opened, sqlite_store
from tests.unit.frontend.containers.test_containers_quota import Seat

SETTLED_S = 64.0


class World:
    """One frontend, and what the data nodes would count."""

    def __init__(self, store: MetadataStore, clock: SettableClock, *, seed: int = 1) -> None:
        self.store = store
        self.clock = clock
        self.there: dict[int, QuotaAmount] = {}
        self.containers = Containers({"default": AccountEntry(id=1, containers={"default": 1})})
        self.say(quota_bytes=1000)
        self.quotas = Quotas(store, self.counted, clock=self.clock, random_source=random.Random(seed))
        self.seat = Seat(quotas=self.quotas, store=store, clock=self.clock)
        self.recount = Recount(
            store,
            self.containers,
            self.counted,
            Leases(store, clock=self.clock, owner=bytes([seed]) * OWNER_SIZE),
            clock=self.clock,
            random_source=random.Random(seed + 1),
            settled_after_s=SETTLED_S,
        )

    async def counted(self) -> Mapping[int, QuotaAmount]:
        return self.there

    def say(self, account: AccountSettings = NO_SETTINGS, **settings: object) -> None:
        record = ContainerRecord(id=1, name="default", settings=ContainerSettings(**settings))  # type: ignore[arg-type]
        known = AccountRecord(id=1, name="default", settings=account, containers={1: record})
        self.containers.directory = Directory([known])

    @property
    def container(self) -> Container:
        return self.containers.default

    async def put(self, size: int) -> bool:
        stored = await self.seat.put(self.container, size)
        if stored:
            self.there[self.container.scope] = self.has + QuotaAmount(size, 1)
        return stored

    @property
    def has(self) -> QuotaAmount:
        return self.there.get(self.container.scope, QuotaAmount())

    def delete(self, size: int) -> None:
        self.there[self.container.scope] = self.has - QuotaAmount(size, 1)

    async def wait(self, seconds: float) -> None:
        """Time passes, and the loop looks now and then."""
        while seconds > 0:
            step = min(seconds, recount.LOOK_EVERY_S)
            self.clock.advance(step)
            seconds -= step
            await self.recount.tick()

    async def used(self) -> QuotaAmount:
        return (await self.seat.count(self.container)).used


async def test_what_was_deleted_comes_off_when_the_data_nodes_have_counted(tmp_path: Path) -> None:
    clock = SettableClock()
    async with opened(sqlite_store(tmp_path / "m.sqlite", clock=clock)) as store:
        world = World(store, clock)
        assert await world.put(900)
        world.delete(900)
        await world.seat.idle()
        assert not await world.put(900)
        assert await world.recount.tick() == recount.LOOK_EVERY_S
        await world.wait(SETTLED_S - 1)
        assert not await world.put(900), "a checkpoint may be older than the mark"
        await world.wait(1)
        assert await world.put(900)


async def test_what_was_put_since_the_mark_stays_though_the_data_nodes_have_not_counted_it(tmp_path: Path) -> None:
    clock = SettableClock()
    async with opened(sqlite_store(tmp_path / "m.sqlite", clock=clock)) as store:
        world = World(store, clock)
        assert await world.put(100)
        await world.recount.tick()
        assert await world.put(200)
        world.there.clear()  # their checkpoints are of before both, and the first was deleted
        await world.wait(SETTLED_S)
        await world.seat.idle()
        assert (await world.used()).covers(QuotaAmount(200, 1))
        assert not await world.seat.put(world.container, 801)


@pytest.mark.parametrize("seed", range(6))
async def test_the_count_is_never_less_than_what_was_put(tmp_path: Path, seed: int) -> None:
    """Any order of putting, deleting, giving back and counting; the data nodes tell of any moment since the mark."""
    source = random.Random(seed)
    clock = SettableClock()
    async with opened(sqlite_store(tmp_path / "m.sqlite", clock=clock)) as store:
        world, told = World(store, clock, seed=seed), [QuotaAmount()]

        async def counted() -> Mapping[int, QuotaAmount]:
            # The least that any checkpoint since the mark may say.
            return {
                world.container.scope: QuotaAmount(min(each.bytes for each in told), min(each.blobs for each in told))
            }

        world.recount._counted = counted
        marked = False
        sizes: list[int] = []
        for _ in range(300):
            step = source.random()
            if step < 0.4:
                size = source.randrange(1, 60)
                if await world.put(size):
                    sizes.append(size)
            elif step < 0.6 and sizes:
                world.delete(sizes.pop(source.randrange(len(sizes))))
            elif step < 0.8:
                await world.seat.idle()
            else:
                await world.recount.tick()
                if not marked:
                    told = [world.has]
                marked = True
                if source.random() < 0.5:
                    await world.wait(SETTLED_S)
                    marked = False
            if marked:
                told.append(world.has)
            assert world.has.bytes <= 1000
            row = await store.locals(LocalSpace.USAGE, prefix=b"c")
            if row:
                assert (await world.used()).covers(world.has)


async def test_what_a_process_that_died_had_taken_comes_back(tmp_path: Path) -> None:
    clock = SettableClock()
    async with opened(sqlite_store(tmp_path / "m.sqlite", clock=clock)) as store:
        dead, world = World(store, clock, seed=5), World(store, clock)
        world.there = dead.there
        assert await dead.put(100)
        taken = (await world.used()).bytes - 100
        assert taken > 0
        rows = await store.locals(LocalSpace.USAGE, prefix=b"g")
        assert len(rows) == 1 and rows[0].expires_ms is not None
        clock.advance(quota.ROW_LIFE_S)
        await world.recount.tick()
        await world.wait(SETTLED_S)
        assert await world.used() == QuotaAmount(100, 1)


async def test_one_process_counts_and_another_takes_over_with_marks_of_its_own(tmp_path: Path) -> None:
    clock = SettableClock()
    async with opened(sqlite_store(tmp_path / "m.sqlite", clock=clock)) as store:
        one, other = World(store, clock), World(store, clock, seed=7)
        assert await one.put(900)
        other.there = one.there
        one.delete(900)
        await one.seat.idle()
        await one.recount.tick()
        mark = (await one.seat.count(one.container)).mark
        await other.recount.tick()
        assert (await one.seat.count(one.container)).mark == mark
        clock.advance(SETTLED_S)  # the lease is over
        await other.recount.tick()
        assert (await one.seat.count(one.container)).mark not in (b"", mark)
        assert await one.used() == QuotaAmount(900, 1), "it knows nothing of the time before its own mark"
        await one.recount.tick()
        assert await one.used() == QuotaAmount(900, 1), "who lost the lease counts nothing"
        clock.advance(recount.LEASE_S - 1)
        await other.recount.tick()
        clock.advance(SETTLED_S - recount.LEASE_S + 1)
        await other.recount.tick()
        assert await one.used() == QuotaAmount(0, 0)


async def test_a_container_that_has_no_quota_any_more_is_not_counted(tmp_path: Path) -> None:
    clock = SettableClock()
    async with opened(sqlite_store(tmp_path / "m.sqlite", clock=clock)) as store:
        world = World(store, clock)
        assert await world.recount.tick() == recount.NOTHING_EVERY_S
        assert await world.put(10)
        world.say()
        await world.recount.tick()
        assert await store.locals(LocalSpace.USAGE, prefix=b"c") == []
        world.clock.advance(quota.IDLE_S)
        await world.quotas.tick()
        world.say(quota_bytes=30)
        assert await world.put(20), "it is counted from the beginning"
        assert not await world.put(1)


async def test_the_data_nodes_tell_the_most_that_any_replica_knows_and_enough_of_them_must() -> None:
    cluster = make_cluster(((3,), (3,)))
    blob = await cluster.put(b"12345")
    late = cluster.peer(2)
    late.records.pop(blob.id.raw, None)
    counted = counted_by(cluster.context, random.Random(1))
    assert await counted() == {1 << 32 | 1: QuotaAmount(5, 1)}
    cluster.peer(1).serving = False
    assert await counted() == {1 << 32 | 1: QuotaAmount(5, 1)}
    cluster.peer(3).serving = False
    with pytest.raises(Unavailable, match="cannot be told now"):
        await counted()


async def test_a_count_that_cannot_be_read_keeps_nobody_from_counting_the_others(tmp_path: Path) -> None:
    """No container was ever counted anew, and full ones stayed so for ever."""
    clock = SettableClock()
    async with opened(sqlite_store(tmp_path / "m.sqlite", clock=clock)) as store:
        world = World(store, clock)
        await store.write([LocalPut(LocalSpace.USAGE, count_key(0), b"\xc1")])
        assert await world.put(900)
        world.delete(900)
        await world.seat.idle()
        await world.recount.tick()
        await world.wait(SETTLED_S)
        assert await world.put(900)


async def test_an_account_is_counted_anew_over_all_its_containers_and_no_more_when_it_has_no_quota(
    tmp_path: Path,
) -> None:
    clock = SettableClock()
    async with opened(sqlite_store(tmp_path / "m", clock=clock)) as store:
        world = World(store, clock)
        world.say(AccountSettings(quota_bytes=1_000))
        world.there[1 << 32 | 5] = QuotaAmount(400, 1)
        assert await world.put(500)
        assert not await world.put(200)
        world.there[1 << 32 | 5] = QuotaAmount(100, 1)
        await world.seat.idle()
        await world.wait(SETTLED_S + 3 * recount.LOOK_EVERY_S)
        assert await world.put(200)
        key = count_key(account_number(1))
        assert await store.local(LocalSpace.USAGE, key) is not None
        world.say()
        await world.wait(2 * recount.LOOK_EVERY_S)
        assert await store.local(LocalSpace.USAGE, key) is None

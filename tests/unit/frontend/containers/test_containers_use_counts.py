"""What was asked for is counted over all frontends, once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import AmbryError, DataCorrupt
from frontend.containers.use_counts import UseCounts, UsedCount, container_row, decode_used, key_row
from frontend.limits.meters import UseTally
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import LocalPut, MetadataStore
from tests.support.fake_clock import SettableClock
from tests.support.metadata_stores import opened, sqlite_store


class Seat:
    """One process. `keys` are those that there are."""

    def __init__(self, store: MetadataStore, clock: SettableClock) -> None:
        self.store, self.keys = store, {"k1"}
        self.counts = counts = UseCounts(store, clock=clock, is_key=self.keys.__contains__)
        self.counts = counts
        self.key, self.container = UseTally(), UseTally()
        counts.tallies = lambda: [("k1", self.key), (7 << 32 | 70, self.container)]


@contextlib.asynccontextmanager
async def seats(path: Path, count: int) -> AsyncIterator[list[Seat]]:
    async with contextlib.AsyncExitStack() as ending:
        clock = SettableClock(5_000)
        stores = [await ending.enter_async_context(opened(sqlite_store(path / "m", clock=clock))) for _ in range(count)]
        yield [Seat(store, clock) for store in stores]


async def test_what_several_frontends_saw_is_one_count_whatever_they_write_at_once(tmp_path: Path) -> None:
    async with seats(tmp_path, 3) as made:
        for turn in range(5):
            for seat in made:
                seat.key.add(10, 100, refused=turn == 0)
                seat.container.add(1, 2, refused=False)
            await asyncio.gather(*(seat.counts.tick() for seat in made))
        found = await made[0].counts.all()
        assert found[key_row("k1")] == UsedCount(5_000, 15, 3, 150, 1_500)
        assert found[container_row(7 << 32 | 70)] == UsedCount(5_000, 15, 0, 15, 30)


async def test_what_is_not_written_yet_is_told_too_and_written_at_the_end(tmp_path: Path) -> None:
    async with seats(tmp_path, 2) as (one, other):
        one.key.add(1, 1, refused=False)
        assert (await one.counts.all())[key_row("k1")].requests == 1
        assert await other.counts.all() == {}
        await one.counts.close()
        assert (await other.counts.all())[key_row("k1")].requests == 1


async def used(seat: Seat) -> set[bytes]:
    """The keys of all rows of what keys were used."""
    rows = await seat.store.locals(LocalSpace.USED) + await seat.store.locals(LocalSpace.KEY_USED)
    return {row.key for row in rows}


async def test_the_rows_of_a_key_go_when_it_was_revoked(tmp_path: Path) -> None:
    """They stayed: 300 keys that were made, used and revoked left 300 rows, and as many tallies in each process."""
    async with seats(tmp_path, 1) as [one]:
        forgotten: list[str] = []
        one.counts.forget = forgotten.append
        one.key.add(1, 1, refused=False)
        one.container.add(1, 1, refused=False)
        await one.store.write([LocalPut(LocalSpace.KEY_USED, b"k1", b"5")])
        await one.counts.tick()
        container = container_row(7 << 32 | 70)
        assert await used(one) == {b"k1", key_row("k1"), container}
        one.key.add(1, 1, refused=False)
        one.keys.clear()
        await one.counts.tick()
        assert await used(one) == {container}
        assert forgotten == ["k1"]


async def test_rows_of_keys_that_were_revoked_while_nobody_ran_go_after_the_next_start(tmp_path: Path) -> None:
    async with seats(tmp_path, 1) as [one]:
        for id in ("gone", "new", "k1"):
            await one.store.write([LocalPut(LocalSpace.KEY_USED, id.encode(), b"5")])
        one.key.add(1, 1, refused=False)
        await one.counts.tick()
        one.keys.add("new")  # made elsewhere, and heard of a moment later
        await one.counts.tick()
        assert await used(one) == {b"new", b"k1", key_row("k1")}


async def test_what_could_not_be_written_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with seats(tmp_path, 1) as [one]:
        one.key.add(1, 1, refused=False)

        async def away(*_: object) -> None:
            raise AmbryError("away")

        with monkeypatch.context() as patched:
            patched.setattr(one.counts._store, "write", away)
            with pytest.raises(AmbryError):
                await one.counts.tick()
        one.key.add(1, 1, refused=False)
        await one.counts.tick()
        assert (await one.counts.all())[key_row("k1")].requests == 2


async def test_a_row_that_cannot_be_read_keeps_none_of_the_others(tmp_path: Path) -> None:
    async with seats(tmp_path, 1) as [one]:
        await one.counts._store.write([LocalPut(LocalSpace.USED, key_row("k1"), b"nonsense")])
        one.key.add(1, 1, refused=False)
        one.container.add(1, 1, refused=False)
        await one.counts.tick()
        assert (await one.counts.all())[container_row(7 << 32 | 70)].requests == 1


def test_a_count_that_is_none_is_damage() -> None:
    with pytest.raises(DataCorrupt):
        decode_used(b"\x01")

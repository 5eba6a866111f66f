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
from frontend.metadata.store import LocalPut
from tests.support.fake_clock import SettableClock
from tests.support.metadata_stores import opened, sqlite_store


class Seat:
    """One process."""

    def __init__(self, counts: UseCounts) -> None:
        self.counts = counts
        self.key, self.container = UseTally(), UseTally()
        counts.tallies = lambda: [("k1", self.key), (7 << 32 | 70, self.container)]


@contextlib.asynccontextmanager
async def seats(path: Path, count: int) -> AsyncIterator[list[Seat]]:
    async with contextlib.AsyncExitStack() as ending:
        clock = SettableClock(5_000)
        stores = [await ending.enter_async_context(opened(sqlite_store(path / "m", clock=clock))) for _ in range(count)]
        yield [Seat(UseCounts(store, clock=clock)) for store in stores]


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

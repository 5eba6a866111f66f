"""Look-ups that share queries; each has its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ambry.errors import DataCorrupt, MetadataUnavailable
from frontend.metadata.plan import RegisterKey
from frontend.metadata.postgres_looks import FLIGHTS_MAX, Found, PostgresLooks
from frontend.metadata.store import Stamp, Version


def place(key: bytes) -> RegisterKey:
    return RegisterKey(5, 1, key)


def version(key: bytes, value: bytes = b"") -> Version:
    return Version(5, 1, key, Stamp(1, 1), value, 1)


class Database:
    """Answers when it is let; a key `absent` has no version, `damaged` a damaged one, `away` makes the query fail."""

    def __init__(self) -> None:
        self.queries: list[list[bytes]] = []
        self.gate = asyncio.Event()

    async def fetch(self, places: Sequence[RegisterKey]) -> Found:
        keys = [wanted.key for wanted in places]
        self.queries.append(keys)
        await self.gate.wait()
        if b"away" in keys:
            raise MetadataUnavailable("the metadata database is away")
        found: dict[RegisterKey, Version | DataCorrupt] = {}
        for key in keys:
            if key == b"damaged":
                found[place(key)] = DataCorrupt("damaged")
            elif key != b"absent":
                found[place(key)] = version(key)
        return found


async def begun(looks: PostgresLooks, *keys: bytes) -> asyncio.Task[list[Version | None]]:
    task = asyncio.create_task(looks.newest([place(key) for key in keys]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_what_comes_while_queries_are_under_way_goes_into_the_next() -> None:
    database = Database()
    looks = PostgresLooks(database.fetch)
    first = [await begun(looks, b"a") for _ in range(FLIGHTS_MAX)]
    later = [await begun(looks, b"b", b"a"), await begun(looks, b"absent"), await begun(looks, b"b")]
    assert database.queries == [[b"a"]] * FLIGHTS_MAX
    database.gate.set()
    assert await asyncio.gather(*first) == [[version(b"a")]] * FLIGHTS_MAX
    assert await asyncio.gather(*later) == [[version(b"b"), version(b"a")], [None], [version(b"b")]]
    assert database.queries[FLIGHTS_MAX:] == [[b"b", b"a", b"absent"]]
    await looks.close()


async def test_a_damaged_register_fails_those_who_asked_for_it_alone() -> None:
    database = Database()
    looks = PostgresLooks(database.fetch)
    holding = [await begun(looks, b"x") for _ in range(FLIGHTS_MAX)]
    damaged, sound = await begun(looks, b"damaged"), await begun(looks, b"a")
    database.gate.set()
    await asyncio.gather(*holding)
    with pytest.raises(DataCorrupt):
        await damaged
    assert await sound == [version(b"a")]


async def test_a_query_that_fails_is_told_to_each_and_the_next_is_made() -> None:
    database = Database()
    database.gate.set()
    looks = PostgresLooks(database.fetch)
    with pytest.raises(MetadataUnavailable):
        await looks.newest([place(b"away")])
    assert await looks.newest([place(b"a")]) == [version(b"a")]


async def test_who_was_cancelled_is_not_asked_for() -> None:
    database = Database()
    looks = PostgresLooks(database.fetch)
    holding = [await begun(looks, b"x") for _ in range(FLIGHTS_MAX)]
    gone, stays = await begun(looks, b"gone"), await begun(looks, b"stays")
    gone.cancel()
    await asyncio.sleep(0)
    database.gate.set()
    await asyncio.gather(*holding, stays)
    assert database.queries[-1] == [b"stays"]


async def test_a_close_answers_those_under_way_and_those_that_wait() -> None:
    database = Database()
    looks = PostgresLooks(database.fetch)
    waiting = [await begun(looks, b"a") for _ in range(FLIGHTS_MAX + 2)]
    await looks.close()
    async with asyncio.timeout(5):
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in found] == [MetadataUnavailable] * (FLIGHTS_MAX + 2)
    with pytest.raises(MetadataUnavailable):
        await looks.newest([place(b"a")])

"""Datacenters of one process: each with a metadata store in a file, which others follow as they would over the network."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from ambry.clock import Clock
from ambry.errors import PeerConnectionLost
from frontend.following.follower import DatacenterFollower
from frontend.following.remote import RemotePage
from frontend.metadata.leases import Leases
from frontend.metadata.spaces import Space
from frontend.metadata.store import PAGE_MAX, LogCursor, LogPage, MetadataStore, Version
from tests.support.metadata_stores import sqlite_store

SCOPE = 1 << 32 | 2


class StoreSource:
    """The log of a store of this process, as a MetadataSource; while `cut` it does not answer."""

    def __init__(self, store: MetadataStore, *, limit: int = PAGE_MAX) -> None:
        self.store = store
        self.cut = False
        self.asked = 0
        self._limit = limit

    @property
    def name(self) -> str:
        return f"dc{self.number}"

    @property
    def number(self) -> int:
        return self.store.datacenter

    async def page(self, since: LogCursor | None, *, wait_s: float, trail: Sequence[LogCursor] = ()) -> RemotePage:
        self._reach()
        page = await self.store.log(since, limit=self._limit)
        for place in trail:
            if (await self.store.log(place, limit=1)).started_over:
                page = await self.store.log(None, limit=self._limit)
                page = LogPage(page.versions, page.cursor, started_over=True)
                break
        head = await self.store.head()
        return RemotePage(page, head.seq if page.versions else 0 if page.cursor is None else page.cursor.seq)

    async def newest(self, space: Space, scope: int, key: bytes, *, within_s: float) -> Version | None:
        self._reach()
        return await self.store.get(space, scope, key)

    def _reach(self) -> None:
        self.asked += 1
        if self.cut:
            raise PeerConnectionLost(f"{self.name} is cut off")


def follower_of(
    store: MetadataStore, source: StoreSource, *, clock: Clock, owner: bytes = b"o" * 16
) -> DatacenterFollower:
    """A follower whose process is `owner`."""
    leases = Leases(store, clock=clock, owner=owner)
    return DatacenterFollower(store, source, leases, clock=clock, random_source=random.Random(7))


@contextlib.asynccontextmanager
async def stores(directory: Path, clocks: Sequence[Clock]) -> AsyncIterator[list[MetadataStore]]:
    """One for each clock, numbered from 1."""
    async with contextlib.AsyncExitStack() as ending:
        found: list[MetadataStore] = []
        for number, clock in enumerate(clocks, 1):
            store = sqlite_store(directory / f"dc{number}.sqlite", datacenter=number, clock=clock, seed=number)
            await store.reach()
            ending.push_async_callback(store.close)
            found.append(store)
        yield found


async def everything(store: MetadataStore) -> set[tuple[int, int, bytes, int, int, bytes | None]]:
    """All versions that a store has, without their places in its log."""
    found: set[tuple[int, int, bytes, int, int, bytes | None]] = set()
    cursor = None
    while True:
        page = await store.log(cursor)
        for version in page.versions:
            stamp = version.stamp
            found.add((version.space, version.scope, version.key, stamp.time, stamp.datacenter, version.value))
        cursor = page.cursor
        if not page.versions:
            return found


async def living(store: MetadataStore, space: Space = Space.NAME, scope: int = SCOPE) -> dict[bytes, bytes | None]:
    """What a listing shows."""
    return {version.key: version.value for version in await store.list(space, scope)}

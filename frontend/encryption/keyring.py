"""The keys of containers that are open in this process, for as long as they may be.

A key is opened by the master key when it is first needed, and serves in memory from then on. One that is used is opened again
in good time; where that fails it serves until `cache_s` after it was last opened, and then nobody reads or writes with it (503)
until the provider answers (contract F35). One that nobody uses goes when its time is over, one that is deleted at once.

What is known of a container's keys holds as long as the directory of containers does: whoever changes keys tells of a change
of the account too, so all of this is as fresh as what is known of containers, and goes on as they do without metadata store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from ambry.clock import Clock
from ambry.errors import AmbryError, EncryptionKeyDeleted, KeysUnavailable
from ambry.service.logs import get_logger
from frontend import metrics
from frontend.container import Container
from frontend.containers.directory import Directory
from frontend.containers.registers import told_puts
from frontend.containers.resolver import Containers
from frontend.encryption.key_rows import (
    DeletedKey,
    KeptKey,
    WrappedKey,
    about,
    current_of,
    decode,
    encode,
    next_version,
    register_key,
    shown,
)
from frontend.encryption.master import MasterKeys
from frontend.encryption.opened import OpenKey
from frontend.encryption.provider import KEY_SIZE
from frontend.metadata.pages import all_living
from frontend.metadata.spaces import Space
from frontend.metadata.store import Conflict, Expect, MetadataStore, Put, Version
from frontend.metadata.unreadable import passing_over

log = get_logger()

T = TypeVar("T")
AskAll = Callable[[Space, int, bytes], Awaitable[Version | None]]
OPEN_MAX = 10_000
"""Keys that are open at a time."""
LOOK_EVERY_S = 0.25
REFRESH_SHARE = 4
"""A key that is used is opened again after this part of its time."""
REFRESH_MAX = 64
"""Keys that are opened again in one look."""
ATTEMPTS = 8


class _Known(NamedTuple):
    """Which key of a container is current, and as of when."""

    version: int
    directory: Directory


class Keyring:
    """Those of one frontend process; what the router needs of keys (frontend/router/sealing_keys.py)."""

    offered = True

    def __init__(
        self,
        store: MetadataStore,
        containers: Containers,
        masters: Sequence[MasterKeys],
        *,
        cluster: str,
        clock: Clock,
        chance: Callable[[int], bytes],
        cache_s: float,
    ) -> None:
        """The first of `masters` wraps; all of them open what they wrapped. `chance` gives bytes that nobody can guess."""
        self._store = store
        self._containers = containers
        self.master = masters[0]
        self._masters = {each.name: each for each in masters}
        self._cluster = cluster
        self._clock = clock
        self._chance = chance
        self._cache_s = cache_s
        self.elsewhere: AskAll | None = None
        """Asks other datacenters for a register that is not here."""
        self._open: dict[tuple[int, int], OpenKey] = {}
        self._current: dict[int, _Known] = {}
        self._under_way: dict[tuple[int, int], asyncio.Task[OpenKey]] = {}
        self._looked: Directory | None = None
        self._failing = False

    @property
    def open_count(self) -> int:
        return len(self._open)

    def progress(self) -> dict[str, Any]:
        """What an operator is told of it."""
        return {
            "provider": self.master.name,
            "away": self.master.away,
            "open": len(self._open),
            "opening": len(self._under_way),
        }

    # --- what the router asks ---

    def current(self, container: Container) -> OpenKey | None:
        known = self._current.get(container.scope)
        if known is None or known.directory is not self._containers.directory:
            return None
        return self.find(container.scope, known.version)

    def find(self, scope: int, version: int) -> OpenKey | None:
        key = self._open.get((scope, version))
        if key is None or self._clock.monotonic() >= key.until:
            return None
        key.used = True
        return key

    async def current_soon(self, container: Container) -> OpenKey:
        scope = container.scope
        directory = self._containers.directory
        row = await self._told(scope, self._newest(container))
        self._current[scope] = _Known(row.version, directory)
        return self.find(scope, row.version) or await self._once(scope, row.version, row)

    async def find_soon(self, scope: int, version: int) -> OpenKey:
        return self.find(scope, version) or await self._once(scope, version, None)

    async def check(self) -> None:
        """Raises KeysUnavailable where no key can be made now."""
        await self.master.newest()

    # --- keys as they are kept ---

    async def rows(self, scope: int) -> list[KeptKey]:
        """All keys that a container ever had, by version. Raises what the store raises, DataCorrupt."""
        versions = all_living(self._store, Space.CONTAINER_KEY, scope)
        return [row async for version in versions if (row := decode(version)) is not None]

    async def make(self, container: Container, *, beside: int | None) -> KeptKey:
        """Make a key that is current from now on, where `beside` still is (None: none is); else the one that is.

        Raises KeysUnavailable, Unavailable where another datacenter cannot say which keys there are, and what the store raises.
        """
        scope = container.scope
        for _ in range(ATTEMPTS):
            rows = await self.rows(scope)
            current = current_of(rows)
            if current is not None and current.version != beside:
                return current
            version = next_version(rows, self._store.datacenter)
            if await self._known_elsewhere(scope, version):
                # Ours was put back from a backup: they know keys of ours that it does not, and it does from now on.
                continue
            key = await self.wrap(scope, version, self._chance(KEY_SIZE), made_ms=self._clock.wall_ms())
            put = Put(Space.CONTAINER_KEY, scope, register_key(version), encode(key), Expect.ABSENT)
            try:
                (made, *_) = await self._store.write([put, *told_puts([container.account_id], self._store.datacenter)])
            except Conflict:
                continue
            log.info("key of a container made", container=str(container), version=shown(version))
            return KeptKey(version, key, made.stamp)
        raise KeysUnavailable(f"keys of the container {container} are made all the time; retry", retry_after_s=1)

    async def _known_elsewhere(self, scope: int, version: int) -> bool:
        ask = self.elsewhere
        return ask is not None and await ask(Space.CONTAINER_KEY, scope, register_key(version)) is not None

    def forget(self, scope: int, version: int) -> None:
        """Nobody uses it any more."""
        self._open.pop((scope, version), None)

    async def wrap(self, scope: int, version: int, key: bytes, *, made_ms: int) -> WrappedKey:
        """A key as it is to be kept. Raises KeysUnavailable."""
        wrapped = await self.master.wrap(key, about(self._cluster, scope, version))
        return WrappedKey(self.master.name, wrapped, made_ms)

    async def open(self, scope: int, row: KeptKey) -> bytes:
        """The key of a row itself. Raises EncryptionKeyDeleted, KeysUnavailable."""
        key = row.key
        of = f"the key {shown(row.version)} of the container {self._containers.shown(scope)}"
        if isinstance(key, DeletedKey):
            raise EncryptionKeyDeleted(f"{of} was deleted: what was encrypted with it is unreadable for ever")
        master = self._masters.get(key.provider)
        if master is None:
            raise KeysUnavailable(
                f"{of} was wrapped by the provider {key.provider}, and this frontend asks {' and '.join(self._masters)} alone"
            )
        return await self._told(scope, master.unwrap(key.wrapped, about(self._cluster, scope, row.version)), of=of)

    async def _newest(self, container: Container) -> KeptKey:
        row = current_of(await self.rows(container.scope))
        return await self.make(container, beside=None) if row is None else row

    async def _row(self, scope: int, version: int) -> KeptKey:
        """One register, here or elsewhere."""
        key = register_key(version)
        found = await self._store.get(Space.CONTAINER_KEY, scope, key)
        row = None if found is None else decode(found)
        if row is None and self.elsewhere is not None:
            found = await self.elsewhere(Space.CONTAINER_KEY, scope, key)
            row = None if found is None else decode(found)
        if row is None:
            raise KeysUnavailable(f"its key {shown(version)} is not in the metadata of any datacenter", retry_after_s=1)
        return row

    async def _told(self, scope: int, work: Awaitable[T], *, of: str = "") -> T:
        """What comes of something, or why nothing does, as one who reads or writes is told it."""
        try:
            return await work
        except EncryptionKeyDeleted:
            raise
        except AmbryError as error:
            what = of or f"the keys of the container {self._containers.shown(scope)}"
            raise KeysUnavailable(
                f"{what} cannot be had now: {error.message}", retry_after_s=error.retry_after_s
            ) from error

    # --- opening ---

    async def _once(self, scope: int, version: int, row: KeptKey | None) -> OpenKey:
        """Open a key, once for all who wait for it."""
        place = (scope, version)
        task = self._under_way.get(place)
        if task is None:
            task = self._under_way[place] = asyncio.create_task(self._opened(scope, version, row))
            task.add_done_callback(lambda done: self._over(place, done))
        return await asyncio.shield(task)

    def _over(self, place: tuple[int, int], task: asyncio.Task[OpenKey]) -> None:
        del self._under_way[place]
        if not task.cancelled():
            # Whoever waited has it; they may all have gone.
            task.exception()

    async def _opened(self, scope: int, version: int, row: KeptKey | None) -> OpenKey:
        began = self._clock.monotonic()
        directory = self._containers.directory
        if row is None:
            row = await self._told(scope, self._row(scope, version))
        secret = await self.open(scope, row)
        if self._containers.directory is not directory:
            # It may have been deleted meanwhile, and whoever looked for what is had not found it open.
            row = await self._told(scope, self._row(scope, version))
            if isinstance(row.key, DeletedKey):
                secret = await self.open(scope, row)
        key = OpenKey(version, secret, until=began + self._cache_s)
        # Put last: what is opened again goes behind all others.
        self._open.pop((scope, version), None)
        while len(self._open) >= OPEN_MAX:
            del self._open[next(iter(self._open))]
        self._open[scope, version] = key
        key.used = True
        return key

    # --- beside requests ---

    async def tick(self) -> float:
        """Let go of what is over or deleted, and open again what is used; seconds until the next look."""
        now = self._clock.monotonic()
        for place in [place for place, key in self._open.items() if now >= key.until]:
            del self._open[place]
        self._current = {
            scope: known for scope, known in self._current.items() if known.directory is self._containers.directory
        }
        try:
            await self._look_for_deleted()
            await self._open_again(now)
        except AmbryError as error:
            if not self._failing:
                log.warning("keys of containers serve until their time is over", error=error.message)
            self._failing = True
        else:
            self._failing = False
        metrics.ENCRYPTION_KEYS.set(len(self._open))
        return LOOK_EVERY_S

    async def _look_for_deleted(self) -> None:
        directory = self._containers.directory
        if directory is self._looked:
            return
        for scope in dict.fromkeys(scope for scope, _ in self._open):
            async for version in all_living(self._store, Space.CONTAINER_KEY, scope):
                with passing_over("key of a container", version.key):
                    row = decode(version)
                    if row is not None and isinstance(row.key, DeletedKey):
                        self.forget(scope, row.version)
        self._looked = directory

    async def _open_again(self, now: float) -> None:
        due = now + self._cache_s * (REFRESH_SHARE - 1) / REFRESH_SHARE
        places = [place for place, key in self._open.items() if key.used and key.until <= due]
        for scope, version in places[:REFRESH_MAX]:
            try:
                key = await self._once(scope, version, None)
            except EncryptionKeyDeleted:
                self.forget(scope, version)
            else:
                key.used = False

    async def close(self) -> None:
        """Nothing is asked any more, and no key is held."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._open.clear()
        self._current.clear()

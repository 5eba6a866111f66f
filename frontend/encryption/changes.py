"""What an administrator does with the keys of containers: look at them, make new ones, wrap them anew, delete them for ever."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ambry.clock import Clock
from ambry.errors import InvalidRequest, KeyNotFound, KeysUnavailable
from ambry.service.logs import get_logger
from frontend.container import Container
from frontend.containers.registers import told_puts
from frontend.containers.resolver import Containers
from frontend.encryption.key_rows import (
    DeletedKey,
    KeptKey,
    WrappedKey,
    current_of,
    encode,
    register_key,
    shown,
)
from frontend.encryption.keyring import Keyring
from frontend.metadata.spaces import Space
from frontend.metadata.store import Conflict, MetadataStore, Put

log = get_logger()

DELETES_AT_ONCE = 500
REWRAPS_MAX = 1_000


class Rewrapped(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one step of wrapping anew."""

    version: str
    """Of the master key that wraps now."""
    done: int
    already: int
    """Keys that it had wrapped before."""
    failed: tuple[str, ...]
    """Why keys stay as they are, a sentence each."""
    next: int | None
    """The scope behind which to go on; None: that was all."""


class KeyChanges:
    """Those that this frontend makes."""

    def __init__(
        self, keyring: Keyring, containers: Containers, store: MetadataStore, *, clock: Clock, settled_s: float
    ) -> None:
        """`settled_s`: for so long somebody who has not heard of it yet may go on with the key before."""
        self._keyring = keyring
        self._containers = containers
        self._store = store
        self._clock = clock
        self._settled_s = settled_s

    async def all(self, container: Container) -> list[KeptKey]:
        """Every key that a container ever had, by version."""
        return await self._keyring.rows(container.scope)

    async def rotate(self, container: Container) -> KeptKey:
        """Another key for what is written from now on; the one before goes on opening what it sealed.

        Raises InvalidRequest for a container without any, KeysUnavailable, and what the store raises.
        """
        current = current_of(await self._keyring.rows(container.scope))
        if current is None and not container.settings.encrypted:
            raise InvalidRequest(f"the container {container} is not encrypted: it has no key; set encrypted first")
        made = await self._keyring.make(container, beside=None if current is None else current.version)
        await self._refresh()
        return made

    async def delete(self, container: Container, version: int | None, *, by: str) -> list[int]:
        """Delete a key, or all, for ever; their versions. What they sealed is unreadable from then on.

        Raises InvalidRequest where somebody may still write with it, KeyNotFound, RetentionLocked, and what the store raises.
        """
        await self._refresh()
        container = self._containers.now(container)
        container.check_unlocked(self._clock.wall_ms())
        rows = await self._keyring.rows(container.scope)
        if version is None:
            if container.active:
                raise InvalidRequest(
                    f"the container {container} is in use: set its status to INACTIVE first, so that nobody writes what nobody "
                    "will read"
                )
            going = [row for row in rows if isinstance(row.key, WrappedKey)]
        else:
            going = [self._one(container, rows, version)]
        puts = []
        for row in going:
            if isinstance(row.key, WrappedKey):
                gone = encode(DeletedKey(self._clock.wall_ms(), by))
                puts.append(Put(Space.CONTAINER_KEY, container.scope, register_key(row.version), gone))
        for at in range(0, len(puts), DELETES_AT_ONCE):
            told = told_puts([container.account_id], self._store.datacenter)
            await self._store.write([*puts[at : at + DELETES_AT_ONCE], *told])
        for row in going:
            self._keyring.forget(container.scope, row.version)
        versions = [row.version for row in going]
        log.warning(
            "keys of a container deleted for ever", container=str(container), versions=list(map(shown, versions))
        )
        await self._refresh()
        return versions

    def _one(self, container: Container, rows: Iterable[KeptKey], version: int) -> KeptKey:
        """The one with this version, where it may go."""
        found = next((row for row in rows if row.version == version), None)
        if found is None:
            raise KeyNotFound(f"the container {container} never had a key {shown(version)}")
        if not container.active or isinstance(found.key, DeletedKey):
            return found
        newer = [row.key.made_ms for row in rows if row.version > version and isinstance(row.key, WrappedKey)]
        if not newer:
            raise InvalidRequest(
                f"{shown(version)} is the key with which the container {container} is written: rotate it first, or set the "
                "container's status to INACTIVE"
            )
        left_s = self._settled_s - (self._clock.wall_ms() - min(newer)) / 1000
        if left_s > 0:
            raise InvalidRequest(
                f"somebody who has not heard of a newer key may write with {shown(version)} for {left_s:.0f} s more: wait, or "
                f"set the status of the container {container} to INACTIVE"
            )
        return found

    async def rewrap(self, after: int | None, limit: int) -> Rewrapped:
        """Have the newest master key wrap what an older one, or another provider, had; blobs stay as they are.

        Looks at the containers behind the scope `after`, until `limit` keys were seen. Whoever breaks off goes on, or begins
        again: what is done is done. Raises KeysUnavailable where the provider is away, and what the store raises.
        """
        if not 1 <= limit <= REWRAPS_MAX:
            raise InvalidRequest(f"limit is 1 to {REWRAPS_MAX}")
        master = self._keyring.master
        version = await master.newest()
        done, already = 0, 0
        failed: list[str] = []
        last: int | None = None
        for scope in self._scopes(after):
            if done + already + len(failed) >= limit:
                break
            for row in await self._keyring.rows(scope):
                key = row.key
                if not isinstance(key, WrappedKey):
                    continue
                if (key.provider, key.wrapped.version) == (master.name, version):
                    already += 1
                    continue
                try:
                    done += await self._wrap_anew(scope, row, key)
                except KeysUnavailable as error:
                    if master.away is not None:
                        raise
                    failed.append(error.message)
            last = scope
        else:
            last = None
        return Rewrapped(version=version, done=done, already=already, failed=tuple(failed), next=last)

    async def _wrap_anew(self, scope: int, row: KeptKey, key: WrappedKey) -> bool:
        secret = await self._keyring.open(scope, row)
        anew = await self._keyring.wrap(scope, row.version, secret, made_ms=key.made_ms)
        put = Put(Space.CONTAINER_KEY, scope, register_key(row.version), encode(anew), row.stamp)
        try:
            await self._store.write([put])
        except Conflict:
            # Somebody else wrapped it, or deleted it.
            return False
        return True

    def _scopes(self, after: int | None) -> list[int]:
        """Of all containers that are known, in order."""
        accounts = self._containers.directory.accounts.values()
        scopes = (account.id << 32 | id for account in accounts for id in account.containers)
        return sorted(scope for scope in scopes if after is None or scope > after)

    async def _refresh(self) -> None:
        if self._containers.refresh is not None:
            await self._containers.refresh()

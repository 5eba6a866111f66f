"""Making and changing accounts and containers: what is asked for is judged as a whole, and written in one group or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ambry.clock import Clock
from ambry.errors import (
    AccountNotFound,
    AlreadyExists,
    AmbryError,
    ContainerNotFound,
    InvalidRequest,
    RetentionLocked,
    UpdateConflict,
)
from ambry.rest.accounts import account_changes, container_changes, name_of
from ambry.service.logs import get_logger
from frontend.container import Container
from frontend.containers.directory import AccountRecord, ContainerRecord
from frontend.containers.registers import LOCK, Kept, account_puts, container_puts, new_id, told_puts
from frontend.containers.resolver import Containers
from frontend.containers.sync import ContainerSync
from frontend.metadata.store import GROUP_MAX, Conflict, MetadataStore, Put

log = get_logger()

ATTEMPTS = 8
"""A change that others' changes came before is judged anew so often."""
AT_ONCE_MAX = 100
"""Accounts or containers of one request."""


class MakesKeys(Protocol):
    """Whoever keeps the keys of containers that are encrypted (frontend/encryption)."""

    async def check(self) -> None:
        """Raises KeysUnavailable where none can be made now."""

    async def current_soon(self, container: Container) -> object:
        """The key of a container; made where there is none."""


class ContainerChanges:
    """The changes that this frontend makes."""

    def __init__(
        self,
        containers: Containers,
        sync: ContainerSync,
        store: MetadataStore,
        *,
        clock: Clock,
        geo: bool,
        keys: MakesKeys | None = None,
    ) -> None:
        """`geo` says whether the cluster has more than one datacenter. Without `keys` no container can be encrypted."""
        self._keys = keys
        self._containers = containers
        self._sync = sync
        self._store = store
        self._clock = clock
        self._geo = geo

    async def save_accounts(self, given: Sequence[Mapping[str, Any]]) -> list[AccountRecord]:
        """Make or change accounts, with the containers that stand in them; they are as they are now.

        One without an id is new. Raises InvalidRequest, AlreadyExists, AccountNotFound for an id that none has, UpdateConflict,
        RetentionLocked, and what the store raises; then nothing was changed.
        """
        inner = [each.get("containers") for each in given if isinstance(each, dict)]
        encrypted = [each for some in inner if isinstance(some, list) for each in some if _asks_encryption(each)]
        await self._check_keys(encrypted)
        ids = await self._save(lambda: self._judge_accounts(given))
        if encrypted:
            await self._make_keys(ids)
        return [self._containers.directory.accounts[id] for id in ids]

    async def save_containers(self, account: int, given: Sequence[Mapping[str, Any]]) -> list[ContainerRecord]:
        """Make or change containers of an account; they are as they are now. Raises as save_accounts."""

        def judge() -> tuple[list[int], list[Put]]:
            ids, puts = self._judge_containers(account, given)
            return ids, [*puts, *told_puts([account], self._store.datacenter)]

        encrypted = [each for each in given if _asks_encryption(each)]
        await self._check_keys(encrypted)
        ids = await self._save(judge)
        if encrypted:
            await self._make_keys([account])
        return [self._containers.directory.accounts[account].containers[id] for id in ids]

    async def _check_keys(self, encrypted: Sequence[object]) -> None:
        """Raises where a container is to be encrypted, and cannot be."""
        if not encrypted:
            return
        if self._keys is None:
            raise InvalidRequest(
                "encrypted: this frontend is not told who keeps master keys, so nothing can be encrypted; see [encryption] "
                "in its configuration"
            )
        await self._keys.check()

    async def _make_keys(self, accounts: Sequence[int]) -> None:
        """Keys for what is encrypted in these accounts. The first upload makes one where that fails now."""
        for account in accounts:
            for id, record in self._containers.directory.accounts[account].containers.items():
                container = self._containers.known_id(account, id)
                if self._keys is None or container is None or not record.settings.encrypted:
                    continue
                try:
                    await self._keys.current_soon(container)
                except AmbryError as error:
                    log.warning("no key made yet; the first upload will", container=str(container), error=error.message)

    async def _save(self, judge: Callable[[], tuple[list[int], list[Put]]]) -> list[int]:
        for attempt in range(1, ATTEMPTS + 1):
            await self._sync.refresh()
            ids, puts = judge()
            if len(puts) > GROUP_MAX:
                raise InvalidRequest(
                    f"this is {len(puts)} changes of fields at once, and {GROUP_MAX} can be had; ask in parts"
                )
            try:
                await self._store.write(puts)
                break
            except Conflict as conflict:
                if attempt == ATTEMPTS:
                    raise UpdateConflict(
                        "others change the same all the time; nothing was changed, retry"
                    ) from conflict
        await self._sync.refresh()
        return ids

    def _judge_accounts(self, given: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[Put]]:
        accounts = self._containers.directory.accounts
        ids: list[int] = []
        puts: list[Put] = []
        for each in _some("accounts", given):
            changes = account_changes(each)
            inner = each.get("containers", [])
            if not isinstance(inner, list):
                raise InvalidRequest("containers is a list of containers")
            id = _id("accountId", each)
            if id is None:
                name = name_of("accountName", each.get("accountName"))
                if (there := self._containers.directory.account(name)) is not None:
                    raise AlreadyExists(f"there is an account {name!r}; say its accountId {there.id} to change it")
                _check_version(each, f"account {name}", 0)
                id, kept = new_id(name, [*accounts, *ids]), Kept()
            else:
                record = accounts.get(id)
                if record is None:
                    raise AccountNotFound(
                        f"there is no account with the id {id}; a new one gets its id here, so leave it out"
                    )
                name = None
                _check_name("accountName", each, record.name)
                _check_version(each, f"account {record.name}", record.snapshot_version)
                known = self._sync.known.get(id)
                kept = Kept() if known is None else known.kept
            _once(ids, id)
            puts += account_puts(id, name, changes, kept, self._store.datacenter)
            puts += self._judge_containers(id, inner)[1] if inner else []
        return ids, [*puts, *told_puts(ids, self._store.datacenter)]

    def _judge_containers(self, account: int, given: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[Put]]:
        record = self._containers.directory.accounts.get(account)
        known = self._sync.known.get(account)
        there = {} if record is None else dict(record.containers)
        of = "a new account" if record is None else f"account {record.name}"
        ids: list[int] = []
        puts: list[Put] = []
        for each in _some("containers", given):
            changes = container_changes(each)
            if changes.get("defaultDurability") == "geo" and not self._geo:
                raise InvalidRequest("defaultDurability: geo needs a second datacenter, and this cluster has one")
            if each.get("parentAccountId") not in (None, -1, account):
                raise InvalidRequest(f"parentAccountId is {each['parentAccountId']!r}, and this is account {account}")
            id = _id("containerId", each)
            kept = Kept()
            if id is None:
                name = name_of("containerName", each.get("containerName"))
                if (twin := next((it for it in there.values() if it.name == name), None)) is not None:
                    raise AlreadyExists(f"{of} has a container {name!r}; say its containerId {twin.id} to change it")
                _check_version(each, f"container {name}", 0)
                id = new_id(name, there)
                there[id] = ContainerRecord(id=id, name=name)
            else:
                name = None
                if id not in there:
                    raise ContainerNotFound(
                        f"{of} has no container with the id {id}; a new one gets its id here, so leave it out"
                    )
                _check_name("containerName", each, there[id].name)
                _check_version(each, f"container {there[id].name}", there[id].snapshot_version)
                if known is not None:
                    kept = known.containers.get(id, kept)
                self._check_lock(there[id], changes)
            _once(ids, id)
            puts += container_puts(account, id, name, changes, kept, self._store.datacenter, self._clock.wall_ms())
        return ids, puts

    def _check_lock(self, record: ContainerRecord, changes: Mapping[str, Any]) -> None:
        until = record.settings.retention_lock_until
        if self._clock.wall_ms() < until and changes.get(LOCK, until) < until:
            raise RetentionLocked(
                f"the container {record.name} is locked until {until} (milliseconds since 1970): a lock can be made longer, "
                "and never shorter"
            )


def _asks_encryption(given: object) -> bool:
    return isinstance(given, dict) and given.get("encrypted") is True


def _some(what: str, given: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    if not 1 <= len(given) <= AT_ONCE_MAX or not all(isinstance(each, dict) for each in given):
        raise InvalidRequest(f"{what} is a list of 1 to {AT_ONCE_MAX} objects")
    return given


def _id(what: str, given: Mapping[str, Any]) -> int | None:
    """The id that is said, None for a new one."""
    id = given.get(what)
    if id in (None, -1):
        return None
    if not isinstance(id, int) or isinstance(id, bool) or not 0 <= id <= 0xFFFF_FFFF:
        raise InvalidRequest(f"{what} is a number of 32 bits; leave it out for a new one, which gets its id here")
    return id


def _once(ids: list[int], id: int) -> None:
    if id in ids:
        raise InvalidRequest(f"the id {id} stands there twice")
    ids.append(id)


def _check_name(what: str, given: Mapping[str, Any], name: str) -> None:
    if given.get(what, name) != name:
        raise InvalidRequest(f"{what} is {name!r} and stays so: blobs that were stored tell it")


def _check_version(given: Mapping[str, Any], what: str, version: int) -> None:
    said = given.get("snapshotVersion", version)
    if said != version:
        raise UpdateConflict(
            f"the {what} is at snapshotVersion {version}, and the change is to {str(said)[:20]!r}: read it again, and decide "
            "anew"
        )

"""Keeps what is known of accounts and containers in step with the metadata store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from ambry.clock import Clock
from ambry.errors import AmbryError
from ambry.rest.accounts import AccountSettings, ContainerSettings
from ambry.service.logs import get_logger
from frontend.containers.directory import AccountRecord, ContainerRecord, Directory
from frontend.containers.registers import ACCOUNTS, CHANGES, Kept, account_scope, by_id, settings_of
from frontend.containers.resolver import Containers
from frontend.metadata.spaces import Space
from frontend.metadata.store import PAGE_MAX, LogHead, MetadataStore, Version

log = get_logger()

LOOK_EVERY_S = 0.25
"""How often the store is asked whether anything changed: a change is live everywhere within a second."""


class KnownAccount(msgspec.Struct, kw_only=True):
    """An account as the store has it: what a change is bound to."""

    kept: Kept
    record: AccountRecord
    containers: dict[int, Kept]


class ContainerSync:
    """Reads what changed, and puts another directory in place of the last. Until it has read once, nothing is certain."""

    def __init__(self, containers: Containers, store: MetadataStore, *, clock: Clock) -> None:
        self._containers = containers
        self._store = store
        self._clock = clock
        self._reading = asyncio.Lock()
        self._begun = 0
        self._head: LogHead | None = None
        self._seen: list[Version] | None = None
        self._fresh_at: float | None = None
        self._away = False
        self.known: dict[int, KnownAccount] = {}
        """What the store has, by id; it also says what holds for what the configuration names."""
        containers.directory = Directory(containers.built_in.values(), certain=False, open=containers.open)
        containers.refresh = self.refresh

    @property
    def staleness_s(self) -> float | None:
        """For how long nobody has heard whether something changed; None: nothing was heard yet."""
        return None if self._fresh_at is None else max(0.0, self._clock.monotonic() - self._fresh_at)

    async def refresh(self) -> None:
        """See that everything is known that was written before this call. Raises what the store raises."""
        wanted = self._begun + 1
        async with self._reading:
            if self._begun < wanted:
                self._begun += 1
                began = self._clock.monotonic()
                await self._read()
                self._fresh_at = began

    async def tick(self) -> float:
        """Look once; seconds until the next look. What is known stays, whatever becomes of the store."""
        try:
            await self.refresh()
        except AmbryError as error:
            if not self._away:
                log.warning(
                    "metadata store cannot be asked; containers go on as they were last seen", error=error.message
                )
            self._away = True
        else:
            if self._away:
                log.info("metadata store answers again")
            self._away = False
        return LOOK_EVERY_S

    async def _read(self) -> None:
        head = await self._store.head()
        if head == self._head:
            return
        seen = [version async for version in self._all(Space.ACCOUNT, CHANGES)]
        if seen != self._seen or self._head is None or head.store != self._head.store:
            await self._read_accounts()
        self._head, self._seen = head, seen

    async def _read_accounts(self) -> None:
        found = by_id(
            [version async for version in self._all(Space.ACCOUNT, ACCOUNTS)], datacenter=self._store.datacenter
        )
        known: dict[int, KnownAccount] = {}
        for id, kept in found.items():
            before = self.known.get(id)
            same = before is not None and before.kept.seen == kept.seen
            known[id] = before if before is not None and same else await self._read_account(id, kept)
        self.known = known
        records = {**self._containers.built_in, **{id: account.record for id, account in known.items()}}
        told = {id: account.kept.told for id, account in known.items()}
        self._containers.directory = Directory(records.values(), told=told, open=self._containers.open)

    async def _read_account(self, id: int, kept: Kept) -> KnownAccount:
        versions = [version async for version in self._all(Space.CONTAINER, account_scope(id))]
        containers = by_id(versions, datacenter=self._store.datacenter)
        built_in = self._containers.built_in.get(id)
        own = {} if built_in is None else built_in.containers
        records = {
            **own,
            **{
                number: ContainerRecord(
                    id=number,
                    name=own[number].name if number in own else each.name,
                    settings=settings_of(each, ContainerSettings),
                    snapshot_version=each.snapshot_version,
                    modified_ms=each.modified_ms,
                )
                for number, each in containers.items()
                if each.name or number in own
            },
        }
        record = AccountRecord(
            id=id,
            name=kept.name if built_in is None else built_in.name,
            settings=settings_of(kept, AccountSettings),
            snapshot_version=kept.snapshot_version,
            modified_ms=kept.modified_ms,
            containers=records,
        )
        return KnownAccount(kept=kept, record=record, containers=containers)

    async def _all(self, space: Space, scope: int) -> AsyncIterator[Version]:
        after: bytes | None = None
        while True:
            page = await self._store.list(space, scope, after=after)
            for version in page:
                yield version
            if len(page) < PAGE_MAX:
                return
            after = page[-1].key

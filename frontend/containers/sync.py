"""Keeps what is known of accounts and containers in step with the metadata store."""

from __future__ import annotations

import msgspec

from ambry.clock import Clock
from ambry.rest.accounts import AccountSettings, ContainerSettings
from frontend.containers.directory import AccountRecord, ContainerRecord, Directory
from frontend.containers.registers import ACCOUNTS, CHANGES, Kept, account_scope, by_id, settings_of
from frontend.containers.resolver import Containers
from frontend.metadata.in_step import InStep
from frontend.metadata.pages import all_living
from frontend.metadata.spaces import Space
from frontend.metadata.store import MetadataStore


class KnownAccount(msgspec.Struct, kw_only=True):
    """An account as the store has it: what a change is bound to."""

    kept: Kept
    record: AccountRecord
    containers: dict[int, Kept]


class ContainerSync(InStep):
    """Puts another directory in place of the last when something changed. Until it has read once, nothing is certain."""

    def __init__(self, containers: Containers, store: MetadataStore, *, clock: Clock) -> None:
        super().__init__(store, Space.ACCOUNT, CHANGES, what="containers")
        self._containers = containers
        self._clock = clock
        self._fresh_at: float | None = None
        self.known: dict[int, KnownAccount] = {}
        """What the store has, by id; it also says what holds for what the configuration names."""
        containers.directory = Directory(containers.built_in.values(), certain=False, open=containers.open)
        containers.refresh = self.refresh

    @property
    def staleness_s(self) -> float | None:
        """For how long nobody has heard whether something changed; None: nothing was heard yet."""
        return None if self._fresh_at is None else max(0.0, self._clock.monotonic() - self._fresh_at)

    async def look(self) -> None:
        """See InStep."""
        began = self._clock.monotonic()
        await super().look()
        self._fresh_at = began

    async def read_all(self) -> None:
        """See InStep."""
        found = by_id(
            [version async for version in all_living(self._store, Space.ACCOUNT, ACCOUNTS)],
            datacenter=self._store.datacenter,
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
        versions = [version async for version in all_living(self._store, Space.CONTAINER, account_scope(id))]
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

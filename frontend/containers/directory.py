"""All accounts and containers that are known at a moment: found by name and by id, without asking anybody.

A directory is never changed; when an account changes, another directory takes its place. What the configuration names stands in
every one: the metadata store may say what holds for such a container, never what it is called or which ids it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ambry.rest.accounts import AccountSettings, ContainerSettings
from frontend.config import AccountEntry
from frontend.container import Container, container_of
from frontend.metadata.store import Stamp


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A container as it is kept."""

    id: int
    name: str
    settings: ContainerSettings = ContainerSettings()
    snapshot_version: int = 0
    """Grows with every change; a change may be bound to it."""
    modified_ms: int = 0


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An account as it is kept, with its containers by id."""

    id: int
    name: str
    settings: AccountSettings = AccountSettings()
    snapshot_version: int = 0
    modified_ms: int = 0
    containers: Mapping[int, ContainerRecord] = {}

    def container(self, name: str) -> ContainerRecord | None:
        """By name; of several that were made at once in datacenters cut apart, the one with the lowest id."""
        return min((each for each in self.containers.values() if each.name == name), key=_id_of, default=None)


def _id_of(record: ContainerRecord | AccountRecord) -> int:
    return record.id


def built_in(entries: Mapping[str, AccountEntry]) -> dict[int, AccountRecord]:
    """What the configuration names, by id."""
    return {
        entry.id: AccountRecord(
            id=entry.id,
            name=name,
            containers={number: ContainerRecord(id=number, name=each) for each, number in entry.containers.items()},
        )
        for name, entry in entries.items()
    }


class Directory:
    """Every account by id, and every container by both its names and by both its ids."""

    def __init__(
        self,
        accounts: Iterable[AccountRecord],
        *,
        certain: bool = True,
        told: Mapping[int, Stamp | None] | None = None,
        open: bool = False,
    ) -> None:
        """`certain` says whether the metadata store's word is in it, where there is one; `open`: no keys are asked for."""
        self.told = told or {}
        """When this datacenter last changed an account or a container of it, by id (frontend/containers/registers.py)."""
        self.accounts: dict[int, AccountRecord] = {}
        self._by_name: dict[str, AccountRecord] = {}
        self._names: dict[tuple[str, str], Container] = {}
        self._ids: dict[int, Container] = {}
        for account in sorted(accounts, key=_id_of):
            self.accounts[account.id] = account
            self._by_name.setdefault(account.name, account)
            for record in sorted(account.containers.values(), key=_id_of):
                container = container_of(
                    record.settings,
                    account_id=account.id,
                    account_name=account.name,
                    container_id=record.id,
                    container_name=record.name,
                    account_settings=account.settings,
                    certain=certain,
                    open=open,
                )
                self._ids[container.scope] = container
                self._names.setdefault((account.name, record.name), container)
        self.origins = frozenset[str]().union(*(container.origins for container in self._ids.values()))
        """Whose pages may use any of them."""

    def account(self, name: str) -> AccountRecord | None:
        return self._by_name.get(name)

    def find(self, account: str, container: str) -> Container | None:
        return self._names.get((account, container))

    def find_id(self, account: int, container: int) -> Container | None:
        # As scope_of, without its call: every read by an id asks this.
        return self._ids.get(account << 32 | container)

    def find_scope(self, scope: int) -> Container | None:
        return self._ids.get(scope)

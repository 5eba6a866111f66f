"""Accounts and containers by name. Embedded form: they stand in the frontend's configuration and never change while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from ambry.errors import InvalidRequest
from ambry.rest.values import DEFAULT_NAME
from frontend.config import AccountEntry
from frontend.request import ContainerId

DEFAULT = DEFAULT_NAME


class Accounts:
    """Names to ids and back. Ids are in blob ids for ever: never renumber, never reuse."""

    def __init__(self, entries: Mapping[str, AccountEntry]) -> None:
        self._entries = dict(entries)
        self._names = {
            ContainerId(account.id, container_id): (name, container)
            for name, account in entries.items()
            for container, container_id in account.containers.items()
        }

    @cached_property
    def default(self) -> ContainerId:
        """Where a blob goes that names nothing; most do. Raises InvalidRequest where there is none."""
        return self.resolve(DEFAULT, DEFAULT)

    def resolve(self, account: str, container: str) -> ContainerId:
        """A container by its ids. Raises InvalidRequest for an unknown name."""
        entry = self._entries.get(account)
        if entry is None:
            raise InvalidRequest(f"there is no account {account!r}; where none is named it is {DEFAULT!r}")
        container_id = entry.containers.get(container)
        if container_id is None:
            raise InvalidRequest(f"account {account!r} has no container {container!r}")
        return ContainerId(entry.id, container_id)

    def names(self, id: ContainerId) -> tuple[str, str]:
        """The names of an account and its container, or the numbers as text for a container that is not configured any more."""
        return self._names.get(id) or (str(id.account), str(id.container))

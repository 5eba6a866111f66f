"""The one place where an account and a container, by name or by id, become a `Container`.

What is known is found at once. For a name or an id that is not, the metadata store is asked; where it cannot be asked, that is
said (503), and what is known goes on being used as it was last seen (contract F34).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ambry.errors import AmbryError, InvalidRequest, Unavailable
from ambry.rest.values import DEFAULT_NAME
from frontend.config import AccountEntry
from frontend.container import Container, unknown_container
from frontend.containers.directory import AccountRecord, Directory, built_in

Refresh = Callable[[], Awaitable[None]]
"""Brings the directory up to date with the metadata store. Raises Unavailable where that cannot be asked."""


class Containers:
    """Accounts and containers: the configuration's, and those of the metadata store if there is one."""

    def __init__(self, entries: Mapping[str, AccountEntry]) -> None:
        self.built_in = built_in(entries)
        self.refresh: Refresh | None = None
        """Set by whoever keeps this up to date; None where the configuration has all there is."""
        self.directory = Directory(self.built_in.values())

    @property
    def directory(self) -> Directory:
        """What is known now."""
        return self._directory

    @directory.setter
    def directory(self, directory: Directory) -> None:
        default = directory.find(DEFAULT_NAME, DEFAULT_NAME)
        if default is None:
            raise InvalidRequest(f"there is no container {DEFAULT_NAME!r} in an account {DEFAULT_NAME!r}")
        self._directory = directory
        self.default = default
        """Where a blob goes that names nothing; most do."""
        self.known = directory.find
        """A container by its names, if it is known."""
        self.known_id = directory.find_id
        """A container by its ids, if it is known."""

    def now(self, container: Container) -> Container:
        """The same as it was last seen: it may have been changed since a request came."""
        return self.known_id(container.account_id, container.container_id) or container

    async def resolve(self, account: str, container: str) -> Container:
        """A container by its names. Raises InvalidRequest for one that is none, Unavailable where nobody can tell."""
        found = self.known(account, container)
        if found is None and await self._is_up_to_date(f"container {account}/{container}"):
            found = self.known(account, container)
        if found is None:
            if self._directory.account(account) is None:
                raise InvalidRequest(f"there is no account {account!r}; where none is named it is {DEFAULT_NAME!r}")
            raise InvalidRequest(f"account {account!r} has no container {container!r}")
        return found

    async def resolve_id(self, account: int, container: int) -> Container:
        """A container by the ids that stand in a blob's id. Raises Unavailable where nobody can tell what holds for it."""
        found = self.known_id(account, container)
        if found is None and await self._is_up_to_date(f"container {account}/{container}"):
            found = self.known_id(account, container)
        return found or unknown_container(account, container)

    async def resolve_account(self, name: str) -> AccountRecord:
        """An account by its name. Raises InvalidRequest for one that is none, Unavailable where nobody can tell."""
        found = self._directory.account(name)
        if found is None and await self._is_up_to_date(f"account {name}"):
            found = self._directory.account(name)
        if found is None:
            raise InvalidRequest(f"there is no account {name!r}")
        return found

    async def _is_up_to_date(self, what: str) -> bool:
        """Whether the store was asked for what is new. Raises Unavailable."""
        if self.refresh is None:
            return False
        try:
            await self.refresh()
        except AmbryError as cause:
            raise Unavailable(
                f"the {what[:160]} is not known here, and the metadata store cannot be asked for it: {cause.message}",
                retry_after_s=cause.retry_after_s,
            ) from cause
        return True

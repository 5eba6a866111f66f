"""The one place where an account and a container, by name or by id, become a `Container`.

What is known is found at once. For a name or an id that is not, the metadata store is asked; where it cannot be asked, that is
said (503), and what is known goes on being used as it was last seen (contract F34).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ambry.errors import AmbryError, InvalidRequest, Unavailable
from ambry.rest.accounts import is_name
from ambry.rest.values import DEFAULT_NAME
from frontend.config import AccountEntry
from frontend.container import Container, ids_shown, unknown_container
from frontend.containers.directory import AccountRecord, Directory, built_in
from frontend.containers.elsewhere import ContainersElsewhere

ID_MAX = 0xFFFF_FFFF
Refresh = Callable[[], Awaitable[None]]
"""Brings the directory up to date with the metadata store. Raises Unavailable where that cannot be asked."""


class Containers:
    """Accounts and containers: the configuration's, and those of the metadata store if there is one."""

    def __init__(self, entries: Mapping[str, AccountEntry], *, open: bool = False) -> None:
        """`open`: no keys are asked for, so whoever comes may read what nobody said is private."""
        self.open = open
        self.built_in = built_in(entries)
        self.refresh: Refresh | None = None
        """Set by whoever keeps this up to date; None where the configuration has all there is."""
        self.elsewhere: ContainersElsewhere | None = None
        """Set where there are other datacenters, which may know what is not known here."""
        self.directory = Directory(self.built_in.values(), open=open)

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

    def shown(self, scope: int) -> str:
        """`account/container` by their names, if they are known here; else by their ids."""
        known = self.directory.find_scope(scope)
        return ids_shown(scope) if known is None else str(known)

    async def resolve(self, account: str, container: str) -> Container:
        """A container by its names. Raises InvalidRequest for one that is none, Unavailable where nobody can tell."""

        async def look() -> Container | None:
            await self._is_up_to_date(f"container {account}/{container}")
            return self.known(account, container)

        found = self.known(account, container) or await look()
        if found is None:
            # Says that there is no such account.
            record = await self.resolve_account(account)
            found = self.known(account, container)
            if found is None and self.elsewhere is not None and is_name(container):
                found = await self.elsewhere.container(record.id, container, look)
        if found is None:
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

        async def look() -> AccountRecord | None:
            await self._is_up_to_date(f"account {name}")
            return self._directory.account(name)

        found = self._directory.account(name) or await look()
        if found is None and self.elsewhere is not None and is_name(name):
            found = await self.elsewhere.account(name, look)
        if found is None:
            raise InvalidRequest(f"there is no account {name!r}; where none is named it is {DEFAULT_NAME!r}")
        return found

    async def resolve_account_id(self, id: int) -> AccountRecord:
        """The same by its id."""

        async def look() -> AccountRecord | None:
            await self._is_up_to_date(f"account {id}")
            return self._directory.accounts.get(id)

        found = self._directory.accounts.get(id) or await look()
        if found is None and self.elsewhere is not None and id <= ID_MAX:
            found = await self.elsewhere.account_id(id, look)
        if found is None:
            raise InvalidRequest(f"there is no account with the id {id}")
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

"""Accounts and containers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from ambry.client import wire
from ambry.client.aio.calls import AsyncCalls
from ambry.client.model import Timeout
from ambry.errors import AlreadyExists, UpdateConflict

if TYPE_CHECKING:
    from ambry.client.accounts import AccountChange, AccountInfo, ContainerChange, ContainerInfo


class AsyncAccounts(AsyncCalls):
    """The calls on accounts and containers. A change is live on every frontend of the datacenter within a second."""

    async def accounts(self, *, timeout: Timeout | None = None) -> list[AccountInfo]:
        """All of them, with their containers.

        >>> accounts = await client.accounts()
        >>> client.default_account in [account.name for account in accounts]
        True
        """
        return await self._ask(wire.accounts.accounts_request(), None, wire.accounts.parse_accounts, timeout)

    async def account(self, name: str, *, timeout: Timeout | None = None) -> AccountInfo:
        """One, with its containers. Raises BlobNotFound where there is none of that name.

        >>> account = await client.account(client.default_account)
        >>> client.default_container in [container.name for container in account.containers]
        True
        """
        return await self._ask(wire.accounts.accounts_request(name), None, wire.accounts.parse_account, timeout)

    async def container(self, account: str, name: str, *, timeout: Timeout | None = None) -> ContainerInfo:
        """One of an account. Raises BlobNotFound where there is none of that name.

        >>> container = await client.container(client.default_account, client.default_container)
        >>> container.settings.encrypted
        False
        """
        return await self._ask(
            wire.accounts.containers_request(account, name), None, wire.accounts.parse_container, timeout
        )

    async def create_account(
        self, name: str, *, timeout: Timeout | None = None, **settings: Unpack[AccountChange]
    ) -> AccountInfo:
        """Make an account. Raises AlreadyExists.

        >>> account = await client.create_account("team-new", quota_bytes=1 << 40)
        >>> account.containers
        ()
        """
        from ambry.rest.accounts import name_of

        request, body = wire.accounts.save_account({"accountName": name_of("account", name)}, settings)
        try:
            made = await self._ask(request, body, wire.accounts.parse_account, timeout)
        except AlreadyExists as error:
            # A repetition finds what its first try made.
            if not error.repeated or not wire.accounts.is_made(
                made := await self.account(name, timeout=timeout), settings
            ):
                raise
        return made

    async def create_container(
        self, account: str, name: str, *, timeout: Timeout | None = None, **settings: Unpack[ContainerChange]
    ) -> ContainerInfo:
        """Make a container. Raises AlreadyExists.

        >>> account = await client.create_account("team")
        >>> container = await client.create_container("team", "models", description="what we serve")
        >>> container.name
        'models'
        """
        from ambry.rest.accounts import name_of

        request, body = wire.accounts.save_container(account, {"containerName": name_of("container", name)}, settings)
        try:
            made = await self._ask(request, body, wire.accounts.parse_container, timeout)
        except AlreadyExists as error:
            # A repetition finds what its first try made.
            if not error.repeated or not wire.accounts.is_made(
                made := await self.container(account, name, timeout=timeout), settings
            ):
                raise
        return made

    async def update_account(
        self,
        name: str,
        *,
        snapshot_version: int | None = None,
        timeout: Timeout | None = None,
        **settings: Unpack[AccountChange],
    ) -> AccountInfo:
        """Change settings of an account; others stay. With `snapshot_version` only if it is still at that.

        Raises UpdateConflict where it is not, BlobNotFound.

        >>> account = await client.create_account("team-larger")
        >>> account = await client.update_account("team-larger", quota_blobs=1_000_000)
        >>> account.settings.quota_blobs
        1000000
        """
        known = await self.account(name, timeout=timeout)
        request, body = wire.accounts.save_account(_identity("accountId", known.id, snapshot_version), settings)
        try:
            made = await self._ask(request, body, wire.accounts.parse_account, timeout)
        except UpdateConflict as error:
            # A repetition finds what its first try did.
            if not error.repeated or not wire.accounts.is_changed(
                made := await self.account(name, timeout=timeout), settings, snapshot_version
            ):
                raise
        return made

    async def update_container(
        self,
        account: str,
        name: str,
        *,
        snapshot_version: int | None = None,
        timeout: Timeout | None = None,
        **settings: Unpack[ContainerChange],
    ) -> ContainerInfo:
        """Change settings of a container; others stay. With `snapshot_version` only if it is still at that.

        Raises UpdateConflict where it is not, BlobNotFound, RetentionLocked for a lock that would become shorter.

        >>> account = await client.create_account("team-kept")
        >>> container = await client.create_container("team-kept", "models")
        >>> container = await client.update_container("team-kept", "models", ttl_required=True)
        >>> container.settings.ttl_required
        True
        """
        known = await self.container(account, name, timeout=timeout)
        request, body = wire.accounts.save_container(
            account, _identity("containerId", known.id, snapshot_version), settings
        )
        try:
            made = await self._ask(request, body, wire.accounts.parse_container, timeout)
        except UpdateConflict as error:
            # A repetition finds what its first try did.
            if not error.repeated or not wire.accounts.is_changed(
                made := await self.container(account, name, timeout=timeout), settings, snapshot_version
            ):
                raise
        return made


def _identity(key: str, id: int, snapshot_version: int | None) -> dict[str, Any]:
    return {key: id} if snapshot_version is None else {key: id, "snapshotVersion": snapshot_version}

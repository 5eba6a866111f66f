# Generated from ambry/client/aio/accounts.py by `make sync-client`; change that file, not this one.
"""Accounts and containers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from ambry.client import wire
from ambry.client.model import Timeout
from ambry.client.sync.calls import SyncCalls
from ambry.errors import AlreadyExists, UpdateConflict

if TYPE_CHECKING:
    from ambry.client.accounts import AccountChange, AccountInfo, ContainerChange, ContainerInfo


class SyncAccounts(SyncCalls):
    """The calls on accounts and containers. A change is live on every frontend of the datacenter within a second."""

    def accounts(self, *, timeout: Timeout | None = None) -> list[AccountInfo]:
        """All of them, with their containers.

        >>> accounts = client.accounts()
        >>> client.default_account in [account.name for account in accounts]
        True
        """
        return self._ask(wire.accounts.accounts_request(), None, wire.accounts.parse_accounts, timeout)

    def account(self, name: str, *, timeout: Timeout | None = None) -> AccountInfo:
        """One, with its containers. Raises BlobNotFound where there is none of that name.

        >>> account = client.account(client.default_account)
        >>> client.default_container in [container.name for container in account.containers]
        True
        """
        return self._ask(wire.accounts.accounts_request(name), None, wire.accounts.parse_account, timeout)

    def container(self, account: str, name: str, *, timeout: Timeout | None = None) -> ContainerInfo:
        """One of an account. Raises BlobNotFound where there is none of that name.

        >>> container = client.container(client.default_account, client.default_container)
        >>> container.settings.encrypted
        False
        """
        return self._ask(wire.accounts.containers_request(account, name), None, wire.accounts.parse_container, timeout)

    def create_account(
        self, name: str, *, timeout: Timeout | None = None, **settings: Unpack[AccountChange]
    ) -> AccountInfo:
        """Make an account. Raises AlreadyExists.

        >>> account = client.create_account("team-new", quota_bytes=1 << 40)
        >>> account.containers
        ()
        """
        from ambry.rest.accounts import name_of

        request, body = wire.accounts.save_account({"accountName": name_of("account", name)}, settings)
        try:
            made = self._ask(request, body, wire.accounts.parse_account, timeout)
        except AlreadyExists as error:
            # A repetition finds what its first try made.
            if not error.repeated or not wire.accounts.is_made(made := self.account(name, timeout=timeout), settings):
                raise
        return made

    def create_container(
        self, account: str, name: str, *, timeout: Timeout | None = None, **settings: Unpack[ContainerChange]
    ) -> ContainerInfo:
        """Make a container. Raises AlreadyExists.

        >>> account = client.create_account("team")
        >>> container = client.create_container("team", "models", description="what we serve")
        >>> container.name
        'models'
        """
        from ambry.rest.accounts import name_of

        request, body = wire.accounts.save_container(account, {"containerName": name_of("container", name)}, settings)
        try:
            made = self._ask(request, body, wire.accounts.parse_container, timeout)
        except AlreadyExists as error:
            # A repetition finds what its first try made.
            if not error.repeated or not wire.accounts.is_made(
                made := self.container(account, name, timeout=timeout), settings
            ):
                raise
        return made

    def update_account(
        self,
        name: str,
        *,
        snapshot_version: int | None = None,
        timeout: Timeout | None = None,
        **settings: Unpack[AccountChange],
    ) -> AccountInfo:
        """Change settings of an account; others stay. With `snapshot_version` only if it is still at that.

        Raises UpdateConflict where it is not, BlobNotFound.

        >>> account = client.create_account("team-larger")
        >>> account = client.update_account("team-larger", quota_blobs=1_000_000)
        >>> account.settings.quota_blobs
        1000000
        """
        known = self.account(name, timeout=timeout)
        request, body = wire.accounts.save_account(_identity("accountId", known.id, snapshot_version), settings)
        try:
            made = self._ask(request, body, wire.accounts.parse_account, timeout)
        except UpdateConflict as error:
            # A repetition finds what its first try did.
            if not error.repeated or not wire.accounts.is_changed(
                made := self.account(name, timeout=timeout), settings, snapshot_version
            ):
                raise
        return made

    def update_container(
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

        >>> account = client.create_account("team-kept")
        >>> container = client.create_container("team-kept", "models")
        >>> container = client.update_container("team-kept", "models", ttl_required=True)
        >>> container.settings.ttl_required
        True
        """
        known = self.container(account, name, timeout=timeout)
        request, body = wire.accounts.save_container(
            account, _identity("containerId", known.id, snapshot_version), settings
        )
        try:
            made = self._ask(request, body, wire.accounts.parse_container, timeout)
        except UpdateConflict as error:
            # A repetition finds what its first try did.
            if not error.repeated or not wire.accounts.is_changed(
                made := self.container(account, name, timeout=timeout), settings, snapshot_version
            ):
                raise
        return made


def _identity(key: str, id: int, snapshot_version: int | None) -> dict[str, Any]:
    return {key: id} if snapshot_version is None else {key: id, "snapshotVersion": snapshot_version}

# Generated from ambry/client/aio/client.py by `make sync-client`; change that file, not this one.
"""`AmbryClient`: the blocking client."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from ambry.client.sync.accounts import SyncAccounts
from ambry.client.sync.aliases import SyncAliases
from ambry.client.sync.batches import SyncBatches
from ambry.client.sync.caching import SyncCaching
from ambry.client.sync.changes import SyncChanges
from ambry.client.sync.datasets import SyncDatasets
from ambry.client.sync.file_uploads import SyncFileUploads
from ambry.client.sync.files import SyncFiles
from ambry.client.sync.health import SyncHealthChecks
from ambry.client.sync.signed import SyncSignedUrls

if TYPE_CHECKING:
    from ambry.client.sync.encryption import SyncEncryption
    from ambry.client.sync.keys import SyncKeys


class AmbryClient(
    SyncCaching,
    SyncFileUploads,
    SyncFiles,
    SyncDatasets,
    SyncAliases,
    SyncBatches,
    SyncChanges,
    SyncAccounts,
    SyncSignedUrls,
    SyncHealthChecks,
):
    """A client of one ambry cluster.

    Safe to share between threads and to keep across a fork; pickled, it carries its configuration only.
    Each of several threads that call it at the same time has a connection of its own.
    Close it, or use it in a `with` statement.
    """

    @property
    def encryption(self) -> SyncEncryption:
        """Keys of encryption at rest: `provider`, `show`, `rotate`, `rewrap`, `delete`."""
        from ambry.client.sync.encryption import SyncEncryption

        return SyncEncryption(self)

    @property
    def keys(self) -> SyncKeys:
        """The keys of the API: `list`, `show`, `create`, `change`, `rotate`, `revoke`."""
        from ambry.client.sync.keys import SyncKeys

        return SyncKeys(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections. The client may still be used, and opens new ones then.

        >>> client.close()
        """
        self._transport.close()

"""`AsyncAmbryClient`: the awaiting client, of which `AmbryClient` is generated."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from ambry.client.aio.accounts import AsyncAccounts
from ambry.client.aio.aliases import AsyncAliases
from ambry.client.aio.batches import AsyncBatches
from ambry.client.aio.caching import AsyncCaching
from ambry.client.aio.changes import AsyncChanges
from ambry.client.aio.datasets import AsyncDatasets
from ambry.client.aio.file_uploads import AsyncFileUploads
from ambry.client.aio.files import AsyncFiles
from ambry.client.aio.health import AsyncHealthChecks
from ambry.client.aio.signed import AsyncSignedUrls

if TYPE_CHECKING:
    from ambry.client.aio.encryption import AsyncEncryption
    from ambry.client.aio.keys import AsyncKeys


class AsyncAmbryClient(
    AsyncCaching,
    AsyncFileUploads,
    AsyncFiles,
    AsyncDatasets,
    AsyncAliases,
    AsyncBatches,
    AsyncChanges,
    AsyncAccounts,
    AsyncSignedUrls,
    AsyncHealthChecks,
):
    """A client of one ambry cluster.

    Usable from any event loop, one at a time; pickled, it carries its configuration only.
    Local files are read and written in threads; a plain iterable is iterated in the loop.
    Close it, or use it in an `async with` statement.
    """

    @property
    def encryption(self) -> AsyncEncryption:
        """Keys of encryption at rest: `provider`, `show`, `rotate`, `rewrap`, `delete`."""
        from ambry.client.aio.encryption import AsyncEncryption

        return AsyncEncryption(self)

    @property
    def keys(self) -> AsyncKeys:
        """The keys of the API: `list`, `show`, `create`, `change`, `rotate`, `revoke`."""
        from ambry.client.aio.keys import AsyncKeys

        return AsyncKeys(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the kept connections. The client may still be used, and opens new ones then.

        >>> await client.close()
        """
        await self._transport.close()

"""Keys of encryption at rest, for administrators."""

# A part of the client, which calls what users do not.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from ambry.client.aio.calls import AsyncCalls
from ambry.client.encryption import ContainerKeysInfo, ProviderInfo, RewrapResult
from ambry.client.model import Timeout
from ambry.client.wire import encryption as wire


class AsyncEncryption:
    """The calls on keys of containers. They take a key of the API with `admin` there, and `rewrap` everywhere."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def provider(self, *, timeout: Timeout | None = None) -> ProviderInfo:
        """Who keeps the master keys, and whether they answer.

        >>> provider = await client.encryption.provider()
        >>> provider.away is None
        True
        """
        return await self._calls._ask(wire.provider_request(), None, wire.parse_provider, timeout)

    async def show(self, account: str, container: str, *, timeout: Timeout | None = None) -> ContainerKeysInfo:
        """Every key that a container ever had.

        >>> keys = await client.encryption.show(client.default_account, client.default_container)
        >>> keys.encrypted, keys.keys
        (False, ())
        """
        return await self._calls._ask(wire.keys_request(account, container), None, wire.parse_keys, timeout)

    async def rotate(self, account: str, container: str, *, timeout: Timeout | None = None) -> ContainerKeysInfo:
        """Another key for what is written from now on; where an answer is lost and asked for again, perhaps two.

        >>> account = await client.create_account("team-rotating")
        >>> container = await client.create_container("team-rotating", "secrets", encrypted=True)
        >>> keys = await client.encryption.rotate("team-rotating", "secrets")
        >>> [key.current for key in keys.keys].count(True)
        1
        """
        return await self._calls._ask(wire.rotate_request(account, container), None, wire.parse_keys, timeout)

    async def rewrap(
        self, after: int | None = None, *, limit: int = 100, timeout: Timeout | None = None
    ) -> RewrapResult:
        """One step of having the newest master key wrap what older ones had: call it with `next` until that is None.

        >>> step = await client.encryption.rewrap()
        >>> step.failed
        ()
        """
        request, body = wire.rewrap_request(after, limit)
        return await self._calls._ask(request, body, wire.parse_rewrap, timeout)

    async def delete(
        self, account: str, container: str, *, version: str | None = None, timeout: Timeout | None = None
    ) -> ContainerKeysInfo:
        """Delete the keys of a container, or one, **for ever**: nobody reads again what they sealed.

        All: the container must be INACTIVE. One: others must have superseded it for a while. Raises InvalidRequest,
        RetentionLocked.

        >>> account = await client.create_account("team-over")
        >>> container = await client.create_container("team-over", "secrets", encrypted=True)
        >>> keys = await client.encryption.rotate("team-over", "secrets")
        >>> container = await client.update_container("team-over", "secrets", status="INACTIVE")
        >>> keys = await client.encryption.delete("team-over", "secrets")
        >>> all(key.deleted for key in keys.keys)
        True
        """
        request = wire.delete_request(account, container, version)
        return await self._calls._ask(request, None, wire.parse_keys, timeout)

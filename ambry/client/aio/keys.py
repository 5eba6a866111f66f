"""Keys of the API: who may do what, and where."""

# A part of the client, which calls what users do not.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Unpack

from ambry.client.aio.calls import AsyncCalls
from ambry.client.keys import Expiry, FreshKey, KeyChange, KeyInfo, KeyLimits
from ambry.client.model import Timeout
from ambry.client.wire import keys as wire
from ambry.client.wire.health import parse_store_time, time_request
from ambry.errors import KeyNotFound
from ambry.rest.access import Grant


class AsyncKeys:
    """The calls on keys, which take one with the role `admin`. A change is known to every frontend within a second."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def list(self, *, timeout: Timeout | None = None) -> list[KeyInfo]:
        """Those that this client may administer, and its own, by name.

        >>> keys = await client.keys.list()
        >>> len(keys) > 0
        True
        """
        return await self._calls._ask(wire.list_request(), None, wire.parse_list, timeout)

    async def show(self, id: str = wire.SELF, *, timeout: Timeout | None = None) -> KeyInfo:
        """One by its id, or that of this client. Raises KeyNotFound, AccessDenied.

        >>> own = await client.keys.show()
        >>> own.expires is None
        True
        """
        return await self._calls._ask(wire.key_request(id), None, wire.parse_key_info, timeout)

    async def create(
        self,
        name: str,
        grants: Grant | Iterable[Grant],
        *,
        expires: Expiry = None,
        limits: KeyLimits = KeyLimits(),  # noqa: B008  # frozen
        timeout: Timeout | None = None,
    ) -> FreshKey:
        """Make a key; its text is in what this returns, and is never shown again.

        Where the answer is lost it is asked again: a key that nobody knows the secret of may be left over then.
        Raises AccessDenied for what this client may not do itself.

        >>> fresh = await client.keys.create("a reader", Grant(roles=("read",)), expires=timedelta(days=1))
        >>> fresh.text.startswith("ambry_")
        True
        """
        now_ms = await self._now_ms(expires, timeout)
        request, body = wire.create_request(name, grants, expires, now_ms, limits)
        return await self._calls._ask(request, body, wire.parse_fresh, timeout)

    async def change(self, id: str, *, timeout: Timeout | None = None, **changes: Unpack[KeyChange]) -> KeyInfo:
        """Let it be good for something else; what is not said stays, and None takes a limit off.

        >>> fresh = await client.keys.create("to slow down", Grant(roles=("read",)))
        >>> key = await client.keys.change(fresh.info.id, requests_per_s=10)
        >>> key.limits.requests_per_s
        10.0
        """
        now_ms = await self._now_ms(changes.get("expires"), timeout)
        request, body = wire.change_request(id, changes, now_ms)
        return await self._calls._ask(request, body, wire.parse_key_info, timeout)

    async def rotate(self, id: str, *, overlap: timedelta | int = 0, timeout: Timeout | None = None) -> FreshKey:
        """Give it another secret; the one so far opens for `overlap` (seconds) more.

        >>> fresh = await client.keys.create("to rotate", Grant(roles=("read",)))
        >>> again = await client.keys.rotate(fresh.info.id, overlap=60)
        >>> again.info.id == fresh.info.id, again.text == fresh.text
        (True, False)
        """
        request, body = wire.rotate_request(id, overlap)
        return await self._calls._ask(request, body, wire.parse_fresh, timeout)

    async def revoke(self, id: str, *, missing_ok: bool = False, timeout: Timeout | None = None) -> None:
        """It opens nothing any more, nor does what it signed. Raises KeyNotFound unless `missing_ok`.

        >>> fresh = await client.keys.create("to revoke", Grant(roles=("read",)))
        >>> await client.keys.revoke(fresh.info.id)
        """
        try:
            await self._calls._ask(wire.revoke_request(id), None, wire.parse_nothing, timeout)
        except KeyNotFound as error:
            # A repetition does not find what its first try revoked.
            if not missing_ok and not error.repeated:
                raise

    async def _now_ms(self, expires: Expiry, timeout: Timeout | None) -> int:
        """The store's time, by which a key expires, in milliseconds since 1970; asked for where an end counts from now on."""
        if expires is None or isinstance(expires, datetime):
            return 0
        now = await self._calls._ask(time_request(), None, parse_store_time, timeout)
        return round(now.timestamp() * 1_000)

# Generated from ambry/client/aio/keys.py by `make sync-client`; change that file, not this one.
"""Keys of the API: who may do what, and where."""

# A part of the client, which calls what users do not.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Unpack

from ambry.client.keys import Expiry, FreshKey, KeyChange, KeyInfo, KeyLimits
from ambry.client.model import Timeout
from ambry.client.sync.calls import SyncCalls
from ambry.client.wire import keys as wire
from ambry.client.wire.health import parse_store_time, time_request
from ambry.errors import KeyNotFound
from ambry.rest.access import Grant


class SyncKeys:
    """The calls on keys, which take one with the role `admin`. A change is known to every frontend within a second."""

    def __init__(self, calls: SyncCalls) -> None:
        self._calls = calls

    def list(self, *, timeout: Timeout | None = None) -> list[KeyInfo]:
        """Those that this client may administer, and its own, by name.

        >>> keys = client.keys.list()
        >>> len(keys) > 0
        True
        """
        return self._calls._ask(wire.list_request(), None, wire.parse_list, timeout)

    def show(self, id: str = wire.SELF, *, timeout: Timeout | None = None) -> KeyInfo:
        """One by its id, or that of this client. Raises KeyNotFound, AccessDenied.

        >>> own = client.keys.show()
        >>> own.expires is None
        True
        """
        return self._calls._ask(wire.key_request(id), None, wire.parse_key_info, timeout)

    def create(
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

        >>> fresh = client.keys.create("a reader", Grant(roles=("read",)), expires=timedelta(days=1))
        >>> fresh.text.startswith("ambry_")
        True
        """
        now_ms = self._now_ms(expires, timeout)
        request, body = wire.create_request(name, grants, expires, now_ms, limits)
        return self._calls._ask(request, body, wire.parse_fresh, timeout)

    def change(self, id: str, *, timeout: Timeout | None = None, **changes: Unpack[KeyChange]) -> KeyInfo:
        """Let it be good for something else; what is not said stays, and None takes a limit off.

        >>> fresh = client.keys.create("to slow down", Grant(roles=("read",)))
        >>> key = client.keys.change(fresh.info.id, requests_per_s=10)
        >>> key.limits.requests_per_s
        10.0
        """
        now_ms = self._now_ms(changes.get("expires"), timeout)
        request, body = wire.change_request(id, changes, now_ms)
        return self._calls._ask(request, body, wire.parse_key_info, timeout)

    def rotate(self, id: str, *, overlap: timedelta | int = 0, timeout: Timeout | None = None) -> FreshKey:
        """Give it another secret; the one so far opens for `overlap` (seconds) more.

        >>> fresh = client.keys.create("to rotate", Grant(roles=("read",)))
        >>> again = client.keys.rotate(fresh.info.id, overlap=60)
        >>> again.info.id == fresh.info.id, again.text == fresh.text
        (True, False)
        """
        request, body = wire.rotate_request(id, overlap)
        return self._calls._ask(request, body, wire.parse_fresh, timeout)

    def revoke(self, id: str, *, missing_ok: bool = False, timeout: Timeout | None = None) -> None:
        """It opens nothing any more, nor does what it signed. Raises KeyNotFound unless `missing_ok`.

        >>> fresh = client.keys.create("to revoke", Grant(roles=("read",)))
        >>> client.keys.revoke(fresh.info.id)
        """
        try:
            self._calls._ask(wire.revoke_request(id), None, wire.parse_nothing, timeout)
        except KeyNotFound as error:
            # A repetition does not find what its first try revoked.
            if not missing_ok and not error.repeated:
                raise

    def _now_ms(self, expires: Expiry, timeout: Timeout | None) -> int:
        """The store's time, by which a key expires, in milliseconds since 1970; asked for where an end counts from now on."""
        if expires is None or isinstance(expires, datetime):
            return 0
        now = self._calls._ask(time_request(), None, parse_store_time, timeout)
        return round(now.timestamp() * 1_000)

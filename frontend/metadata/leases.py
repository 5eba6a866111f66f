"""Leases: who does what one frontend of a datacenter alone need do.

A lease saves work and proves nothing: clocks may differ, and its owner may have been stopped. Whatever is done under one must
be harmless when two do it.
"""

from __future__ import annotations

from contextlib import suppress

from ambry.clock import Clock
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import Conflict, Expect, LocalDelete, LocalPut, MetadataStore

OWNER_SIZE = 16
LONGEST_S = 3_600.0


class Leases:
    """Those that one process asks for, as `owner`: 16 bytes of chance."""

    def __init__(self, store: MetadataStore, *, clock: Clock, owner: bytes) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner

    async def hold(self, name: str, for_s: float) -> bool:
        """Whether the lease is ours, from now on for `for_s` more seconds. Raises MetadataUnavailable."""
        key = name.encode()
        now_ms = self._clock.wall_ms()
        stands = await self._store.local(LocalSpace.LEASE, key)
        # No lease is longer than LONGEST_S: of one that is, its owner's clock was wrong, or ours is; two at once are harmless.
        longest_ms = now_ms + LONGEST_S * 1000
        if stands is not None and stands.value != self._owner and (stands.expires_ms or 0) <= longest_ms:
            return False
        condition = Expect.ABSENT if stands is None else stands.value
        try:
            await self._store.write(
                [LocalPut(LocalSpace.LEASE, key, self._owner, now_ms + round(for_s * 1000), condition)]
            )
        except Conflict:
            return False  # another one came first
        return True

    async def release(self, name: str) -> None:
        """Give it up, if it is ours, so that another need not wait for its end. Raises MetadataUnavailable."""
        with suppress(Conflict):
            await self._store.write([LocalDelete(LocalSpace.LEASE, name.encode(), self._owner)])

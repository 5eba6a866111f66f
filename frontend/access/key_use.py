"""When keys were last used: kept by each datacenter for itself, to the minute, and never on the way of a request."""

from __future__ import annotations

import msgspec

from ambry.clock import Clock
from frontend.access.verified import Access
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import LocalPut, MetadataStore

WRITE_EVERY_S = 60.0
_number = msgspec.json.Decoder(int).decode


class KeyUse:
    """What this process saw of it."""

    def __init__(self, access: Access, store: MetadataStore, *, clock: Clock) -> None:
        self._access = access
        self._store = store
        self._clock = clock

    async def tick(self) -> float:
        """Write down which keys were used since the last time; seconds until the next."""
        now = msgspec.json.encode(self._clock.wall_ms())
        used = self._access.take_used() & self._access.keys.keys()
        if used:
            await self._store.write([LocalPut(LocalSpace.KEY_USED, id.encode(), now) for id in sorted(used)])
        return WRITE_EVERY_S

    async def last_ms(self, id: str) -> int | None:
        """When a key was last used in this datacenter, wall clock; None: never, or for the first time a moment ago."""
        row = await self._store.local(LocalSpace.KEY_USED, id.encode())
        return None if row is None else _number(row.value)

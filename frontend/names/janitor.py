"""The background loop that ends what was begun for a name and left half done: its frontend was killed, or found no replicas.

Every frontend of a datacenter has one; a lease lets one of them work at a time, and two at once do no harm.
"""

from __future__ import annotations

from typing import Any

from ambry.clock import Clock
from ambry.errors import AmbryError
from ambry.service.logs import get_logger
from frontend.metadata.leases import Leases
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import PAGE_MAX, Conflict, LocalRow, MetadataStore
from frontend.metadata.unreadable import passing_over
from frontend.names.lives import NameLives
from frontend.names.rows import Intent, decode_intent

log = get_logger()

TICK_S = 10.0


class NameJanitor:
    """That of one frontend."""

    def __init__(self, store: MetadataStore, lives: NameLives, leases: Leases, *, clock: Clock) -> None:
        self._store = store
        self._lives = lives
        self._leases = leases
        self._clock = clock
        self._open = 0
        self._ended = 0

    def progress(self) -> dict[str, Any]:
        """For the admin port."""
        return {"intents": self._open, "ended": self._ended}

    async def tick(self) -> float:
        """Look at all intents once; the tick of a worker."""
        if not await self._leases.hold("names", 3 * TICK_S):
            return TICK_S
        after: bytes | None = None
        self._open = 0
        while True:
            page = await self._store.locals(LocalSpace.INTENT, after=after)
            for row in page:
                self._open += 1
                with passing_over("intent", row.key):
                    await self._look(row, decode_intent(row.value))
            if len(page) < PAGE_MAX:
                return TICK_S
            after = page[-1].key
            await self._leases.hold("names", 3 * TICK_S)

    async def _look(self, row: LocalRow, intent: Intent) -> None:
        try:
            if intent.taken or self._clock.wall_ms() >= intent.due_ms:
                self._ended += await self._lives.end(row, intent)
        except Conflict:
            return  # whoever began it ends it in this moment
        except AmbryError as failure:
            log.warning("intent not seen to, it is tried again", key=row.key.hex(), error=failure.message)

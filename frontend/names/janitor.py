"""The background loop that ends what was begun for a name and left half done: its frontend was killed, or found no replicas.

Every frontend of a datacenter has one; a lease lets one of them work at a time, and two at once do no harm.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from ambry.blob import NEVER_MS
from ambry.clock import Clock
from ambry.errors import AmbryError, BlobNotFound
from ambry.ids import BlobId
from ambry.service.logs import get_logger
from frontend.metadata.leases import Leases
from frontend.metadata.store import (
    PAGE_MAX,
    Conflict,
    LocalDelete,
    LocalPut,
    LocalRow,
    LocalSpace,
    MetadataStore,
    Space,
)
from frontend.metadata.unreadable import passing_over
from frontend.names.names import Names, NameVersion
from frontend.names.rows import Intent, IntentKind, decode_intent, encode_intent
from frontend.request import RequestContext
from frontend.router import update
from frontend.router.context import RouterContext

log = get_logger()

TICK_S = 10.0


class NameJanitor:
    """That of one frontend."""

    def __init__(self, store: MetadataStore, router: RouterContext, leases: Leases, *, clock: Clock) -> None:
        self._store = store
        self._router = router
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
                await self._end(row, intent)
        except Conflict:
            return  # whoever began it ends it in this moment
        except AmbryError as failure:
            log.warning("intent not seen to, it is tried again", key=row.key.hex(), error=failure.message)

    async def _end(self, row: LocalRow, intent: Intent) -> None:
        if not intent.taken:
            # From here on whoever began it is refused.
            value = encode_intent(replace(intent, taken=True))
            await self._store.write([LocalPut(LocalSpace.INTENT, row.key, value, condition=row.value)])
            row = LocalRow(row.space, row.key, value, row.expires_ms)
        blob_id = BlobId(intent.blob)
        goes = intent.kind is IntentKind.KEY or not await self._got(intent)
        if goes and not await self._let_go(row.key.hex(), intent, blob_id):
            return
        await self._store.write([LocalDelete(LocalSpace.INTENT, row.key, row.value)])
        self._ended += 1
        log.info("a step for a name was left half done and is ended", blob=str(blob_id), blob_goes=goes)

    async def _let_go(self, request_id: str, intent: Intent, blob_id: BlobId) -> bool:
        """Whether enough replicas know that the blob is deleted, whichever of its lives it is in."""
        if not await self._router.discards.bury(request_id, [blob_id], NEVER_MS):
            return False
        if intent.kind is IntentKind.BURY or intent.after:
            timeout_s = self._router.config.request_timeout_ms / 1000
            request = RequestContext(id=request_id, timeout_s=timeout_s, deadline=0.0)
            request.renew()
            with suppress(BlobNotFound):
                await update.delete(request, self._router, blob_id)
        return True

    async def _got(self, intent: Intent) -> bool:
        """Whether the name got the blob."""
        names = Names(self._store, space=Space(intent.space))
        before: NameVersion | None = None
        while True:
            versions = await names.history(
                intent.scope, intent.key, before=None if before is None else before.version, limit=100
            )
            for version in versions:
                if version.stamp.time <= intent.after:
                    return False
                if version.blob is not None and version.blob.id == intent.blob:
                    return True
            if not versions:
                return False
            before = versions[-1]

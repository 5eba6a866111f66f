"""The life of a blob that an upload made for a name: a while, until a name has it, and from then on what was asked for.

Nobody could delete what a key for some names uploads and never binds, and it would stay for ever. So its record expires
UNNAMED_S after it was made, and says until when it is to live once it is bound (`bound_until_ms`). The data nodes let it go, as
all that expires: nothing is deleted here, so nothing that was bound can be, whatever the clocks, a backup or a late bind do.

A bind, wherever and by whomever, writes in the group that lets the name point there that the life is to be lengthened, does so,
and takes the row away before it is acknowledged; where that fails the janitor goes on with it.

    space    key           value
    SESSION  "l", blob id  until when it is to live, 8 bytes, big-endian
"""

from __future__ import annotations

from contextlib import suppress

from msgspec.structs import replace

from ambry.clock import Clock, iso_utc
from ambry.errors import AmbryError, BlobDeleted, BlobExpired, BlobGone, BlobNotFound
from ambry.ids import BlobId
from ambry.service.logs import get_logger
from frontend.metadata.pages import all_rows
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import Conflict, LocalDelete, LocalPut, MetadataStore
from frontend.metadata.unreadable import passing_over
from frontend.request import RequestContext
from frontend.router import update
from frontend.router.context import RouterContext
from frontend.router.values import BlobHead, PutSpec
from frontend.uploads.leftovers import DONE_FOR_S

log = get_logger()

UNNAMED_S = DONE_FOR_S
"""So long a blob that was made for a name lives without one: as long as its upload may bind it."""
LENGTHEN_WITHIN_S = 3_600
"""So long before its end it is bound no more: clocks differ, and what is to live longer may have to wait for replicas."""

_PREFIX = b"l"


def unnamed(spec: PutSpec) -> PutSpec:
    """What is put of a blob that is for a name and has none yet."""
    until_ms = spec.created_at_ms + UNNAMED_S * 1000
    if spec.expires_at_ms <= until_ms:
        return spec
    properties = replace(spec.properties, bound_until_ms=spec.expires_at_ms)
    return replace(spec, expires_at_ms=until_ms, properties=properties)


class BoundLives:
    """Lengthens lives, in one datacenter. All methods raise what the store raises."""

    def __init__(self, store: MetadataStore, router: RouterContext, *, clock: Clock) -> None:
        self._store = store
        self._router = router
        self._clock = clock

    def wanted_ms(self, head: BlobHead) -> int | None:
        """Until when a blob is to live that gets a name now; None where it does as it is.

        Raises BlobExpired where it is let go so soon that nobody can promise it.
        """
        wanted_ms, until_ms = head.properties.bound_until_ms, head.state.expires_at_ms
        if wanted_ms <= until_ms:
            return None
        if until_ms - self._clock.wall_ms() < LENGTHEN_WITHIN_S * 1000:
            raise BlobExpired(
                f"the upload that made the blob {head.id} for a name was completed {UNNAMED_S // 86_400} days ago and never "
                f"bound, so that it is let go at {iso_utc(until_ms)}; upload it again"
            )
        return wanted_ms

    @staticmethod
    def row(blob_id: BlobId, wanted_ms: int) -> LocalPut:
        """The change that goes along with the one that binds a blob; `lengthen` comes after it."""
        return LocalPut(LocalSpace.SESSION, _PREFIX + blob_id.raw, wanted_ms.to_bytes(8, "big"))

    async def lengthen(self, request: RequestContext, blob_id: BlobId) -> None:
        """Let a blob that was bound live as long as it is to. Raises Unavailable, QuorumNotReached: it is tried again."""
        row = await self._store.local(LocalSpace.SESSION, _PREFIX + blob_id.raw)
        if row is None:
            return
        try:
            await update.extend_ttl(request, self._router, blob_id, int.from_bytes(row.value, "big"))
        except (BlobDeleted, BlobNotFound):
            pass  # its name was deleted since
        except BlobGone as gone:
            log.error("a bound blob was not kept in time", blob=str(blob_id), error=gone.message)
        with suppress(Conflict):
            await self._store.write([LocalDelete(LocalSpace.SESSION, row.key, row.value)])

    async def lengthen_all(self) -> None:
        """Those that were left."""
        timeout_s = self._router.config.request_timeout_ms / 1000
        async for row in all_rows(self._store, LocalSpace.SESSION, prefix=_PREFIX):
            with passing_over("life of a bound blob", row.key):
                request = RequestContext.of_ours(self._router.random_source, timeout_s=timeout_s)
                try:
                    await self.lengthen(request, BlobId(row.key[len(_PREFIX) :]))
                except AmbryError as failure:
                    log.warning("a bound blob's life is not lengthened yet, it is tried again", error=failure.message)

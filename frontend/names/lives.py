"""Whether the blob of a name lives: it goes with the name, comes back with it, and whatever was left half done is ended.

A frontend may sleep between any two steps, and its last message may be an hour late. So all that is done to a blob's life for
the sake of names is written down first, in one row for each blob (frontend/names/intents.py), by which it happens one after
the other:

- Whoever finds the row of another one ends what that one began, as the janitor does, before it begins something itself.
- A delete ends the life that its name saw, and one that it learns of later only while its row is there.
- To end what was to bring a blob back is to delete it in the life that was tried, whether it came so far or not: within a life
  the delete wins, so what comes late brings nothing back. The next life is tried only under another row.
- A name is bound to a blob that lives while it holds the row: a delete that comes in between ends that, and the binding is
  refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import NamedTuple

from msgspec.structs import replace

from ambry.blob import NEVER_MS
from ambry.errors import (
    AmbryError,
    BlobDeleted,
    BlobGone,
    BlobNotFound,
    NotDeleted,
    Unavailable,
    UpdateConflict,
)
from ambry.ids import BlobId
from ambry.service.logs import get_logger
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import Change, Conflict, LocalDelete, LocalPut, LocalRow, MetadataStore
from frontend.names.intents import Intents, WrittenIntent
from frontend.names.names import Names, NameVersion, given_up
from frontend.names.rows import Intent, IntentKind, NamePlace, decode_intent, encode_intent, lives_key
from frontend.request import RequestContext
from frontend.router import update
from frontend.router.context import RouterContext
from frontend.router.quorum_read import read_head
from frontend.router.values import BlobHead

log = get_logger()


AGAIN = 8


class RevivedBlob(NamedTuple):
    """A blob that lives, with what goes along with the change that lets the name point to it."""

    kept: LocalDelete
    brought_back: bool
    """False: it lived already. It may be another name's, or somebody brought it back by its id."""


class NameLives:
    """Those of one frontend."""

    def __init__(self, store: MetadataStore, router: RouterContext, intents: Intents) -> None:
        self._store = store
        self._router = router
        self._intents = intents

    async def bury(
        self,
        request: RequestContext,
        place: NamePlace,
        living: NameVersion,
        head: BlobHead | None,
        bury: Callable[[Change], Awaitable[object]],
    ) -> None:
        """Delete a name, which `bury` does in one group with what it is given, and its blob, whose `head` may have been read.

        A kill in between leaves the rest to the janitor. Raises what `bury` raises, Unavailable, and what the delete of a blob
        raises: then the name is gone, and the blob goes later.
        """
        await self.settle(living.id)
        put, intent = self._intents.row(IntentKind.BURY, living.id, place, after=living.stamp.time)
        await bury(put)
        with suppress(BlobGone):  # by its id
            await update.delete(request, self._router, living.id, head, go_on=lambda: self._stands(intent))
        await self._intents.end(intent)

    async def hold(self, place: NamePlace, blob_id: BlobId, *, after: int = 0) -> WrittenIntent:
        """Have nobody delete or bring back a blob for a name, until a change of a name ends this with its `kept`.

        Whoever must do so all the same ends it, and that change is refused. Raises UpdateConflict, Unavailable.
        """
        for _ in range(AGAIN):
            await self.settle(blob_id)
            put, intent = self._intents.row(IntentKind.REVIVE, blob_id, place, after=after)
            try:
                await self._store.write([put])
            except Conflict:
                continue
            return intent
        raise UpdateConflict("others delete and bring back this name all the time; nothing was changed, try again")

    async def revive(
        self,
        request: RequestContext,
        place: NamePlace,
        tombstone: NameVersion,
        last: NameVersion,
        quota: AbstractAsyncContextManager[object],
        may_bind: Callable[[], None],
    ) -> RevivedBlob:
        """See that the blob which a deleted name pointed to last lives; `quota` is taken where it is brought back.

        `may_bind` is asked where it lives without that, so that the name would be bound to a blob which does not go with it;
        what it raises is raised, and nothing is changed. Raises UpdateConflict where somebody else ended this meanwhile;
        BlobDeleted for one that did not go with the name, and is deleted by now; and what an undelete raises.
        """
        intent = await self.hold(place, last.id, after=tombstone.stamp.time)
        try:
            head = await read_head(request, self._router, last.id, any_state=True)
        except AmbryError:
            await self._intents.end(intent)
            raise
        if not head.state.deleted:
            return await self._bound(intent, may_bind)
        if last.blob is None or not last.blob.owned:
            await self._intents.end(intent)
            raise BlobDeleted(f"the name was bound to the blob {last.id}, which was deleted since; undelete that first")

        async def announce(life: int) -> None:
            nonlocal intent
            put, written = self._intents.row(
                IntentKind.REVIVE, last.id, place, after=tombstone.stamp.time, life=life, instead=intent
            )
            try:
                await self._store.write([put])
            except Conflict:
                raise given_up() from None
            intent = written

        try:
            async with quota:
                await update.undelete(request, self._router, last.id, announce=announce)
        except NotDeleted:  # by its id, in this moment
            return await self._bound(intent, may_bind)
        return RevivedBlob(intent.kept(), brought_back=True)

    async def _bound(self, intent: WrittenIntent, may_bind: Callable[[], None]) -> RevivedBlob:
        """Of a blob that was moved to another name, or that somebody brought back by its id."""
        try:
            may_bind()
        except AmbryError:
            await self._intents.end(intent)
            raise
        return RevivedBlob(intent.kept(), brought_back=False)

    async def settle(self, blob_id: BlobId) -> None:
        """End what others began for a name and this blob. Raises Unavailable where that cannot be done now."""
        row = await self._store.local(LocalSpace.INTENT, lives_key(blob_id))
        if row is None:
            return
        with suppress(Conflict):  # it was ended in this moment
            if await self.end(row, decode_intent(row.value)):
                return
            raise Unavailable(
                "an earlier change of this name is not ended yet; nothing was changed, retry", retry_after_s=1
            )

    async def end(self, row: LocalRow, intent: Intent) -> bool:
        """End what was left half done, with whoever began it refused from here on; False: too few replicas can be asked.

        Raises Conflict where whoever began it, or somebody else, ends it in this moment; Unavailable.
        """
        if intent.kind is IntentKind.REVIVE and not intent.life:
            # It was held, and nothing was tried.
            await self._store.write([LocalDelete(LocalSpace.INTENT, row.key, row.value)])
            return True
        if not intent.taken:
            value = encode_intent(replace(intent, taken=True))
            await self._store.write([LocalPut(LocalSpace.INTENT, row.key, value, condition=row.value)])
            row = LocalRow(row.space, row.key, value, row.expires_ms)
        blob_id = BlobId(intent.blob)
        goes = intent.kind is IntentKind.KEY or not await self._got(intent)
        if goes and not await self._let_go(row, intent, blob_id):
            return False
        await self._store.write([LocalDelete(LocalSpace.INTENT, row.key, row.value)])
        log.info("a step for a name was left half done and is ended", blob=str(blob_id), blob_goes=goes)
        return True

    async def _let_go(self, row: LocalRow, intent: Intent, blob_id: BlobId) -> bool:
        """Whether enough replicas know that the blob is deleted, whichever of its lives it is in."""
        timeout_s = self._router.config.request_timeout_ms / 1000
        request = RequestContext.of_ours(self._router.random_source, timeout_s=timeout_s)
        if intent.kind in (IntentKind.POINT, IntentKind.KEY):
            return await self._router.discards.bury(request.id, [blob_id], NEVER_MS)
        ours = WrittenIntent(row.key, row.value, blob_id)
        with suppress(BlobNotFound):
            await update.delete(request, self._router, blob_id, life_min=intent.life, go_on=lambda: self._stands(ours))
        return True

    async def _stands(self, intent: WrittenIntent) -> bool:
        """Whether nobody took it over, nor ended it."""
        row = await self._store.local(LocalSpace.INTENT, intent.key)
        return row is not None and row.value == intent.value

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

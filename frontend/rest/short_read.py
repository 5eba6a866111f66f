"""`GET /<id>` of a small blob, the short way (frontend/http/short.py)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from ambry.clock import Clock
from ambry.errors import AmbryError, InvalidBlobId, InvariantBroken
from ambry.ids import ID_TEXT_SIZE, BlobId, IdKind
from ambry.service.listener import unconfirmed
from frontend.http.connections import Connection
from frontend.http.pipeline import Pipeline
from frontend.http.plain import PlainReads
from frontend.http.short_request import ShortRequest
from frontend.request import ContainerId, RequestContext
from frontend.rest.blob import ALIVE, BlobFinder
from frontend.rest.read import WHOLE_BYTES
from frontend.router.context import RouterContext
from frontend.router.get import FirstRead, begin_whole
from frontend.router.quorum_read import Found, ReadOutcome, head_of


class ShortReads:
    """The shortcut for reads of whole blobs of one record."""

    def __init__(
        self, pipeline: Pipeline, router: RouterContext, finder: BlobFinder, *, heads: PlainReads, clock: Clock
    ) -> None:
        self._router = router
        self.reading = router.reading
        self._heads = heads
        self.pipeline = pipeline
        self.finder = finder
        self.clock = clock

    def __call__(self, connection: Connection, data: bytes) -> bool:
        text = self._heads.target(data, ID_TEXT_SIZE)
        if text is None:
            return False
        try:
            blob_id = BlobId.parse(text)
        except InvalidBlobId:
            return False
        if blob_id.kind is not IdKind.SIMPLE:
            return False
        context = self.pipeline.context()
        try:
            first = begin_whole(context, self._router, blob_id)
        except AmbryError:
            return False
        if first is None:
            return False
        ShortRead(self, connection, data, blob_id, context, first)
        return True


class ShortRead(ShortRequest):
    """One of them."""

    __slots__ = ("_first", "_id", "_reads", "handed_at")

    def __init__(
        self,
        reads: ShortReads,
        connection: Connection,
        request: bytes,
        blob_id: BlobId,
        context: RequestContext,
        first: FirstRead,
    ) -> None:
        super().__init__(reads.pipeline, reads.clock, connection, request, context, op="get", method="GET")
        context.container = ContainerId(blob_id.account, blob_id.container)
        self.noted["blob"] = str(blob_id)
        self._reads = reads
        self._id = blob_id
        self._first = first
        self.handed_at: float | None = None
        """When its client was handed what it is still taking, on the event loop's clock."""
        first.answer.add_done_callback(partial(self.guarded, self._answered))

    def _answered(self, answer: asyncio.Future[ReadOutcome]) -> None:
        if answer.cancelled() or self.connection.short is not self:
            return
        found = None if answer.exception() is not None else answer.result()
        made = self._made(found) if isinstance(found, Found) else None
        if made is None:
            self.turn_back(self._first)
        else:
            self._first.keep(min(self._first.held, len(made)))
            self.send(made)

    def _made(self, found: Found) -> bytes | None:
        """The whole answer; None where it is not a plain one."""
        body = found.data
        if len(body) != found.reply.payload_size or len(body) > WHOLE_BYTES:
            return None
        with suppress(AmbryError, InvariantBroken):
            head = head_of(self._id, found.reply)
            if head.properties.size == len(body):
                finder = self._reads.finder
                return self.whole(200, finder.headers(head, cache=finder.cache(head, ALIVE)), body)
        return None

    def drop(self) -> None:
        self._first.give_back()
        if self.handed_at is not None:
            self._reads.reading.leave(self)

    def given_up(self) -> None:
        self._first.answer.cancel()
        self.drop()

    # --- what the memory of all downloads asks of one (frontend/router/reading.py) ---

    def waits(self) -> None:
        """From now on it may be ended for others."""
        self.handed_at = self.connection.server.now()
        self._reads.reading.join(self)

    @property
    def held(self) -> int:
        return self._first.held

    def taken(self) -> int:
        return max(0, self._sent - unconfirmed(self.connection.transport))

    def drop_ahead(self) -> bool:
        return False

    def end(self) -> bool:
        self.connection.abort("takes its answer too slowly while others wait for memory")
        return True

"""`GET /<id>` of a small blob, the short way (frontend/http/short.py)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from ambry.clock import Clock
from ambry.errors import AmbryError, InvalidBlobId, InvariantBroken
from ambry.ids import ID_TEXT_SIZE, BlobId, IdKind
from ambry.service.listener import unconfirmed
from frontend import metrics
from frontend.http.access_log import STATUS_CLIENT_GONE
from frontend.http.connections import Connection
from frontend.http.fields import http_date
from frontend.http.pipeline import Pipeline
from frontend.http.plain import PlainReads
from frontend.http.short import Begun, ShortAnswer
from frontend.http.wire import answer_head
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


class ShortRead(ShortAnswer):
    """One of them."""

    __slots__ = ("_context", "_first", "_id", "_reads", "_sent", "_started", "handed_at")

    def __init__(
        self,
        reads: ShortReads,
        connection: Connection,
        request: bytes,
        blob_id: BlobId,
        context: RequestContext,
        first: FirstRead,
    ) -> None:
        super().__init__(connection, request)
        self._reads = reads
        self._id = blob_id
        self._context = context
        self._first = first
        self._sent = 0
        self.handed_at: float | None = None
        """When its client was handed what it is still taking, on the event loop's clock."""
        self._started = reads.clock.monotonic()
        metrics.begun.value += 1
        first.answer.add_done_callback(partial(self.guarded, self._answered))

    def _answered(self, answer: asyncio.Future[ReadOutcome]) -> None:
        if answer.cancelled() or self.connection.short is not self:
            return
        found = None if answer.exception() is not None else answer.result()
        made = self._made(found) if isinstance(found, Found) else None
        if made is None:
            what = self._first
            metrics.over.value += 1  # there it begins again
            self.go_the_ordinary_way(
                Begun(
                    context=self._context,
                    started=self._started,
                    what=what,
                    drop=what.give_back,
                    lost=self._lost_on_its_way,
                )
            )
        else:
            self._sent = len(made)
            self._first.keep(min(self._first.held, len(made)))
            self.send(made)

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

    def _over(self) -> None:
        self._first.give_back()
        if self.handed_at is not None:
            self._reads.reading.leave(self)

    # ---

    def _made(self, found: Found) -> bytes | None:
        """The whole answer; None where it is not a plain one."""
        reads, body = self._reads, found.data
        if len(body) != found.reply.payload_size or len(body) > WHOLE_BYTES:
            return None
        with suppress(AmbryError, InvariantBroken):
            head = head_of(self._id, found.reply)
            if head.properties.size == len(body):
                headers = reads.finder.headers(head, cache=reads.finder.cache(head, ALIVE))
                headers.update(reads.pipeline.common(self._context))
                headers["Content-Length"] = str(len(body))
                headers["Date"] = http_date(reads.clock.wall_ms() // 1000)
                if self.is_last:
                    headers["Connection"] = "close"
                return answer_head(200, headers) + body
        return None

    def ended(self) -> None:
        self._over()
        metrics.over.value += 1
        self._tell(200)

    def lost(self) -> None:
        super().lost()
        self._first.answer.cancel()
        metrics.over.value += 1
        self._lost_on_its_way()

    def _lost_on_its_way(self) -> None:
        self._over()
        self._tell(STATUS_CLIENT_GONE, error=self.connection.broken or "the client went away")

    def _tell(self, status: int, **noted: str) -> None:
        blob_id = self._id
        self._context.container = ContainerId(blob_id.account, blob_id.container)
        self._reads.pipeline.log.tell(
            "get",
            "GET",
            self.connection,
            self._context,
            status=status,
            seconds=self._reads.clock.monotonic() - self._started,
            received=0,
            sent=self._sent,
            noted={"blob": str(blob_id), **noted},
        )

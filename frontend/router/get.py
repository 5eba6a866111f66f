"""Getting a blob: its head, and its bytes streamed out of many records."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator

from ambry.blob import BlobState, Composite
from ambry.checksum import Buffer
from ambry.errors import BlobNotFound, DataCorrupt, InvariantBroken, Unavailable
from ambry.format import composite as composite_format
from ambry.format import properties as properties_format
from ambry.format.record import PAYLOAD_SIZE_MAX
from ambry.ids import BlobId, IdKind
from ambry.protocol.messages.blobs import GetReply
from frontend.request import RequestContext
from frontend.router.context import RouterContext
from frontend.router.plan import ReadUnit, units_of_chunks, units_of_record
from frontend.router.quorum_read import Fetch, Fetched
from frontend.router.values import BlobHead, RangeSpec, Span


def head_of(blob_id: BlobId, reply: GetReply) -> BlobHead:
    """Decode the head. Raises DataCorrupt, FormatUnknown."""
    return BlobHead(
        id=blob_id,
        properties=properties_format.decode_properties(reply.properties),
        metadata=properties_format.decode_metadata(reply.metadata),
        state=reply.state,
        created_at_ms=reply.created_at_ms,
    )


def _present_head(blob_id: BlobId, reply: GetReply) -> BlobHead:
    """Decode the head of an answer that may hold only a state. Raises Unavailable then."""
    if not reply.present:
        raise Unavailable(f"blob {blob_id} cannot be read now: only its state is known to the replicas that answered")
    return head_of(blob_id, reply)


class Download:
    """An open blob: its head, the resolved range, and the bytes to stream once. `close` it in any case."""

    def __init__(
        self,
        request: RequestContext,
        context: RouterContext,
        head: BlobHead,
        *,
        span: Span,
        beginning: Buffer,
        charged: int,
        units: Iterator[ReadUnit],
    ) -> None:
        self.head = head
        self.span = span
        self.beginning = beginning
        """The first bytes of the span, read already."""
        self._charged = charged
        """What `beginning` holds of the read budget."""
        self._request = request
        self._context = context
        self._units = units
        self._pending: deque[tuple[ReadUnit, asyncio.Future[Fetched]]] = deque()

    @property
    def complete(self) -> bool:
        """Whether `beginning` is all of it."""
        return len(self.beginning) == self.span.size

    async def stream(self) -> AsyncIterator[Buffer]:
        """The bytes after `beginning`, in order, reading ahead a bounded number of units within the memory budget.

        Raises Unavailable and others when a chunk cannot be read: the response must break then, never end early.
        """
        sent = len(self.beginning)
        self._give_beginning_back()
        unit = next(self._units, None)
        while unit is not None or self._pending:
            while unit is not None and len(self._pending) < self._context.read_ahead():
                if not self._context.read_budget.try_take(unit.size):
                    if self._pending:
                        break
                    await self._context.take_to_read(unit.size, of=self.span.size, started=sent > 0)
                try:
                    self._pending.append((unit, self._fetch(unit)))
                except BaseException:
                    self._context.read_budget.give_back(unit.size)
                    raise
                unit = next(self._units, None)
            reading, future = self._pending[0]
            data = (await self._chunk_answer(future)).data
            if len(data) != reading.size:
                raise InvariantBroken(f"a chunk of blob {self.head.id} is shorter than its composite says")
            yield data
            self._pending.popleft()
            self._context.read_budget.give_back(reading.size)
            sent += len(data)
        if sent != self.span.size:
            raise InvariantBroken(f"blob {self.head.id}: {sent} bytes read where {self.span.size} were asked for")

    def _fetch(self, unit: ReadUnit) -> asyncio.Future[Fetched]:
        self._request.renew()
        fetch = Fetch(self._request, self._context, BlobId(unit.id), first=unit.first, end=unit.end, any_state=True)
        return fetch.start()

    async def _chunk_answer(self, future: asyncio.Future[Fetched]) -> Fetched:
        try:
            fetched = await future
        except BlobNotFound as error:
            # The blob exists, so its chunk must: whatever the replicas say, this is not an absence.
            raise Unavailable(f"a chunk of blob {self.head.id} is missing: {error.message}") from error
        if not fetched.reply.present:
            raise Unavailable(f"no replica that answered holds a chunk of blob {self.head.id}; retry")
        return fetched

    def _give_beginning_back(self) -> None:
        charged, self._charged = self._charged, 0
        if charged:
            self._context.read_budget.give_back(charged)

    def close(self) -> None:
        """Drop what was read ahead and give its memory back. Call it when `beginning` was sent, or nobody wants it."""
        self._give_beginning_back()
        while self._pending:
            unit, future = self._pending.popleft()
            future.cancel()
            self._context.read_budget.give_back(unit.size)


async def open_blob(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    *,
    wanted: RangeSpec | None,
    any_state: bool = False,
    resolve_empty: bool = False,
) -> Download:
    """Find a blob and begin to read it. Raises BlobNotFound, BlobGone, RangeNotSatisfiable, Unavailable.

    `resolve_empty` answers any range of an empty blob with nothing instead of RangeNotSatisfiable.
    """
    if blob_id.kind is IdKind.COMPOSITE:
        return await _open_composite(request, context, blob_id, wanted, any_state, resolve_empty)
    unit = context.read_unit()
    guess = 0 if wanted is None else wanted.first
    # A suffix needs the size first; anything else begins with a guess at the first unit of the range.
    ask = (0, 0) if guess is None else (guess, (guess // unit + 1) * unit)
    if wanted is not None and wanted.last is not None and guess is not None:
        ask = (guess, min(ask[1], wanted.last + 1))
    charged = ask[1] - ask[0]
    await context.take_to_read(charged, of=charged)
    try:
        fetched = await Fetch(request, context, blob_id, first=ask[0], end=ask[1], any_state=any_state).start()
        head = _present_head(blob_id, fetched.reply)
        span = _resolve(wanted, head.size, resolve_empty)
    except BaseException:
        context.read_budget.give_back(charged)
        raise
    beginning = fetched.data if guess is not None else b""
    context.read_budget.give_back(charged - len(beginning))
    rest = units_of_record(blob_id.raw, span.first + len(beginning), span.end, context.read_unit)
    return Download(request, context, head, span=span, beginning=beginning, charged=len(beginning), units=rest)


async def _open_composite(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    wanted: RangeSpec | None,
    any_state: bool,
    resolve_empty: bool,
) -> Download:
    head, composite = await read_composite(request, context, blob_id, any_state=any_state)
    span = _resolve(wanted, head.size, resolve_empty)
    units = units_of_chunks(composite.chunks, span.first, span.end, context.read_unit)
    return Download(request, context, head, span=span, beginning=b"", charged=0, units=units)


def _resolve(wanted: RangeSpec | None, size: int, resolve_empty: bool) -> Span:
    if wanted is None or (resolve_empty and not size):
        return Span(0, size)
    return wanted.resolve(size)


async def read_composite(
    request: RequestContext, context: RouterContext, blob_id: BlobId, *, any_state: bool = False
) -> tuple[BlobHead, Composite]:
    """The head and the chunk list of a composite blob. Raises as open_blob, DataCorrupt."""
    fetched = await Fetch(request, context, blob_id, first=0, end=PAYLOAD_SIZE_MAX, any_state=any_state).start()
    head = _present_head(blob_id, fetched.reply)
    composite = composite_format.decode(fetched.data)
    if composite.total_size != head.size:
        raise DataCorrupt(f"blob {blob_id}: its chunks have {composite.total_size} bytes, its head says {head.size}")
    return head, composite


async def read_state(request: RequestContext, context: RouterContext, blob_id: BlobId) -> BlobState:
    """The present state of a blob, deleted or not. Raises BlobNotFound, Unavailable."""
    fetched = await Fetch(request, context, blob_id, first=0, end=0, any_state=True).start()
    return fetched.reply.state


async def read_head(
    request: RequestContext, context: RouterContext, blob_id: BlobId, *, any_state: bool = False
) -> BlobHead:
    """A blob's head. Raises BlobNotFound, BlobGone, Unavailable."""
    fetched = await Fetch(request, context, blob_id, first=0, end=0, any_state=any_state).start()
    return _present_head(blob_id, fetched.reply)

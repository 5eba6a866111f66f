"""Getting bytes of one record from whichever replica has them, and streaming a blob out of many."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from functools import partial

import msgspec

from ambry.blob import BlobProperties, BlobState, Composite, join
from ambry.checksum import Buffer
from ambry.errors import (
    AmbryError,
    BlobDeleted,
    BlobExpired,
    BlobNotFound,
    DataCorrupt,
    InvariantBroken,
    RangeNotSatisfiable,
    Unavailable,
)
from ambry.format import composite as composite_format
from ambry.format import properties as properties_format
from ambry.format.record import PAYLOAD_SIZE_MAX
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import GetReply, GetRequest
from frontend.request import RequestContext
from frontend.router.context import RouterContext
from frontend.router.plan import ReadUnit, units_of_chunks, units_of_record
from frontend.router.quorum import Answer, GetTracker, Verdict


class Fetched(msgspec.Struct, frozen=True):
    """What a replica answered. `data` is exactly the asked range, clipped to the payload, every block verified."""

    reply: GetReply
    data: Buffer


class Fetch:
    """One read of one record. `start` returns a future that ends with Fetched, or with the AmbryError to tell the user.

    Replicas are asked in order; when one has not answered for `hedge_after_ms` the next is asked too, and the first good
    answer counts.
    """

    def __init__(
        self,
        request: RequestContext,
        context: RouterContext,
        blob_id: BlobId,
        *,
        first: int,
        end: int,
        any_state: bool = False,
    ) -> None:
        partition = context.partition_of(blob_id)
        self._context = context
        self._id = blob_id
        self._first = first
        self._end = end
        self._request = GetRequest(request.id, blob_id.raw, first, end, any_state)
        self._tracker = GetTracker(
            context.read_order(partition, blob_id.datacenter),
            own=context.datacenter_id,
            origin=blob_id.datacenter,
            absent_targets=context.absent_targets(partition),
        )
        self._loop = asyncio.get_running_loop()
        self._deadline = min(request.deadline, self._loop.time() + context.config.get_timeout_ms / 1000)
        self._hedge: asyncio.TimerHandle | None = None
        self._failures: dict[str, AmbryError] = {}
        self._state: BlobState | None = None
        self._state_only: GetReply | None = None
        self._future: asyncio.Future[Fetched] = self._loop.create_future()

    def start(self) -> asyncio.Future[Fetched]:
        self._ask_next()
        return self._future

    def _ask_next(self) -> None:
        if self._hedge is not None:
            self._hedge.cancel()
            self._hedge = None
        name = self._tracker.next_replica()
        if name is None or self._future.done():
            return
        self._hedge = self._loop.call_later(self._context.config.hedge_after_ms / 1000, self._ask_next)
        timeout_s = max(0.001, self._deadline - self._loop.time())
        self._context.pool[name].call(MessageType.GET, self._request, partial(self._done, name), timeout_s=timeout_s)

    def _done(self, name: str, frame: Frame | None, error: AmbryError | None) -> None:
        if self._future.done():
            return
        if frame is not None:
            self._answered(name, frame)
            return
        self._failures[name] = error or Unavailable("no answer")
        self._settle(self._tracker.record(name, Answer.ABSENT if isinstance(error, BlobNotFound) else Answer.FAILED))

    def _answered(self, name: str, frame: Frame) -> None:
        try:
            reply = messages.decode(frame.header, GetReply)
            self._state = reply.state if self._state is None else join(self._state, reply.state)
            if reply.present and not (self._state.deleted and not self._request.any_state):
                data = self._cut(reply, frame.body)
                self._tracker.record(name, Answer.FOUND)
                self._end_with(Fetched(reply, data))
                return
        except AmbryError as bad:
            self._failures[name] = bad
            self._settle(self._tracker.record(name, Answer.FAILED))
            return
        # It has no bytes for us. It is gone, or another replica may have them.
        self._state_only = msgspec.structs.replace(reply, state=self._state)
        gone = (self._state.deleted or reply.gone) and not self._request.any_state
        self._settle(self._tracker.record(name, Answer.GONE if gone else Answer.FAILED))

    def _cut(self, reply: GetReply, body: Buffer) -> Buffer:
        first = min(self._first, reply.payload_size)
        end = min(self._end, reply.payload_size)
        if first == end:
            return b""
        if reply.start > first or reply.start + len(body) < end:
            raise DataCorrupt(f"asked for bytes {first} to {end}, got {len(body)} from {reply.start} on")
        if reply.start == first and len(body) == end - first:
            return body
        return memoryview(body)[first - reply.start : end - reply.start]

    def _settle(self, verdict: Verdict) -> None:
        if verdict is Verdict.PENDING:
            self._ask_next()
        elif self._state_only is not None and self._request.any_state:
            self._end_with(Fetched(self._state_only, b""))
        elif verdict is Verdict.DONE:
            deleted = self._state is not None and self._state.deleted
            self._end_with(BlobDeleted("the blob was deleted") if deleted else BlobExpired("the blob has expired"))
        elif verdict is Verdict.ABSENT:
            self._end_with(BlobNotFound(f"no blob {self._id}: enough replicas confirmed that it does not exist"))
        else:
            self._end_with(self._unknown())

    def _unknown(self) -> AmbryError:
        reasons = "; ".join(f"{name}: {error.message}" for name, error in sorted(self._failures.items()))
        return Unavailable(f"blob {self._id} cannot be read now, and its absence cannot be proven; retry ({reasons})")

    def _end_with(self, outcome: Fetched | AmbryError) -> None:
        if self._hedge is not None:
            self._hedge.cancel()
            self._hedge = None
        if isinstance(outcome, AmbryError):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)


class BlobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A blob's head, as the user sees it."""

    id: BlobId
    properties: BlobProperties
    metadata: dict[str, str]
    state: BlobState
    created_at_ms: int

    @property
    def size(self) -> int:
        return self.properties.size


class RangeSpec(msgspec.Struct, frozen=True):
    """A range that a user asked for: `first` to `last` inclusive, either may be None (open end; suffix of `last` bytes)."""

    first: int | None
    last: int | None

    def resolve(self, size: int) -> tuple[int, int]:
        """First byte and end (exclusive) in a blob of `size` bytes. Raises RangeNotSatisfiable (RFC 9110 section 14.1.1)."""
        if self.first is None:
            suffix = min(self.last or 0, size)
            if suffix:
                return size - suffix, size
        elif self.first < size:
            return self.first, size if self.last is None else min(self.last + 1, size)
        raise RangeNotSatisfiable(f"the range lies outside the blob of {size} bytes", size=size)


def info_of(blob_id: BlobId, reply: GetReply) -> BlobInfo:
    """Decode the head. Raises DataCorrupt, FormatUnknown."""
    return BlobInfo(
        id=blob_id,
        properties=properties_format.decode_properties(reply.properties),
        metadata=properties_format.decode_metadata(reply.metadata),
        state=reply.state,
        created_at_ms=reply.created_at_ms,
    )


def _present_info(blob_id: BlobId, reply: GetReply) -> BlobInfo:
    """Decode the head of an answer that may hold only a state. Raises Unavailable then."""
    if not reply.present:
        raise Unavailable(f"blob {blob_id} cannot be read now: only its state is known to the replicas that answered")
    return info_of(blob_id, reply)


class BlobReader:
    """An open blob: its head, the resolved range, and its bytes to stream once. `close` it in any case."""

    def __init__(
        self,
        request: RequestContext,
        context: RouterContext,
        info: BlobInfo,
        *,
        first: int,
        end: int,
        head: Buffer,
        units: Iterator[ReadUnit],
    ) -> None:
        self.info = info
        self.first = first
        self.end = end
        self.head = head
        """The first bytes of the range, read already."""
        self._request = request
        self._context = context
        self._units = units
        self._pending: deque[tuple[ReadUnit, asyncio.Future[Fetched]]] = deque()

    @property
    def complete(self) -> bool:
        """Whether `head` is all of it."""
        return len(self.head) == self.end - self.first

    async def stream(self) -> AsyncIterator[Buffer]:
        """The bytes after `head`, in order, reading ahead a bounded number of units within the memory budget.

        Raises Unavailable and others when a chunk cannot be read: the response must break then, never end early.
        """
        sent = len(self.head)
        unit = next(self._units, None)
        while unit is not None or self._pending:
            while unit is not None and len(self._pending) < self._context.read_ahead():
                if not self._context.read_budget.try_take(unit.size):
                    if self._pending:
                        break
                    await self._context.read_budget.take(unit.size)
                try:
                    self._pending.append((unit, self._fetch(unit)))
                except BaseException:
                    self._context.read_budget.give_back(unit.size)
                    raise
                unit = next(self._units, None)
            reading, future = self._pending[0]
            data = (await self._chunk_answer(future)).data
            if len(data) != reading.size:
                raise InvariantBroken(f"a chunk of blob {self.info.id} is shorter than its composite says")
            yield data
            self._pending.popleft()
            self._context.read_budget.give_back(reading.size)
            sent += len(data)
        if sent != self.end - self.first:
            raise InvariantBroken(
                f"blob {self.info.id}: {sent} bytes read where {self.end - self.first} were asked for"
            )

    def _fetch(self, unit: ReadUnit) -> asyncio.Future[Fetched]:
        self._request.renew()
        fetch = Fetch(self._request, self._context, BlobId(unit.id), first=unit.first, end=unit.end, any_state=True)
        return fetch.start()

    async def _chunk_answer(self, future: asyncio.Future[Fetched]) -> Fetched:
        try:
            fetched = await future
        except BlobNotFound as error:
            # The blob exists, so its chunk must: whatever the replicas say, this is not an absence.
            raise Unavailable(f"a chunk of blob {self.info.id} is missing: {error.message}") from error
        if not fetched.reply.present:
            raise Unavailable(f"no replica that answered holds a chunk of blob {self.info.id}; retry")
        return fetched

    def close(self) -> None:
        """Drop what was read ahead and give its memory back."""
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
) -> BlobReader:
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
    fetched = await Fetch(request, context, blob_id, first=ask[0], end=ask[1], any_state=any_state).start()
    info = _present_info(blob_id, fetched.reply)
    first, end = _resolve(wanted, info.size, resolve_empty)
    head = fetched.data if guess is not None else b""
    rest = units_of_record(blob_id.raw, first + len(head), end, context.read_unit)
    return BlobReader(request, context, info, first=first, end=end, head=head, units=rest)


async def _open_composite(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    wanted: RangeSpec | None,
    any_state: bool,
    resolve_empty: bool,
) -> BlobReader:
    info, composite = await read_composite(request, context, blob_id, any_state=any_state)
    first, end = _resolve(wanted, info.size, resolve_empty)
    units = units_of_chunks(composite.chunks, first, end, context.read_unit)
    return BlobReader(request, context, info, first=first, end=end, head=b"", units=units)


def _resolve(wanted: RangeSpec | None, size: int, resolve_empty: bool) -> tuple[int, int]:
    if wanted is None or (resolve_empty and not size):
        return 0, size
    return wanted.resolve(size)


async def read_composite(
    request: RequestContext, context: RouterContext, blob_id: BlobId, *, any_state: bool = False
) -> tuple[BlobInfo, Composite]:
    """The head and the chunk list of a composite blob. Raises as open_blob, DataCorrupt."""
    fetched = await Fetch(request, context, blob_id, first=0, end=PAYLOAD_SIZE_MAX, any_state=any_state).start()
    info = _present_info(blob_id, fetched.reply)
    composite = composite_format.decode(fetched.data)
    if composite.total_size != info.size:
        raise DataCorrupt(f"blob {blob_id}: its chunks have {composite.total_size} bytes, its head says {info.size}")
    return info, composite


async def read_state(request: RequestContext, context: RouterContext, blob_id: BlobId) -> BlobState:
    """The present state of a blob, deleted or not. Raises BlobNotFound, Unavailable."""
    fetched = await Fetch(request, context, blob_id, first=0, end=0, any_state=True).start()
    return fetched.reply.state


async def read_info(
    request: RequestContext, context: RouterContext, blob_id: BlobId, *, any_state: bool = False
) -> BlobInfo:
    """A blob's head. Raises BlobNotFound, BlobGone, Unavailable."""
    fetched = await Fetch(request, context, blob_id, first=0, end=0, any_state=any_state).start()
    return _present_info(blob_id, fetched.reply)

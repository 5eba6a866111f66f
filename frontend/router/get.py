"""Getting a blob: its head, and its bytes streamed out of many records."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator

from ambry.checksum import BLOCK_SIZE, Buffer
from ambry.errors import AmbryError, BlobNotFound, InvariantBroken, Unavailable
from ambry.format.record import PAYLOAD_SIZE_MAX
from ambry.ids import BlobId, IdKind
from ambry.service.logs import get_logger
from frontend.request import RequestContext
from frontend.router.ahead import Ahead
from frontend.router.answers import ReadOutcome
from frontend.router.budget import MemoryBudget
from frontend.router.composite import read_composite
from frontend.router.confirm import confirmed, is_strict
from frontend.router.context import RouterContext
from frontend.router.held_lists import HeldList
from frontend.router.plan import ReadUnit, end_of_unit, units_of_chunks, units_of_record
from frontend.router.quorum_read import Fetch, found, head_of
from frontend.router.reading import LEAST_BYTES
from frontend.router.values import BlobHead, RangeSpec, Span

log = get_logger()


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
        listed: int = 0,
        units: Iterator[ReadUnit],
    ) -> None:
        self.head = head
        self.span = span
        self.size = span.end - span.first
        """Bytes of the span."""
        self.beginning = beginning
        """The first bytes of the span, read already."""
        self.handed_at: float | None = None
        self.unsent: Callable[[], int] | None = None
        """Set by who sends the stream: how many bytes of what was handed out its client has not confirmed."""
        self.abort: Callable[[], None] | None = None
        """Set by who sends the stream: breaks the connection to a client that does not take it while others need its memory."""
        self.held = charged
        """Of the read budget, bytes: the list of chunks, what is in use, and LEAST_BYTES or more until all is there."""
        self.listed = listed
        """What the list of chunks takes of it."""
        self._handed = len(beginning)
        """What the client is being handed, bytes."""
        self._lent = len(beginning)
        """The memory that is in use by that alone, bytes."""
        self._sent = 0
        self._request = request
        self._context = context
        self._reading = context.reading
        self._units = units
        self._joined = False
        self._again: deque[ReadUnit] = deque()
        self._ahead: deque[Ahead] = deque()

    async def stream(self) -> AsyncIterator[Buffer]:
        """All the bytes in order, reading ahead a bounded number of units within the memory budget.

        What was handed over is given back when the next piece is asked for: take it off our hands first. Raises Unavailable and
        others when a chunk cannot be read: the response must break then, never end early.
        """
        self._reading.join(self)
        self._joined = True
        loop = asyncio.get_running_loop()
        data, self.beginning = self.beginning, b""
        await self._reading.turn()
        self._fill()
        while True:
            if len(data):
                self.handed_at = loop.time()
                yield data
                self.handed_at = None
                self._request.renew()
                self._sent += len(data)
                data = b""
            self._handed = self._lent = 0
            self._fill()
            if not self._ahead:
                break
            data = await self._next_piece()
        if self._sent != self.size:
            raise InvariantBroken(f"blob {self.head.id}: {self._sent} bytes read where {self.size} were asked for")

    async def _next_piece(self) -> Buffer:
        """What comes next of the unit whose turn it is. Apart from `stream`, whose names would keep it alive beyond its use."""
        ahead = self._ahead[0]
        try:
            data = await ahead.next_piece()
        except BlobNotFound as error:
            # The blob exists, so its chunk must: whatever the replicas say, this is not an absence.
            raise Unavailable(f"a chunk of blob {self.head.id} is missing: {error.message}") from error
        if data is None:
            raise Unavailable(f"no replica that answered holds a chunk of blob {self.head.id}; retry")
        await self._reading.turn()
        self._handed = len(data)
        ahead.given += len(data)
        unit = ahead.unit
        if ahead.given == unit.size:
            self._ahead.popleft()
            self._lent = unit.size
            self._shrink()
        # Of a block of which it is a part nothing else is kept.
        return data if unit.size >= BLOCK_SIZE else bytes(data)

    def _fill(self) -> None:
        """Ask for as many units as there may be, and for one in any case when the client has nothing in its hands."""
        used = self._shrink()
        while (unit := self._next_unit()) is not None:
            cost = max(BLOCK_SIZE, unit.size)  # a part of a block comes with all of it
            if used and used + cost > self._reading.window(self):
                self._again.appendleft(unit)
                return
            if not self._grow(used + cost):
                if used:
                    self._again.appendleft(unit)
                    return
                unit = self._cut(unit, LEAST_BYTES)  # that much is ours
            self._ahead.append(self._fetch(unit))
            used += cost

    def _shrink(self) -> int:
        """Give back what is not in use any more, but for LEAST_BYTES; returns what is in use, bytes."""
        used = self._lent + sum([max(BLOCK_SIZE, ahead.unit.size) for ahead in self._ahead])
        surplus = self.held - self.listed - max(LEAST_BYTES, used)
        if surplus > 0:
            self.held -= surplus
            self._reading.budget.give_back(surplus)
        return used

    def _grow(self, size: int) -> bool:
        """Hold `size` bytes beside the list of chunks, if there is memory for it."""
        missing = self.listed + size - self.held
        if missing > 0:
            if not self._reading.budget.try_take(missing):
                return False
            self.held += missing
        return True

    def _next_unit(self) -> ReadUnit | None:
        """The next unit in order that was not asked for, or was dropped; smaller than it was when memory got short."""
        unit = self._again.popleft() if self._again else next(self._units, None)
        return None if unit is None else self._cut(unit, self._reading.stretch_bytes(self))

    def _cut(self, unit: ReadUnit, size: int) -> ReadUnit:
        """The first part of a unit, of about `size` bytes; the rest comes next."""
        end = end_of_unit(unit.first, size)
        if end >= unit.end:
            return unit
        self._again.appendleft(ReadUnit(unit.id, end, unit.end))
        return ReadUnit(unit.id, unit.first, end)

    def _fetch(self, unit: ReadUnit) -> Ahead:
        self._request.renew()
        return Ahead(self._request, self._context, unit, sealed=self.head.encrypted)

    def hand_all(self) -> None:
        """All of it is being sent at once: from now on its client may be ended for others, as that of a stream."""
        self._reading.join(self)
        self._joined = True
        self.handed_at = asyncio.get_running_loop().time()

    # --- what the memory of all downloads asks of one (frontend/router/reading.py) ---

    def taken(self) -> int:
        """Bytes that its client is known to have taken."""
        return 0 if self.unsent is None else max(0, self._sent + self._handed - self.unsent())

    def drop_ahead(self) -> bool:
        """Give back what was read ahead, if anything was; it is read again when its turn comes."""
        dropped = bool(self._ahead)
        for ahead in reversed(self._ahead):
            ahead.drop()
            self._again.appendleft(ahead.rest)
            if ahead.given:
                self._lent = ahead.unit.size  # a part of it is being handed
        self._ahead.clear()
        self._shrink()
        return dropped

    def end(self) -> bool:
        """Break the connection to a client that has stalled, for others that wait for memory."""
        abort, self.abort = self.abort, None
        if abort is None:
            return False
        log.warning(
            "download ended, others wait for its memory",
            blob=str(self.head.id),
            request_id=self._request.id,
            held_bytes=self.held,
        )
        abort()
        return True

    def close(self) -> None:
        """Drop what was read ahead and give its memory back. Call it when `beginning` was sent, or nobody wants it."""
        if self._joined:
            self._reading.leave(self)
            for ahead in self._ahead:
                ahead.drop()
            self._ahead.clear()
        held, self.held = self.held, 0
        self._reading.budget.give_back(held)


class FirstRead:
    """The beginning of a blob of one record, which was read before anybody knew that more is to be done with it.

    It holds the memory for it, `held` bytes of the budget of downloads, which its owner gives back.
    """

    __slots__ = ("_budget", "_outcome", "held")

    def __init__(self, outcome: ReadOutcome | AmbryError, budget: MemoryBudget, held: int) -> None:
        self._outcome = outcome
        self._budget = budget
        self.held = held

    def take_over(self) -> ReadOutcome:
        """How it ended; what it holds is the caller's to give back from now on. Raises the error that it ended with."""
        if isinstance(self._outcome, AmbryError):
            raise self._outcome
        self.held = 0
        return self._outcome

    def give_back(self) -> None:
        """Nobody wants it; may be called twice."""
        held, self.held = self.held, 0
        if held:
            self._budget.give_back(held)


async def open_blob(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    *,
    wanted: RangeSpec | None,
    any_state: bool = False,
    resolve_empty: bool = False,
    begun: FirstRead | None = None,
    held_list: HeldList | None = None,
) -> Download:
    """Find a blob and begin to read it. Raises BlobNotFound, BlobGone, RangeNotSatisfiable, Unavailable.

    `resolve_empty` answers any range of an empty blob with nothing instead of RangeNotSatisfiable. `begun` is the first read
    where there was one already, of the whole blob; `held_list` has the list of chunks where a request reads many ranges.
    """
    if blob_id.kind is IdKind.COMPOSITE:
        if held_list is None:
            whole = await read_composite(request, context, blob_id, of=_at_most(wanted), any_state=any_state)
        else:
            whole = await held_list.read(request, blob_id, of=_at_most(wanted), any_state=any_state)
        try:
            span = _resolve(wanted, whole.head.properties.size, resolve_empty)
        except BaseException:
            context.reading.budget.give_back(whole.charged)
            raise
        # Its list was read; the first block is fetched beside that.
        held = BLOCK_SIZE + whole.listed
        context.reading.budget.give_back(whole.charged - held)
        units = units_of_chunks(whole.composite.chunks, span.first, span.end, context.reading.stretch_bytes)
        return Download(
            request, context, whole.head, span=span, beginning=b"", charged=held, listed=whole.listed, units=units
        )
    if begun is None:
        reading = _first_read(request, context, blob_id, wanted, any_state=any_state)
        if any_state or not is_strict(request):
            begun = await reading
        else:
            begun = await confirmed(request, context, blob_id, reading, FirstRead.give_back)
    charged = begun.held
    outcome = begun.take_over()
    try:
        record = found(blob_id, outcome)
        head = head_of(blob_id, record.reply)
        span = _resolve(wanted, head.properties.size, resolve_empty)
        beginning = record.data
        size = span.end - span.first
        if len(beginning) < size and context.reading.budget.scarce:
            # Its client has taken nothing yet; the rest is read again.
            beginning = bytes(beginning[:LEAST_BYTES])
        # What is streamed has some memory of its own until its end.
        held = len(beginning) if len(beginning) == size else max(LEAST_BYTES, len(beginning))
        if held > charged:
            await context.reading.take(held - charged, of=size)
            charged = held
    except BaseException:
        context.reading.budget.give_back(charged)
        raise
    context.reading.budget.give_back(charged - held)
    rest: Iterator[ReadUnit] = iter(())
    if len(beginning) < size:
        rest = units_of_record(blob_id.raw, span.first + len(beginning), span.end, context.reading.stretch_bytes)
    return Download(request, context, head, span=span, beginning=beginning, charged=held, units=rest)


async def _first_read(
    request: RequestContext, context: RouterContext, blob_id: BlobId, wanted: RangeSpec | None, *, any_state: bool
) -> FirstRead:
    """Wait for memory, and read as much as that holds of what is wanted."""
    unit = context.reading.first_bytes()
    ask = Span(0, unit) if wanted is None else _guess(wanted, unit)
    charged = ask.end - ask.first
    await context.reading.take(charged, of=charged)
    try:
        fetch = Fetch(request, context, blob_id, first=ask.first, end=ask.end, any_state=any_state)
        return FirstRead(await fetch.start(), context.reading.budget, charged)
    except BaseException:
        context.reading.budget.give_back(charged)
        raise


def _at_most(wanted: RangeSpec | None) -> int:
    """How many bytes are wanted of a blob whose size is not known yet, at most."""
    if wanted is None or (wanted.first is not None and wanted.last is None):
        return PAYLOAD_SIZE_MAX
    return (wanted.last or 0) - (wanted.first or 0) + 1


def _guess(wanted: RangeSpec, unit: int) -> Span:
    """The first bytes of what is wanted of a blob whose size is not known yet, at most to the end of a unit."""
    if wanted.first is None:
        return Span(0, 0)  # a suffix needs the size first
    end = (wanted.first // unit + 1) * unit
    return Span(wanted.first, end if wanted.last is None else min(end, wanted.last + 1))


def _resolve(wanted: RangeSpec | None, size: int, resolve_empty: bool) -> Span:
    if wanted is None or (resolve_empty and not size):
        return Span(0, size)
    return wanted.resolve(size)

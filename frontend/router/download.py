"""The bytes of an open blob, streamed out of many records."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from ambry.checksum import BLOCK_SIZE, Buffer
from ambry.errors import BlobNotFound, InvariantBroken, Unavailable
from ambry.service.logs import get_logger
from frontend.request import RequestContext
from frontend.router.ahead import Ahead
from frontend.router.context import RouterContext
from frontend.router.plan import ReadUnit, end_of_unit
from frontend.router.reading import LEAST_BYTES
from frontend.router.values import BlobHead, Span

log = get_logger()


class Download:
    """An open blob: its head, the resolved range, and the bytes to stream once. `close` it in any case."""

    def __init__(
        self,
        request: RequestContext,
        context: RouterContext,
        head: BlobHead,
        *,
        spans: Sequence[Span],
        beginning: Buffer,
        charged: int,
        listed: int = 0,
        units: Iterator[ReadUnit],
    ) -> None:
        self.head = head
        self.spans = spans
        """What it streams of the blob, one span behind the other. No piece has bytes of two."""
        self.size = sum([span.size for span in spans])
        """Bytes of all of them."""
        self.beginning = beginning
        """The first bytes of the first span, read already."""
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

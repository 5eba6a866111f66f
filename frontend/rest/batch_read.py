"""One batch of reads on its way: many blobs, or ranges of them, each part sent when it is ready.

Parts that are small are read side by side, first by one question to each data node (frontend/rest/batch_quick.py), what that
leaves by reads of their own, some at a time. So one that waits for a slow replica keeps none but itself. Parts that are large
come last, one after the other, as a download each, which begins while the one before it is sent.

Memory: what was read and is not sent yet, at most ROOM_BYTES for each data node and a block for each read of its own; all
of it is of the budget of downloads, and goes where the client stalls while others wait for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial

from ambry.checksum import Buffer
from ambry.errors import AmbryError, InternalError, must_have
from ambry.ids import BlobId, IdKind
from ambry.service.logs import get_logger
from frontend.http.exchange import Exchange
from frontend.request import RequestContext
from frontend.rest.batch_forms import Form, ManyParts, begin
from frontend.rest.batch_large import LargeParts, take_together
from frontend.rest.batch_parts import Part, Unit, failed, lines_of_part
from frontend.rest.batch_quick import PIECE_BYTES, SMALL_PART_BYTES, QuickReads
from frontend.router.context import RouterContext
from frontend.router.download import Download
from frontend.router.get import Resolved, open_ranges, open_spans
from frontend.router.held_lists import HeldList
from frontend.router.quorum_read import read_head
from frontend.router.values import BlobHead, RangeSpec, Span, span_of

log = get_logger()

READS_AT_ONCE = 16
LARGE_AT_ONCE = 2


class BatchRead:
    """One of them. Runs once."""

    def __init__(self, exchange: Exchange, router: RouterContext, form: Form, *, bodies: bool) -> None:
        self._exchange = exchange
        self._router = router
        self._form = form
        self._bodies = bodies
        self._response: ManyParts = begin(form)
        self._ready: deque[Part | None] = deque()
        """None stands for a part that turned out to be large."""
        self._wake = asyncio.Event()
        """Set when something is ready."""
        self._alone: asyncio.Queue[Unit] = asyncio.Queue()
        self._large: deque[Unit] = deque()
        self._list = HeldList(router)
        self._sizes: dict[BlobId, int] = {}
        """Of blobs that were read alone."""
        self._failure: BaseException | None = None
        self.held = 0
        """Bytes of parts that are ready."""
        self.handed_at: float | None = None

    async def run(self, units: Sequence[Unit]) -> ManyParts:
        """Answer them all. Raises ConnectionError when the client is gone."""
        reading = self._router.reading
        reading.join(self)
        quick = QuickReads(self._exchange.context, self._router, self._form, self, bodies=self._bodies)
        work = [*quick.begin(units), *(self._read_alone() for _ in range(min(READS_AT_ONCE, len(units))))]
        tasks = [asyncio.get_running_loop().create_task(each) for each in work]
        for task in tasks:
            task.add_done_callback(self._ended)
        try:
            await self._send_ready(len(units))
            await self._send_all_large()
            if self._form.end:
                await self._send(self._form.end)
            await self._response.write_eof()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            while self._ready:
                self._release(self._ready.popleft())
            self._list.close()
            reading.leave(self)
        self._exchange.noted["parts"] = len(units)
        return self._response

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Work has ended, or broke: then nobody may wait for its parts."""
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._wake.set()

    # --- reading alone ---

    async def _read_alone(self) -> None:
        while True:
            unit = await self._alone.get()
            try:
                await self._answer_alone(unit)
            except AmbryError as error:
                self.fail(unit, error)
            except Exception:
                log.exception("part of a batch failed", request_id=self._exchange.context.id, blob=unit.text)
                self.fail(unit, InternalError("a bug in this server; please report the request id"))

    async def _answer_alone(self, unit: Unit) -> None:
        if unit.error is not None or unit.id is None:
            raise unit.error or InternalError("a part without an id")
        if not self._bodies:
            head = await read_head(self._context(unit), self._router, unit.id)
            whole = Span(0, head.properties.size)
            self.put(Part(self._form.head(lines_of_part(unit, head, whole), 0)))
            return
        size = self._sizes.get(unit.id)
        known_large = (
            unit.id.kind is IdKind.COMPOSITE and _is_large(unit.wanted)
            if size is None
            else span_of(unit.wanted, size).size > SMALL_PART_BYTES
        )
        if known_large:
            self.put_large(unit)
            return
        likely = (unit.wanted or RangeSpec(0, SMALL_PART_BYTES - 1),)
        download = await open_spans(
            self._context(unit), self._router, unit.id, partial(_alone, unit), likely=likely, held_list=self._list
        )
        try:
            head = download.head
            self._sizes[unit.id] = head.properties.size
            if download.size > SMALL_PART_BYTES or (unit.wanted is None and download.size < head.properties.size):
                self.put_large(unit)
                return
            [span] = download.spans
            pieces: list[Buffer] = [self._form.head(lines_of_part(unit, head, span), download.size)]
            if len(download.beginning) < download.size:
                pieces += [bytes(piece) async for piece in download.stream()]
            else:
                pieces.append(download.beginning)
            sent = asyncio.Event()
            self.put(Part(b"".join(pieces), release=sent.set))
            await sent.wait()
        finally:
            download.close()

    def _context(self, unit: Unit) -> RequestContext:
        """Of one part: its container and its time are its own."""
        context = self._exchange.context
        own = RequestContext(
            id=context.id,
            timeout_s=context.timeout_s,
            deadline=0.0,
            container=unit.container,
            who=context.who,
            standing=context.standing,
            as_everybody=unit.as_everybody,
        )
        own.renew()
        return own

    # --- what is ready ---

    def put(self, part: Part) -> None:
        """Some are ready."""
        self.held += len(part.data)
        self._ready.append(part)
        self._wake.set()

    def put_alone(self, unit: Unit) -> None:
        """One is to be read for itself."""
        self._alone.put_nowait(unit)

    def put_large(self, unit: Unit) -> None:
        """One turned out to be large."""
        self._large.append(unit)
        self._ready.append(None)
        self._wake.set()

    def fail(self, unit: Unit, error: AmbryError) -> None:
        """One cannot be read."""
        self.put(failed(unit, error, self._form))

    def _release(self, part: Part | None) -> None:
        if part is not None:
            self.held -= len(part.data)
            if part.release is not None:
                part.release()

    # --- sending ---

    async def _send_ready(self, left: int) -> None:
        """Send so many parts as they become ready; those that are large are only counted."""
        while left:
            if not self._ready:
                self._wake.clear()
                await self._wake.wait()
            if self._failure is not None:
                raise self._failure
            parts: list[Part | None] = []
            try:
                size = 0
                while self._ready and (not parts or size < PIECE_BYTES):
                    parts.append(part := self._ready.popleft())
                    size += 0 if part is None else len(part.data)
                    left -= 1 if part is None else part.count
                pieces = [part.data for part in parts if part is not None]
                if pieces:
                    await self._send(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            finally:
                for part in parts:
                    self._release(part)

    async def _send(self, data: Buffer) -> None:
        exchange = self._exchange
        if not exchange.streaming:
            await exchange.send_head(self._response)
        self.handed_at = asyncio.get_running_loop().time()
        await exchange.send_piece(self._response, data)
        self.handed_at = None
        exchange.context.renew()

    async def _send_all_large(self) -> None:
        """One after the other; the next ones begin while some are sent."""
        coming: deque[LargeParts] = deque()
        try:
            while self._large or coming:
                while self._large and len(coming) < self._large_at_once():
                    units = take_together(self._large)
                    coming.append(LargeParts(units, self._open_large(units)))
                await self._send_large(coming[0])
                await coming.popleft().close()
        finally:
            # Side by side, so that none keeps its memory when another one's end is not waited for.
            await asyncio.gather(*(parts.close() for parts in coming))

    def _large_at_once(self) -> int:
        return 1 if self._router.reading.budget.scarce else LARGE_AT_ONCE

    async def _open_large(self, units: Sequence[Unit]) -> tuple[Download, list[Resolved]]:
        unit = units[0]
        blob_id = must_have(unit.id, "the id of a part that is large")
        ranges = [each.wanted for each in units]
        return await open_ranges(self._context(unit), self._router, blob_id, ranges, held_list=self._list)

    async def _send_large(self, parts: LargeParts) -> None:
        """Stream some. An error can be told as long as nothing of its part was sent; after that the connection breaks.

        Those behind one that failed are read by another download.
        """
        try:
            download, resolved = await parts.opened()
        except AmbryError as error:
            await self._send_failed(parts.units, error)
            return
        download.abort = self._exchange.give_way
        download.unsent = self._exchange.unsent
        for place, (unit, span) in enumerate(resolved):
            if isinstance(span, AmbryError):
                await self._send_failed([unit], span)
                continue
            try:
                data = await parts.next_piece()
            except AmbryError as error:
                await self._send_failed([unit], error)
                self._large.extendleft(reversed(parts.units[place + 1 :]))
                return
            await self._send(self._form.head(lines_of_part(unit, download.head, span), span.size))
            missing = span.size
            while True:
                await self._exchange.send_piece(self._response, data)
                self._exchange.context.renew()
                missing -= len(data)
                del data  # it is not charged any more
                if not missing:
                    break
                data = await parts.next_piece()

    async def _send_failed(self, units: Sequence[Unit], error: AmbryError) -> None:
        for unit in units:
            self.fail(unit, error)
        await self._send_ready(len(units))

    # --- what the memory of all downloads asks of one (frontend/router/reading.py) ---

    def taken(self) -> int:
        return 0

    def drop_ahead(self) -> bool:
        return self._list.close()

    def end(self) -> bool:
        """Break the connection to a client that has stalled, for others that wait for memory."""
        self._exchange.give_way()
        return True


def _is_large(wanted: RangeSpec | None) -> bool:
    """Whether a range of a large blob says so by itself; of a small one it may be all."""
    if wanted is None or wanted.first is None or wanted.last is None:
        return False
    return wanted.last - wanted.first >= SMALL_PART_BYTES


def _alone(unit: Unit, head: BlobHead) -> Sequence[Span]:
    """What is read of a unit to see whether it is small."""
    size = head.properties.size
    return (Span(0, min(size, SMALL_PART_BYTES)) if unit.wanted is None else unit.wanted.resolve(size),)

"""One batch of reads on its way: many blobs, or ranges of them, each part sent when it is ready.

Parts that are small are read side by side, first by one question to each data node (frontend/router/batch_reads.py), what that
leaves by reads of their own, some at a time. So one that waits for a slow replica keeps none but itself. Parts that are large
come last, one after the other, as a download each.

Memory: what was read and is not sent yet, at most ROOM_BYTES for each data node and a block for each read of its own; all
of it is of the budget of downloads, and goes where the client stalls while others wait for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from ambry.checksum import BLOCK_SIZE, Buffer
from ambry.errors import AmbryError, InternalError
from ambry.ids import IdKind
from ambry.network.pool import Peer
from ambry.protocol.messages.blobs import WantedBytes
from ambry.service.listener import unconfirmed
from ambry.service.logs import get_logger
from frontend.http.exchange import APART_BYTES, Exchange
from frontend.http.ranges import content_range
from frontend.request import RequestContext
from frontend.rest.batch_forms import Form, ManyParts, begin, joined
from frontend.rest.batch_parts import Part, PartsShare, QuickUnit, Unit, failed_part, first_lines
from frontend.rest.blob import BlobFinder, lines_of
from frontend.router.batch_reads import ASKED_MAX, ROOM_BYTES, by_peer, read_from
from frontend.router.context import RouterContext
from frontend.router.get import Download, open_blob
from frontend.router.quorum_read import Found, head_of, read_head
from frontend.router.values import BlobHead, RangeSpec

log = get_logger()

SMALL_PART_BYTES = BLOCK_SIZE
READS_AT_ONCE = 16
PIECE_BYTES = APART_BYTES
"""Parts that are ready together leave in pieces of about so much."""


class BatchRead:
    """One of them. Runs once."""

    def __init__(
        self, exchange: Exchange, router: RouterContext, finder: BlobFinder, form: Form, *, bodies: bool
    ) -> None:
        self._exchange = exchange
        self._router = router
        self._finder = finder
        self._form = form
        self._bodies = bodies
        self._response: ManyParts = begin(form)
        self._ready: deque[Part | None] = deque()
        """None stands for a part that turned out to be large."""
        self._wake = asyncio.Event()
        """Set when something is ready."""
        self._alone: asyncio.Queue[Unit] = asyncio.Queue()
        self._large: deque[Unit] = deque()
        self._failure: BaseException | None = None
        self.held = 0
        """Bytes of parts that are ready."""
        self.handed_at: float | None = None

    async def run(self, units: Sequence[Unit]) -> ManyParts:
        """Answer them all. Raises ConnectionError when the client is gone."""
        reading = self._router.reading
        reading.join(self)
        work = [*self._sorted(units), *(self._read_alone() for _ in range(min(READS_AT_ONCE, len(units))))]
        tasks = [asyncio.get_running_loop().create_task(each) for each in work]
        for task in tasks:
            task.add_done_callback(self._ended)
        try:
            await self._send_ready(len(units))
            for unit in self._large:
                await self._send_large(unit)
            if self._form.end:
                await self._send(self._form.end)
            await self._response.write_eof()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            while self._ready:
                self._release(self._ready.popleft())
            reading.leave(self)
        self._exchange.noted["parts"] = len(units)
        return self._response

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Work has ended, or broke: then nobody may wait for its parts."""
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._wake.set()

    def _sorted(self, units: Sequence[Unit]) -> list[Coroutine[Any, Any, None]]:
        """The work that asks data nodes for many at once; what is not asked so is put to be read alone."""
        quick = {number: found for number, unit in enumerate(units) if (found := self._quick(unit)) is not None}
        ids = {number: unit.id for number in quick if (unit := units[number]).id is not None}
        asked: set[int] = set()
        work = []
        for peer, numbers in by_peer(self._router, ids):
            asked.update(numbers)
            some = [QuickUnit(units[number], quick[number]) for number in numbers]
            work.append(self._read_from(peer, deque(some)))
        for number, unit in enumerate(units):
            if number not in asked:
                self._alone.put_nowait(unit)
        return work

    def _quick(self, unit: Unit) -> WantedBytes | None:
        """What to ask for among many; None for one that needs more than one question."""
        container = unit.container
        if unit.id is None or container is None or container.settings.strict_reads:
            return None
        if not self._bodies:
            return WantedBytes(unit.id.raw, 0, 0)
        if unit.id.kind is not IdKind.SIMPLE:
            return None
        wanted = unit.wanted
        if wanted is None:
            return WantedBytes(unit.id.raw, 0, SMALL_PART_BYTES)
        if wanted.first is None or wanted.last is None or wanted.last - wanted.first >= SMALL_PART_BYTES:
            return None
        return WantedBytes(unit.id.raw, wanted.first, wanted.last + 1)

    # --- reading ---

    async def _read_from(self, peer: Peer, left: deque[QuickUnit]) -> None:
        """Ask one data node for its share, as much at a time as it may hold, until it has told what it would."""
        reading = self._router.reading
        while left:
            asked = [left.popleft() for _ in range(min(ASKED_MAX, len(left)))]
            room = min(ROOM_BYTES, sum(each.wanted.end - each.wanted.first for each in asked))
            try:
                await reading.take(room, of=room)
            except AmbryError:
                left.extend(asked)
                break
            share = PartsShare(reading.budget, room)
            missed = []
            try:
                found = await read_from(self._exchange.context, peer, [each.wanted for each in asked], room=room)
                share.keep(sum(len(each.data) for each in found if each is not None))
                for each, answer in zip(asked, found, strict=True):
                    if answer is None or not self._tell(each.unit, answer, share):
                        missed.append(each)
            finally:
                share.let_go()
            if len(missed) == len(asked) or not self._bodies:
                self._put_alone(missed)
            else:
                left.extendleft(reversed(missed))  # it may have run out of room
            # What is not sent yet is all that this one may hold.
            await share.gone.wait()
        self._put_alone(left)

    def _put_alone(self, some: Iterable[QuickUnit]) -> None:
        for each in some:
            self._alone.put_nowait(each.unit)

    def _tell(self, unit: Unit, answer: Found, share: PartsShare) -> bool:
        """Whether that answers a unit."""
        if unit.id is None:
            return False
        try:
            head = head_of(unit.id, answer.reply)
        except AmbryError:
            return False  # another replica may know better
        data, size = answer.data, head.properties.size
        if self._bodies and unit.wanted is None and len(data) < size:
            self._put_large(unit)
            return True
        try:
            lines = self._lines(unit, head)
        except AmbryError as error:
            self._fail(unit, error)
            return True
        share.add()
        self._put(Part(lines, data, share.let_go))
        return True

    async def _read_alone(self) -> None:
        while True:
            unit = await self._alone.get()
            try:
                await self._answer_alone(unit)
            except AmbryError as error:
                self._fail(unit, error)
            except Exception:
                log.exception("part of a batch failed", request_id=self._exchange.context.id, blob=unit.text)
                self._fail(unit, InternalError("a bug in this server; please report the request id"))

    async def _answer_alone(self, unit: Unit) -> None:
        if unit.error is not None or unit.id is None:
            raise unit.error or InternalError("a part without an id")
        if not self._bodies:
            self._put(Part(self._lines(unit, await read_head(self._context(unit), self._router, unit.id)), b""))
            return
        download = await self._open(unit, unit.wanted or RangeSpec(0, SMALL_PART_BYTES - 1))
        try:
            head = download.head
            if download.size > SMALL_PART_BYTES or (unit.wanted is None and download.size < head.properties.size):
                self._put_large(unit)
                return
            data: Buffer = download.beginning
            if len(data) < download.size:
                data = b"".join([bytes(piece) async for piece in download.stream()])
            sent = asyncio.Event()
            self._put(Part(self._lines(unit, head), data, sent.set))
            await sent.wait()
        finally:
            download.close()

    async def _open(self, unit: Unit, wanted: RangeSpec | None) -> Download:
        if unit.id is None:
            raise InternalError("a part without an id")
        return await open_blob(
            self._context(unit), self._router, unit.id, wanted=wanted, resolve_empty=unit.wanted is None
        )

    def _context(self, unit: Unit) -> RequestContext:
        """Of one part: its container and its time are its own."""
        context = self._exchange.context
        own = RequestContext(id=context.id, timeout_s=context.timeout_s, deadline=0.0, container=unit.container)
        own.renew()
        return own

    # --- what is ready ---

    def _lines(self, unit: Unit, head: BlobHead) -> str:
        """The lines of a part's head, without the length. Raises RangeNotSatisfiable."""
        partial_line, status = "", 200
        if unit.wanted is not None:
            span, status = unit.wanted.resolve(head.properties.size), 206
            partial_line = f"Content-Range: {content_range(span.first, span.end, head.properties.size)}\r\n"
        told = lines_of(head, self._finder.container(head.id))
        return f"{first_lines(unit, status)}{told}{partial_line}"

    def _fail(self, unit: Unit, error: AmbryError) -> None:
        self._put(failed_part(unit, error))

    def _put(self, part: Part) -> None:
        self.held += len(part.body)
        self._ready.append(part)
        self._wake.set()

    def _put_large(self, unit: Unit) -> None:
        self._large.append(unit)
        self._ready.append(None)
        self._wake.set()

    def _release(self, part: Part | None) -> None:
        if part is not None:
            self.held -= len(part.body)
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
                while size < PIECE_BYTES and self._ready:
                    parts.append(part := self._ready.popleft())
                    size += 0 if part is None else len(part.body)
                left -= len(parts)
                pieces: list[Buffer] = []
                for part in parts:
                    if part is not None:
                        pieces += (self._form.head(part.lines, len(part.body)), part.body)
                if pieces:
                    await self._send(joined(pieces))
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

    async def _send_large(self, unit: Unit) -> None:
        """Stream one. An error can be told as long as nothing of it was sent; after that the connection breaks."""
        begun = False
        try:
            download = await self._open(unit, unit.wanted)
            try:
                download.abort = self._exchange.give_way
                download.unsent = partial(_unsent, self._exchange)
                async for data in download.stream():
                    if not begun:
                        head = self._form.head(self._lines(unit, download.head), download.size)
                        await self._send(head)
                        begun = True
                    await self._exchange.send_piece(self._response, data)
                    self._exchange.context.renew()
                    del data  # it is not charged any more
            finally:
                download.close()
        except AmbryError as error:
            if begun:
                raise
            self._fail(unit, error)
            await self._send_ready(1)

    # --- what the memory of all downloads asks of one (frontend/router/reading.py) ---

    def taken(self) -> int:
        return 0

    def drop_ahead(self) -> bool:
        return False

    def end(self) -> bool:
        """Break the connection to a client that has stalled, for others that wait for memory."""
        self._exchange.give_way()
        return True


def _unsent(exchange: Exchange) -> int:
    return 0 if exchange.connection is None else unconfirmed(exchange.connection.transport)

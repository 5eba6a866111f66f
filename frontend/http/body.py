"""Reading a request body: no further ahead than memory was taken for, and for no longer than the client keeps sending."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import StreamReader
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from ambry.errors import InvalidRequest, RequestTimeout
from ambry.patience import Patience
from frontend.http.connections import READ_BYTES, READ_BYTES_LARGE, Connection
from frontend.http.digests import ExpectedDigests
from frontend.http.exchange import WAIT_STEP_S, Exchange
from frontend.http.inlet import Inlet
from frontend.http.refusals import Refusal
from frontend.limits.meters import Meter
from frontend.request import RequestContext
from frontend.router.budget import SMALL_BYTES, MemoryBudget, Need
from frontend.router.chunker import NOT_NOW, Grow, StraightBody

T = TypeVar("T")

RECEIVED_AHEAD = 2 * READ_BYTES
"""What a body holds beside what was taken out of it: one read that is full, and one that was under way."""
RECEIVED_AHEAD_LARGE = 2 * READ_BYTES_LARGE


class ClientGone(Exception):
    """The client ended the connection before its body was whole; there is nobody to answer."""


_ENDS = (ConnectionError, ClientError, Refusal, HttpProcessingError, RequestPayloadError)
"""What ends a body early."""


def _told(cause: Exception) -> Exception:
    """How whoever reads the body is told of one of them."""
    if isinstance(cause, Refusal):
        return cause.error
    if isinstance(cause, HttpProcessingError | RequestPayloadError):
        return InvalidRequest(f"the body is malformed: {cause}")
    return ClientGone()


class BodyReader(StraightBody):
    """The pieces of a body as they arrive. None stands where nothing did for a while and others wait for memory.

    `close` it in any case: it holds memory.
    """

    def __init__(
        self,
        content: StreamReader,
        *,
        size: int | None,
        patience: Patience,
        stall_timeout_s: float,
        connection: Connection,
        budget: MemoryBudget,
        wait_s: float,
        digests: ExpectedDigests | None,
        context: RequestContext,
    ) -> None:
        """`size` is what was announced, if anything."""
        self._context = context
        self._meter = context.meter if context.meter is not None and context.meter.slows else None
        """Of whoever sends it, where that has its turns."""
        self._content = content
        self._patience = patience
        self._stall_timeout_s = stall_timeout_s
        self._connection = connection
        self._budget = budget
        self._wait_s = wait_s
        self._digests = digests
        self.straight = (
            size is not None
            and size > SMALL_BYTES
            and (digests is None or not digests.hashing)
            and self._meter is None  # which lets little pass at a time
        )
        self._need = Need.SMALL if size is not None and size <= SMALL_BYTES else Need.LARGE
        self._held = 0
        self._silent_s = 0.0
        """How long was waited since something came, in all."""
        self._wait_ends: asyncio.Timeout | None = None
        self._gives_way = False
        self._useful = True
        """Whether something has come since it last gave way."""

    async def __anext__(self) -> bytes | None:
        """The next piece, waiting for it; None when memory is wanted before it came.

        Raises RequestTimeout when the client sends nothing or too little for too long, Overloaded when there is no memory to
        receive it, InvalidRequest for what is no body, ClientGone.
        """
        if self._meter is not None and not await self._has_turn(self._meter):
            return None
        content = self._content
        # A body that is here as a whole needs no memory beyond what the connection holds, and no waiting.
        if not content.is_eof():
            await self._make_room()
        data: bytes | None
        try:
            data = content.read_nowait()
            if not data and not content.at_eof():
                self._connection.let_come()
                data = await self._wait(content.readany())
        # The stream keeps its exception, which must not keep us: its traceback would be a circle, with all that is held here.
        except _ENDS as cause:
            raise _told(cause) from cause.with_traceback(None)
        if data is None:
            return None
        if not data:
            raise StopAsyncIteration
        if self._digests is not None and self._digests.hashing:
            await self._digests.update(data)
        self._count(len(data))
        return data

    async def receive_into(self, room: memoryview, grow: Grow) -> int | None:
        """As StraightBody says. Raises as the iterator."""
        content = self._content
        try:
            data = content.read_nowait(len(room))
            if data or content.at_eof():
                room[: len(data)] = data
                return len(data)
            inlet = Inlet(self._connection, content, room, grow)
            # Who waits for the end of a chunk must be one that may be asked to give way (`_wait`).
            if content.total_bytes <= SMALL_BYTES or not inlet.begin():
                return NOT_NOW
            try:
                await self._wait(inlet.over(), inlet)
            finally:
                inlet.end()
        except _ENDS as cause:
            raise _told(cause) from cause.with_traceback(None)
        return inlet.count or None

    def _count(self, size: int) -> None:
        """So many bytes came; those behind them wait until these had their turn."""
        if self._meter is not None:
            self._meter.reserve(size)
            self._context.paced += size

    async def _has_turn(self, meter: Meter) -> bool:
        """Wait until what comes next may; False when memory is wanted before."""
        loop = asyncio.get_running_loop()
        if not meter.wait_s():
            return True
        if self._useful and self._content.total_bytes > SMALL_BYTES:
            self._budget.rests(self)
        try:
            while (wait_s := meter.wait_s()) and self._content.exception() is None:
                try:
                    async with asyncio.timeout(min(wait_s, WAIT_STEP_S)) as self._wait_ends:
                        await loop.create_future()
                except TimeoutError:
                    self._wait_ends = None
                self._context.renew()
                if self._gives_way:
                    self._gives_way = self._useful = False
                    return False
        finally:
            self._wait_ends = None
            self._budget.goes_on(self)
        return True

    async def _make_room(self) -> None:
        """Take memory for what is received ahead; much of it for a body that flows, while there is plenty."""
        if not self._held:
            await self._budget.take(RECEIVED_AHEAD, self._need, timeout_s=self._wait_s)
            self._held = RECEIVED_AHEAD
        elif self._held == RECEIVED_AHEAD:
            more = RECEIVED_AHEAD_LARGE - RECEIVED_AHEAD
            wide = (
                not self.straight
                and self._meter is None
                and self._content.total_bytes > SMALL_BYTES
                and not self._budget.scarce
            )
            if wide and self._budget.try_take(more):
                self._held += more
                self._connection.widen(True)
        elif self._budget.scarce:
            self._narrow()

    def _narrow(self) -> None:
        """Receive as little ahead as at first."""
        if self._held > RECEIVED_AHEAD:
            self._connection.widen(False)
            self._budget.give_back(self._held - RECEIVED_AHEAD)
            self._held = RECEIVED_AHEAD

    async def _wait(self, coming: Coroutine[Any, Any, T], inlet: Inlet | None = None) -> T | None:
        """What is `coming`, or comes to `inlet`; None when memory is wanted before, or its time is over."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        allowed_s = max(0.0, min(self._stall_timeout_s - self._silent_s, self._patience.left_s))
        late = False
        result: T | None = None
        if self._useful and self._content.total_bytes > SMALL_BYTES:
            self._budget.rests(self)
        try:
            async with asyncio.timeout(allowed_s) as self._wait_ends:
                result = await coming
        except TimeoutError:
            late = True
        finally:
            self._wait_ends = None
            self._budget.goes_on(self)
        size = inlet.count if inlet is not None else len(result) if isinstance(result, bytes) else 0
        waited_s = loop.time() - began
        if not size:
            self._silent_s += waited_s
        else:
            self._silent_s = loop.time() - inlet.came_at if inlet is not None else 0.0
        gives_way, self._gives_way = self._gives_way, False
        failure = self._content.exception()
        if not size and failure is not None:
            # The end of a chunk woke us, and before we ran the body failed: nobody tells us but here.
            raise failure
        if late and not gives_way and not size:
            raise RequestTimeout(
                f"the body came too slowly: the last {self._silent_s:.0f} s brought nothing; nothing was stored"
            )
        self._patience.waited(waited_s)
        self._patience.moved(size)
        self._useful = size > 0
        if late:
            self._narrow()
        return None if late else result

    def give_way(self) -> None:
        """Stop waiting for the client, for the moment: others want memory."""
        # One whose own time is up in this turn ends anyway.
        if self._wait_ends is not None and not self._wait_ends.expired():
            self._gives_way = True
            self._wait_ends.reschedule(asyncio.get_running_loop().time())

    def close(self) -> None:
        """Give the memory back."""
        self._connection.let_come()
        self._narrow()
        held, self._held = self._held, 0
        if held:
            self._budget.give_back(held)


def body_of(exchange: Exchange, *, budget: MemoryBudget, wait_s: float, digests: ExpectedDigests | None) -> BodyReader:
    """The body of a request; `budget` is where its memory comes from. Raises ClientGone when its connection ended already."""
    connection = exchange.connection
    if connection is None or exchange.http.transport is None:
        # It ended before this call began, and aiohttp tells only calls that run already: the body would be waited for until
        # its deadline.
        raise ClientGone
    limits = connection.server.limits
    return BodyReader(
        exchange.http.content,
        size=exchange.body_size,
        patience=Patience(limits.stall_timeout_s, limits.rate_min),
        stall_timeout_s=limits.stall_timeout_s,
        connection=connection,
        budget=budget,
        wait_s=wait_s,
        digests=digests,
        context=exchange.context,
    )

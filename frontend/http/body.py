"""Reading a request body: no further ahead than memory was taken for, and for no longer than the client keeps sending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from aiohttp import StreamReader
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from ambry.errors import InvalidRequest, RequestTimeout
from frontend.http.admission import Patience
from frontend.http.connections import READ_BYTES, READ_BYTES_LARGE
from frontend.http.digests import ExpectedDigests
from frontend.http.exchange import Exchange
from frontend.http.refusals import Refusal
from frontend.router.budget import SMALL_BYTES, MemoryBudget, Need

RECEIVED_AHEAD = 2 * READ_BYTES
"""What a body holds beside what was taken out of it: one read that is full, and one that was under way."""
RECEIVED_AHEAD_LARGE = 2 * READ_BYTES_LARGE


class ClientGone(Exception):
    """The client ended the connection before its body was whole; there is nobody to answer."""


class BodyReader(AsyncIterator[bytes | None]):
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
        widen: Callable[[bool], None],
        budget: MemoryBudget,
        wait_s: float,
        digests: ExpectedDigests | None,
    ) -> None:
        """`size` is what was announced, if anything. `widen` says how far to read ahead: much, or as little as at first."""
        self._content = content
        self._patience = patience
        self._stall_timeout_s = stall_timeout_s
        self._widen = widen
        self._budget = budget
        self._wait_s = wait_s
        self._digests = digests
        self._need = Need.SMALL if size is not None and size <= SMALL_BYTES else Need.LARGE
        self._held = 0
        self._wait_ends: asyncio.Timeout | None = None
        self._gives_way = False
        self._useful = True
        """Whether something has come since it last gave way."""

    async def __anext__(self) -> bytes | None:
        """The next piece, waiting for it; None when memory is wanted before it came.

        Raises RequestTimeout when the client sends nothing or too little for too long, Overloaded when there is no memory to
        receive it, InvalidRequest for what is no body, ClientGone.
        """
        content = self._content
        # A body that is here as a whole needs no memory beyond what the connection holds, and no waiting.
        if not content.is_eof():
            await self._make_room()
        data: bytes | None
        try:
            data = content.read_nowait()
            if not data and not content.at_eof():
                data = await self._wait()
        # The stream keeps its exception, which must not keep us: its traceback would be a circle, with all that is held here.
        except (ConnectionError, ClientError) as cause:
            raise ClientGone from cause.with_traceback(None)
        except Refusal as cause:
            raise cause.error from cause.with_traceback(None)
        except (HttpProcessingError, RequestPayloadError) as cause:
            raise InvalidRequest(f"the body is malformed: {cause}") from cause.with_traceback(None)
        if data is None:
            return None
        if not data:
            raise StopAsyncIteration
        if self._digests is not None and self._digests.hashing:
            await self._digests.update(data)
        return data

    async def _make_room(self) -> None:
        """Take memory for what is received ahead; much of it for a body that flows, while there is plenty."""
        if not self._held:
            await self._budget.take(RECEIVED_AHEAD, self._need, timeout_s=self._wait_s)
            self._held = RECEIVED_AHEAD
        elif self._held == RECEIVED_AHEAD:
            more = RECEIVED_AHEAD_LARGE - RECEIVED_AHEAD
            if self._content.total_bytes > SMALL_BYTES and not self._budget.scarce and self._budget.try_take(more):
                self._held += more
                self._widen(True)
        elif self._budget.scarce:
            self._narrow()

    def _narrow(self) -> None:
        """Receive as little ahead as at first."""
        if self._held > RECEIVED_AHEAD:
            self._widen(False)
            self._budget.give_back(self._held - RECEIVED_AHEAD)
            self._held = RECEIVED_AHEAD

    async def _wait(self) -> bytes | None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        allowed_s = min(self._stall_timeout_s, self._patience.left_s)
        late = False
        data = b""
        if self._useful and self._content.total_bytes > SMALL_BYTES:
            self._budget.rests(self)
        try:
            async with asyncio.timeout(allowed_s) as self._wait_ends:
                data = await self._content.readany()
        except TimeoutError:
            late = True
        finally:
            self._wait_ends = None
            self._budget.goes_on(self)
        gives_way, self._gives_way = self._gives_way, False
        failure = self._content.exception()
        if not data and failure is not None:
            # The end of a chunk woke us, and before we ran the body failed: nobody tells us but here.
            raise failure
        if late and not gives_way:
            raise RequestTimeout(
                f"the body came too slowly: the last {allowed_s:.0f} s brought nothing; nothing was stored"
            )
        self._patience.waited(loop.time() - began)
        self._patience.moved(len(data))
        self._useful = not late
        if late:
            self._narrow()
        return None if late else data

    def give_way(self) -> None:
        """Stop waiting for the client, for the moment: others want memory."""
        if self._wait_ends is not None:
            self._gives_way = True
            self._wait_ends.reschedule(asyncio.get_running_loop().time())

    def close(self) -> None:
        """Give the memory back."""
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
        widen=connection.widen,
        budget=budget,
        wait_s=wait_s,
        digests=digests,
    )

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


class BodyReader(AsyncIterator[bytes]):
    """The pieces of a body as they arrive. `close` it in any case: it holds memory."""

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

    async def __anext__(self) -> bytes:
        """The next piece, waiting for it.

        Raises RequestTimeout when the client sends nothing or too little for too long, Overloaded when there is no memory to
        receive it, InvalidRequest for what is no body, ClientGone.
        """
        content = self._content
        # A body that is here as a whole needs no memory beyond what the connection holds, and no waiting.
        if not content.is_eof():
            await self._make_room()
        try:
            data = content.read_nowait()
            if not data and not content.at_eof():
                data = await self._wait()
        except (ConnectionError, ClientError) as cause:
            raise ClientGone from cause
        except Refusal as cause:
            raise cause.error from cause
        except (HttpProcessingError, RequestPayloadError) as cause:
            raise InvalidRequest(f"the body is malformed: {cause}") from cause
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
            self._widen(False)
            self._budget.give_back(self._held - RECEIVED_AHEAD)
            self._held = RECEIVED_AHEAD

    async def _wait(self) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        allowed_s = min(self._stall_timeout_s, self._patience.left_s)
        late = False
        data = b""
        try:
            async with asyncio.timeout(allowed_s):
                data = await self._content.readany()
        except TimeoutError:
            late = True
        failure = self._content.exception()
        if not data and failure is not None:
            # The end of a chunk woke us, and before we ran the body failed: nobody tells us but here.
            raise failure
        if late:
            raise RequestTimeout(
                f"the body came too slowly: the last {allowed_s:.0f} s brought nothing; nothing was stored"
            )
        self._patience.waited(loop.time() - began)
        self._patience.moved(len(data))
        return data

    def close(self) -> None:
        """Give the memory back."""
        if self._held:
            if self._held > RECEIVED_AHEAD:
                self._widen(False)
            self._budget.give_back(self._held)
            self._held = 0


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

"""One client's connection: what it may send before it is heard, and what is kept while it is slow.

aiohttp parses and answers (`Handler`); between it and the socket stands `Connection`, which decides how much is read at a
time. Reading goes through one buffer that all connections share, so a connection holds only what the parser keeps (a head
within its bound, a body up to one read) and an answer that the client has not taken. Nothing is made for a connection before
its first byte.

Answers are handed to the kernel at once, and what it does not take is waited for: whoever awaits a write knows afterwards that
the kernel has all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from ambry.errors import (
    AmbryError,
    HeadersTooLarge,
    InvalidRequest,
    Overloaded,
    RequestTimeout,
)
from frontend.http.admission import FEW_BYTES, Patience
from frontend.http.handler import Handler, Refusal

if TYPE_CHECKING:
    from frontend.http.server import HttpServer

READ_BYTES = 16 << 10
"""Read at a time, as long as nobody has taken memory for more."""
READ_BYTES_LARGE = 256 << 10
QUEUED_COST = 2 << 10
"""What a request costs while it waits, beside the bytes of its head."""


class Connection(asyncio.BufferedProtocol):
    """What the event loop talks to."""

    __slots__ = (
        "_body",
        "_head_size",
        "_lingering",
        "_requests",
        "_view",
        "broken",
        "client",
        "handler",
        "head_charged",
        "head_deadline",
        "patience",
        "server",
        "stalled_s",
        "transport",
        "unsent",
    )

    transport: asyncio.Transport

    def __init__(self, server: HttpServer, client: str) -> None:
        self.server = server
        self.client = client
        self.handler: Handler | None = None
        self._view = server.view
        self._body: StreamReader = EMPTY_PAYLOAD
        self._requests = 0
        self._head_size = 0
        """Bytes of a head that is not finished."""
        self._lingering: asyncio.Future[None] | None = None
        self.head_charged = 0
        """Those of them that the server's account knows of."""
        self.head_deadline = 0.0
        """On the event loop's clock, for a head that is not finished; 0 while none has begun."""
        self.patience: Patience | None = None
        """With a client that does not take its answer."""
        self.unsent = 0
        """Bytes that it had not taken at the last look."""
        self.stalled_s = 0.0
        """For how long it has taken nothing."""
        self.broken = ""
        """Why we ended it, if we did."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=0)
        self.server.connected(self)
        self._expect_head()

    def connection_lost(self, error: BaseException | None) -> None:
        self.server.disconnected(self)
        self._stop_lingering()
        if self.handler is not None:
            self.handler.connection_lost(error)
            self.handler = None

    # --- reading ---

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def widen(self, large: bool) -> None:
        """Read more at a time, or as little as at first. Whoever asks for more has taken the memory for it."""
        self._view = self.server.view_large if large else self.server.view

    def buffer_updated(self, size: int) -> None:
        handler = self.handler
        if handler is None:
            handler = self.handler = self.server.make_handler(self)
        if handler.refused:
            # Read and forgotten: a connection that is closed on unread bytes is reset, and the answer with it.
            return
        body = self._body
        handler.data_received(bytes(self._view[:size]))
        if handler.received != self._requests:
            self._heads_came(handler, size, body)
        elif body.is_eof() and handler.hearing:
            self._head_grew(handler, size)

    def _heads_came(self, handler: Handler, size: int, before: StreamReader) -> None:
        """At least one head is whole, or cannot be understood. The newest request has the body that is being read, if any."""
        self._requests = handler.received
        message, self._body = handler.newest
        in_head = before.is_eof()
        if handler.newest_is_refused:
            handler.refused = True
            if not in_head:
                # What cannot be understood is the body of a request that is being answered already.
                handler.drop_newest()
                _fail(before, web.RequestPayloadError(message.message))
                handler.end_input()
        elif self._head_size and in_head and self._head_size + size > self.server.limits.head_bytes_max:
            self._refuse_long(handler, message)
        self._head_size = 0
        if self.head_deadline:
            self.head_deadline = 0.0
            self.server.heads.discard(self)
        if handler.queued > 1 and not self._charge(size + handler.queued * QUEUED_COST):
            self.refuse(Overloaded("too much waits here to be answered; retry on another connection", retry_after_s=1))

    def _refuse_long(self, handler: Handler, message: Any) -> None:
        """Refuse a head that is whole and was too long all the same."""
        raw = getattr(message, "raw_headers", ())
        if sum(len(name) + len(value) + 4 for name, value in raw) > self.server.limits.head_bytes_max:
            handler.replace_newest(Refusal(self._too_large()))

    def _head_grew(self, handler: Handler, size: int) -> None:
        """Some bytes of a head came, and it is not whole."""
        if not self.head_deadline:
            self._expect_head()
        self._head_size += size
        if self._head_size > self.server.limits.head_bytes_max:
            self.refuse(self._too_large())
        elif self._head_size > FEW_BYTES and not self._charge(size):
            self.refuse(Overloaded("too many requests with long headers are on their way; retry", retry_after_s=1))

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(
            f"a request's line and headers have at most {self.server.limits.head_bytes_max} bytes together"
        )

    def _charge(self, size: int) -> bool:
        if not self.server.admission.hold_head(size):
            return False
        self.head_charged += size
        self.server.charged.add(self)
        return True

    def _expect_head(self) -> None:
        self.head_deadline = self.server.now() + self.server.limits.head_timeout_s
        self.server.heads.add(self)

    def head_is_late(self) -> None:
        """The time for a head is over. Who began one is told so, who did not is not there."""
        if self.handler is None or not self._head_size:
            self.transport.close()
        else:
            seconds = self.server.limits.head_timeout_s
            self.refuse(RequestTimeout(f"the request's headers did not come within {seconds:g} s"))

    def refuse(self, error: AmbryError) -> None:
        """Answer what is being sent with an error, after what stands before it, and read no more."""
        self.server.heads.discard(self)
        self.head_deadline = 0.0
        if self.handler is not None:
            self.handler.refuse(Refusal(error))

    @property
    def idle(self) -> bool:
        """Whether nothing of a request is here: it may be closed, and nobody loses anything."""
        handler = self.handler
        return not self._head_size and (handler is None or handler.idle)

    def eof_received(self) -> bool:
        """The client sends no more. It still gets the answers to what it asked."""
        handler = self.handler
        self._stop_lingering()
        if handler is None:
            return False
        if handler.refused:
            return True
        if not self._body.is_eof():
            _fail(self._body, web.RequestPayloadError("the client ended it early"))
        elif handler.half_a_head():
            self.refuse(InvalidRequest("the request's headers are not whole"))
        elif handler.idle:
            return False
        handler.end_input()
        return True

    async def linger(self) -> None:
        """Send no more, and wait until the client has seen that: it may still be sending, and would be reset."""
        if self.transport.is_closing():
            return
        self.transport.write_eof()
        self._lingering = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.server.lingering_s):
                await self._lingering

    def _stop_lingering(self) -> None:
        if self._lingering is not None and not self._lingering.done():
            self._lingering.set_result(None)

    # --- the end ---

    def abort(self, reason: str) -> None:
        """End it at once; who waits for it to take bytes sees a ConnectionError. `reason` is for the log."""
        self.broken = reason
        self.transport.abort()

    def turn_down(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        """Answer every further request with `handle`; what is being answered is not touched."""
        if self.handler is None:
            self.handler = self.server.make_handler(self)
        self.handler.turn_down(handle)

    def give_up(self, error: AmbryError) -> None:
        """Stop what is under way: an upload is refused with `error`, an answer is broken off."""
        if not self._body.is_eof():
            _fail(self._body, Refusal(error))
        elif self._head_size:
            self.refuse(error)
        elif self.transport.get_write_buffer_size():
            self.abort("the frontend stopped")

    def end(self) -> asyncio.Task[None] | None:
        """Close it, whatever is under way; the task that ends with it."""
        task = self.handler.cancel() if self.handler is not None else None
        self.transport.close() if self.idle else self.transport.abort()
        return task

    # --- writing ---

    def pause_writing(self) -> None:
        self.unsent = 0
        self.server.slow.add(self)
        if self.handler is not None:
            self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.server.slow.discard(self)
        self.stalled_s = 0.0
        if self.patience is not None:
            self.patience.moved(self.unsent)
        if self.handler is not None:
            self.handler.resume_writing()


def _fail(body: StreamReader, error: Exception) -> None:
    """Let whoever reads a body see an error, and nobody wait for the rest of it."""
    body.set_exception(error)
    body.feed_eof()

"""One client's connection: what it may send before it is heard, and what is kept while it is slow.

aiohttp parses and answers (`Handler`); between it and the socket stands `Connection`, which decides how much is read at a
time. Reading goes through one buffer that all connections share, so a connection holds only what the parser keeps (a head
within its bound, a body up to one read) and an answer that the client has not taken. Nothing is made for a connection before
its first byte.

Answers go to the kernel at once, and what it does not take is waited for: who has awaited a write knows that it took all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from ambry.errors import AmbryError, InvalidRequest, Overloaded, RequestTimeout
from ambry.service.listener import unconfirmed
from frontend.http import framing
from frontend.http.admission import FEW_BYTES, Patience
from frontend.http.handler import LINE_SIZE_MAX, Handler, Refusal

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
        "_ahead", "_body", "_body_left", "_chunks", "_feeding", "_head_size", "_line", "_lingering",
        "_no_more", "_requests", "_view", "broken", "client", "handler", "head_charged", "head_deadline", "looked_at",
        "patience", "server", "transport", "unsent",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, server: HttpServer, client: str) -> None:
        self.server = server
        self.client = client
        self.handler: Handler | None = None
        self._view = server.view
        self._body: StreamReader = EMPTY_PAYLOAD
        self._ahead = b""
        """What was read and the parser does not take yet: at most one read."""
        self._feeding = False
        self._no_more = False
        """Whether the client said that it sends no more."""
        self._body_left = 0
        """Bytes of it that have not come, where its length is known."""
        self._chunks: framing.ChunkedBody | None = None
        """Where it ends, for a chunked one."""
        self._line = b""
        """The request line of a head that is not finished, as far as it came, and what came with its end."""
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
        """Bytes written that it had not confirmed at the last look, which is the end when it was ended."""
        self.looked_at = 0.0
        """When that was, on the event loop's clock."""
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
        self._ahead += self._view[:size]
        self.go_on()
        if self._ahead and handler.queued > 1 and not self._charge(size + handler.queued * QUEUED_COST):
            self.refuse(Overloaded("too much waits here to be answered; retry on another connection", retry_after_s=1))

    def go_on(self) -> None:
        """Give the parser what was read, as far as it takes it now, cut behind every request.

        It forgets whole requests that a broken one follows, and what it keeps is not seen here any more.
        """
        handler = self.handler
        if handler is None or self._feeding:
            return
        self._feeding = True
        try:
            self._feed(handler)
        except BaseException:
            # What the parser was given is lost, and what comes next would be taken for something that it is not.
            self.abort("a bug while it was read")
            raise
        finally:
            self._feeding = False
        if self._no_more and not self._ahead and not handler.refused and not self._input_ended(handler):
            self.transport.close()

    def _feed(self, handler: Handler) -> None:
        data, self._ahead = self._ahead, b""
        self._forget_chunks(handler)
        while data and not handler.refused:
            in_head = self._body.is_eof()
            if in_head and self._chunks is not None and not self._chunks.ended:
                self.refuse(framing.misplaced())
                break
            if handler.full(heads=in_head):
                self._ahead = data
                break
            end = self._end_of_piece(data)
            if self._chunks is not None and self._chunks.error is not None:
                self._fail(self._body, Refusal(self._chunks.error))
                handler.end_input()
                break
            piece, data = data[:end], data[end:]
            self._body_left = max(0, self._body_left - len(piece))
            body = self._body
            handler.data_received(piece)
            if handler.received != self._requests:
                self._head_came(handler, piece, None if in_head else body)
            elif in_head and handler.hearing:
                self._head_grew(handler, piece)
            self._forget_chunks(handler)

    def _forget_chunks(self, handler: Handler) -> None:
        """After a chunked body the parser holds trailers, and takes the last line for a header of the next request."""
        if self._chunks is not None and self._chunks.ended and self._body.is_eof():
            handler.renew_parser()
            self._chunks = None

    def _end_of_piece(self, data: bytes) -> int:
        """Where the head or the body that is being read may end in these bytes."""
        if self._body.is_eof():
            if data[0] in b"\r\n" and not self._head_size:
                return len(data) - len(data.lstrip(b"\r\n"))
            return framing.next_cut(data)
        return self._chunks.end(data, self._charge) if self._chunks is not None else self._body_left or len(data)

    def _head_came(self, handler: Handler, piece: bytes, before: StreamReader | None) -> None:
        """A head is whole, or cannot be understood; or the body that was being read `before` cannot."""
        self._requests = handler.received
        line = framing.request_line(self._line + piece)
        size = self._head_size + len(piece)
        self._line, self._head_size = b"", 0
        message, self._body = handler.newest
        if handler.newest_is_refused:
            handler.refused = True
            if before is not None and (not before.is_eof() or before.exception() is not None):
                # What cannot be understood is the body of a request that is being answered already.
                handler.drop_newest()
                self._fail(before, web.RequestPayloadError(message.message))
                handler.end_input()
            else:
                handler.refuses_head = line.startswith(b"HEAD ")
        else:
            self._take_up(handler, message, line, size)
        if self.head_deadline:
            self.head_deadline = 0.0
            self.server.heads.discard(self)

    def _take_up(self, handler: Handler, message: RawRequestMessage, line: bytes, size: int) -> None:
        """Refuse a head that the parser takes and this server does not; else get ready for what follows it."""
        size_max = self.server.limits.head_bytes_max
        error = framing.objection(line, message, size, size_max) if self._chunks is None else framing.misplaced()
        if error is not None:
            handler.refuses_head = message.method == "HEAD"
            handler.replace_newest(Refusal(error))
        elif framing.is_last(message):
            handler.refused = True
            handler.end_input()
        else:
            self._chunks = framing.ChunkedBody(size_max) if message.chunked else None
            self._body_left = framing.body_size(message)

    def _head_grew(self, handler: Handler, piece: bytes) -> None:
        """Some bytes of a head came, and it is not whole."""
        size = len(piece)
        if not self._head_size and not piece.strip(b"\r\n"):
            return  # empty lines before a request, which are none of it (RFC 9112 section 2.2)
        if len(self._line) <= LINE_SIZE_MAX and b"\r\n" not in self._line:
            self._line = (self._line + piece).lstrip(b"\r\n")
        if not self.head_deadline:
            self._expect_head()
        self._head_size += size
        if self._head_size > self.server.limits.head_bytes_max:
            self.refuse(framing.too_large(self.server.limits.head_bytes_max))
        elif self._head_size > FEW_BYTES and not self._charge(size):
            self.refuse(Overloaded("too many requests with long headers are on their way; retry", retry_after_s=1))

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
            self.handler.refuses_head = self._line.startswith(b"HEAD ")
            self.handler.refuse(Refusal(error))

    @property
    def idle(self) -> bool:
        """Whether nothing of a request is here: it may be closed, and nobody loses anything."""
        return not self._head_size and not self._ahead and (self.handler is None or self.handler.idle)

    def eof_received(self) -> bool:
        """The client sends no more. It still gets the answers to what it asked."""
        handler = self.handler
        self._stop_lingering()
        if handler is None:
            return False
        if handler.refused:
            return True
        self._no_more = True
        return True if self._ahead else self._input_ended(handler)

    def _input_ended(self, handler: Handler) -> bool:
        """All that the client sent was taken up, and it sends no more. Whether there is something to answer."""
        if not self._body.is_eof():
            self._fail(self._body, web.RequestPayloadError("the client ended it early"))
        elif handler.half_a_head():
            self.refuse(InvalidRequest("the request's headers are not whole"))
        elif handler.idle:
            return False
        handler.end_input()
        return True

    async def linger(self) -> None:
        """Send no more, and wait until the client has seen that: it may still be sending, and would be reset."""
        if self._no_more or self.transport.is_closing() or self._lingering is not None:
            return
        self._lingering = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError, OSError):  # the other end may be gone already
            self.transport.write_eof()
            async with asyncio.timeout(self.server.lingering_s):
                await self._lingering
        self._body.feed_eof()  # nobody waits for the rest of it

    def _stop_lingering(self) -> None:
        if self._lingering is not None and not self._lingering.done():
            self._lingering.set_result(None)

    def _fail(self, body: StreamReader, error: Exception) -> None:
        """Let whoever reads a body see an error, and nobody wait for the rest of it, or take that for a request."""
        if self.handler is not None:
            self.handler.refused = True
        self._ahead = b""
        body.set_exception(error)
        body.feed_eof()

    # --- the end ---

    def abort(self, reason: str) -> None:
        """End it at once; who waits for it to take bytes sees a ConnectionError. The first `reason` goes into the log."""
        if not self.broken and not self.transport.is_closing():
            self.unsent = unconfirmed(self.transport)
        self.broken = self.broken or reason
        self.transport.abort()

    def turn_down(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        """Answer every further request with `handle`; what is being answered is not touched."""
        if self.handler is None:
            self.handler = self.server.make_handler(self)
        self.handler.turn_down(handle)

    def give_up(self, error: AmbryError) -> None:
        """Stop what is under way: an upload is refused with `error`, an answer is broken off."""
        if not self._body.is_eof():
            self._fail(self._body, Refusal(error))
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
        self.looked_at = self.server.now()
        self.server.slow.add(self)
        if self.handler is not None:
            self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.server.slow.discard(self)
        if self.patience is not None:
            self.patience.moved(self.unsent)
        if self.handler is not None:
            self.handler.resume_writing()

"""Requests out of bytes: aiohttp's half of a connection, and what it is given to parse.

What was read is cut behind every request before the parser sees it, and refused where the parser takes what this server does
not speak. What costs much for its size waits for its turn. aiohttp calls the handler and keeps the answers in order.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import _ErrInfo

from ambry.errors import AmbryError, InvalidRequest, Overloaded
from frontend.http import framing
from frontend.http.admission import FEW_BYTES
from frontend.http.past_parser import PastParser
from frontend.http.refusals import LINE_SIZE_MAX, Refusal
from frontend.http.turns import LINES_MAX, TINY_BYTES

if TYPE_CHECKING:
    from frontend.http.connections import Connection
    from frontend.http.server import HttpServer

QUEUE_MAX = 2
"""Requests that are read and wait for their turn; further ones stay in the socket."""
QUEUED_COST = 2 << 10
"""What a request costs while it waits, beside the bytes of its head."""


class Handler(PastParser):
    """aiohttp's half of a connection, from its first byte on."""

    __slots__ = (
        "_feeding", "_last", "_requests", "ended",
    )  # fmt: skip

    def __init__(self, server: HttpServer, connection: Connection, **options: Any) -> None:
        super().__init__(server, connection, **options)
        self._max_msg_queue_size = QUEUE_MAX
        self._msg_queue_resume_size = QUEUE_MAX // 2
        self.ended = False
        """Whether the client sends nothing more: the answer to what is queued last is the last."""
        self._feeding = False
        self._requests = 0
        """Heads that were looked at, of those that the parser counted."""
        self._last = False
        """Whether what follows it is no request."""

    @property
    def writing_paused(self) -> bool:
        """Whether whoever writes waits."""
        return bool(self._paused)

    # --- what was read ---

    def feed(self, data: bytes) -> None:
        """Give the parser what was read, as far as it takes it now, cut behind every request.

        It forgets whole requests that a broken one follows, and what it keeps is not seen here any more.
        """
        self._ahead = self._ahead + data if self._ahead else data
        self._go_on()
        queued = self.queued
        if self._ahead and queued > 1 and not self.connection.charge(len(data) + queued * QUEUED_COST):
            self.refuse(Overloaded("too much waits here to be answered; retry on another connection", retry_after_s=1))

    def wait_for_a_turn(self) -> None:
        """The next read may wait until it is its turn."""
        if not self._waits:
            self._wait_for_a_turn()

    def _go_on(self) -> None:
        if self._feeding or self._waits:
            return
        self._feeding = True
        try:
            self._parse()
        except BaseException:
            # What the parser was given is lost, and what comes next would be taken for something that it is not.
            self.connection.abort("a bug while it was read")
            raise
        finally:
            self._feeding = False
        if self.no_more and not self._ahead and not self.refused and not self._input_over():
            self.connection.transport.close()

    def _parse(self) -> None:
        data, self._ahead = self._ahead, b""
        at, size = 0, len(data)
        drips = 0 < size < TINY_BYTES and self._within_a_request()
        while at < size and not (self.refused or self._close or self._force_close):
            body = self._body
            in_head = body.is_eof()
            if in_head and self._last:
                return self._hear_no_more()
            if in_head and self._chunks is not None and not self._chunks_over(self._chunks):
                return
            if self._reading_paused or (in_head and len(self._messages) >= QUEUE_MAX):
                self._ahead = data[at:]
                return
            if in_head and not self.head_size and data[at] in b"\r\n":
                # Empty lines before a request are none of it (RFC 9112 section 2.2).
                data = data[at:].lstrip(b"\r\n")
                at, size = 0, len(data)
                if not data:
                    self._wait_for_a_turn()
                continue
            end = framing.next_cut(data, at) if in_head else self._end_of_body(data, at)
            if end < 0:
                return
            piece = data[at:end]
            at = end
            if self._past:
                body.feed_data(piece)
                self._past_parser(len(piece))
                continue
            self.body_left = max(0, self.body_left - len(piece))
            self.data_received(piece)
            if self._request_count != self._requests:
                self._head_came(piece, None if in_head else body)
            elif in_head:
                self._head_grew(piece)
            elif at < size and self._chunks is not None and not self._chunks.ended:
                # That was a share; the others first. There is no use in reading much of it at a time.
                self._ahead = data[at:]
                self.connection.widen(False)
                self._wait_for_a_turn()
                return
        if drips and self._within_a_request():
            self._wait_for_a_turn()

    def _within_a_request(self) -> bool:
        return self.head_size > 0 or not self._body.is_eof()

    def _chunks_over(self, chunks: framing.ChunkedBody) -> bool:
        """Get ready for the request behind a chunked body. False where that is not to be had."""
        if not chunks.ended:
            self.refuse(framing.misplaced())
            return False
        # The parser holds the trailers, and takes the last line for a header of the next request.
        self._chunks = None
        self._renew_parser()
        return True

    def _end_of_body(self, data: bytes, at: int) -> int:
        """How far the body that is being read goes in these bytes, or a share of it; negative where it ends in an error."""
        chunks = self._chunks
        if chunks is None:
            return at + self.body_left if self.body_left else len(data)
        end = chunks.end(data, self.connection.charge, at=at, lines_max=LINES_MAX)
        if chunks.error is None:
            return end
        self._fail(self._body, Refusal(chunks.error))
        self.end_input()
        return -1

    def _head_came(self, piece: bytes, before: StreamReader | None) -> None:
        """A head is whole, or cannot be understood; or the body that was being read `before` cannot."""
        self._requests = self._request_count
        head = self._line + piece if self._line else piece
        size = self.head_size + len(piece)
        self._line, self.head_size = b"", 0
        message, self._body = self._messages[-1]
        if not isinstance(message, _ErrInfo):
            self._take_up(message, head, size)
        else:
            self.refused = True
            # Its traceback keeps the frame in which aiohttp keeps it: a circle with all of the connection.
            message.exc.__traceback__ = None
            if before is not None and (not before.is_eof() or before.exception() is not None):
                # What cannot be understood is the body of a request that is being answered already.
                self._messages.pop()
                self._fail(before, web.RequestPayloadError(message.message))
                self.end_input()
            else:
                self.head_is_refused(head, message)
        if self.connection.head_deadline:
            self.connection.head_is_over()

    def _take_up(self, message: RawRequestMessage, head: bytes, size: int) -> None:
        """Refuse a head that the parser takes and this server does not; else get ready for what follows it."""
        size_max = self.connection.server.limits.head_bytes_max
        found = framing.judge(head, message, size, size_max) if self._chunks is None else framing.misplaced()
        if isinstance(found, AmbryError):
            self.refuses_head = message.method == "HEAD"
            self._messages.pop()
            return self.answer_last(Refusal(found))
        self.body_left = found.body_size
        self._chunks = framing.ChunkedBody(size_max) if message.chunked else None
        self._last = found.last
        if found.last and not message.should_close:
            self._messages[-1] = (message._replace(should_close=True), self._body)
        if found.last and self._body.is_eof():
            self._hear_no_more()

    def _head_grew(self, piece: bytes) -> None:
        """Some bytes of a head came, and it is not whole."""
        connection = self.connection
        if len(self._line) <= 2 * LINE_SIZE_MAX and b"\r\n" not in self._line:
            self._line += piece
        if not connection.head_deadline:
            connection.expect_head()
        self.head_size += len(piece)
        size_max = connection.server.limits.head_bytes_max
        if self.head_size > size_max:
            self.refuse(framing.too_large(size_max))
        elif self.head_size > FEW_BYTES and not connection.charge(len(piece)):
            self.refuse(Overloaded("too many requests with long headers are on their way; retry", retry_after_s=1))

    # --- whose turn it is ---

    def _wait_for_a_turn(self) -> None:
        self._waits = True
        self._pause_reading_for_buffer()
        self.connection.server.turns.wait(self)

    def take_turn(self) -> bool:
        self._waits = False
        if self.transport is None:
            return False
        request = self._current_request
        if self._ahead and request is not None and not request.writer.output_size:
            gone = self.connection.left(ask=request._version >= HttpVersion11)
            if gone:
                return False
        self._go_on()
        if not self._waits and len(self._messages) < QUEUE_MAX:
            self._resume_reading_for_buffer()
        return True

    def resume_reading(self, resume_parser: bool = True) -> None:
        if not self._reading_paused:
            return
        super().resume_reading(resume_parser)
        if self._request_count != self._requests:
            # What the parser had kept of the body is malformed.
            self._head_came(b"", self._body)
        self._go_on()

    def _resume_reading_if_drained(self) -> None:
        """There is room for another request that waits: it has its turn as everybody."""
        if self._waits:
            return
        if self._ahead:
            self._wait_for_a_turn()
        else:
            self.take_turn()

    # --- the end of what comes ---

    def input_ends(self) -> bool:
        """The client sends no more. It still gets the answers to what it asked; False where it asked nothing."""
        if self.refused:
            return True
        self.no_more = True
        return True if self._ahead else self._input_over()

    def _input_over(self) -> bool:
        """All that the client sent was taken up, and it sends no more. Whether there is something to answer."""
        if not self._body.is_eof():
            self._fail(self._body, web.RequestPayloadError("the client ended it early"))
        elif (self._chunks is None or not self._chunks.ended) and self.half_a_head():
            self.refuse(InvalidRequest("the request's headers are not whole"))
        elif self.idle:
            return False
        self.end_input()
        return True

    def end_input(self) -> None:
        """The client sends no more: the answer to what is queued last is the last."""
        self.ended = True
        self.close_after_last()

    def close_after_last(self) -> None:
        if self.ended and not self._messages:
            self.close()

    def _hear_no_more(self) -> None:
        """What follows is no request."""
        self.refused = True
        self.end_input()

    def give_up(self, error: AmbryError) -> bool:
        """Refuse what has not come as a whole, with `error`. False where there is no such thing."""
        if not self._body.is_eof():
            self._fail(self._body, Refusal(error))
        elif self.head_size:
            self.refuse(error)
        else:
            return False
        return True

    def listen_no_more(self) -> None:
        """Read and forget what comes from now on, whatever kept it from being read."""
        self.refused = True
        self._messages.clear()
        self._body.feed_eof()
        self._ahead, self._reading_paused = b"", False
        if not self._waits:
            self._resume_reading_for_buffer()

    def _fail(self, body: StreamReader, error: Exception) -> None:
        """Let whoever reads a body see an error, and nobody wait for the rest of it, or take that for a request."""
        self.refused = True
        self._ahead = b""
        body.set_exception(error)
        body.feed_eof()

    # --- answers ---

    def cancel(self) -> asyncio.Task[None] | None:
        if self._task_handler is not None:
            self._task_handler.cancel()
        return self._task_handler

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        self.close_after_last()
        finished, reset = await super().finish_response(request, resp, start_time)
        if not reset and (not finished.keep_alive or (self.refused and not self._messages)):
            await self.connection.linger()
        return finished, reset

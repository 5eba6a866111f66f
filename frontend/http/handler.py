"""aiohttp's half of a connection: it parses requests, calls the handler, and keeps the answers in order.

Here also is what a client is told whose request the parser or the edge refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from ambry.errors import (
    AmbryError,
    HeadersTooLarge,
    HttpVersionNotSupported,
    InternalError,
    InvalidRequest,
    NotSupported,
    UriTooLong,
)
from ambry.service.logs import get_logger

if TYPE_CHECKING:
    from frontend.http.connections import Connection
    from frontend.http.server import HttpServer

log = get_logger()

LINE_SIZE_MAX = 8 << 10
FIELD_SIZE_MAX = 16 << 10
"""Bounds on the request line and on one header, bytes. They differ, since the parser tells only which of them was passed."""
HEADERS_MAX = 128
QUEUE_MAX = 2
"""Requests that are read and wait for their turn; further ones stay in the socket."""


class Refusal(HttpProcessingError):
    """Carries what the edge itself has against a request to where it is answered."""

    def __init__(self, error: AmbryError) -> None:
        super().__init__(code=error.status, message=error.message)
        self.error = error


def refusal(error: BaseException | None) -> AmbryError:
    """What to tell a client whose request the parser or the edge refused; never what it sent."""
    if isinstance(error, Refusal):
        return error.error
    if isinstance(error, LineTooLong):
        if LINE_SIZE_MAX in error.args:
            return UriTooLong(f"a request line has at most {LINE_SIZE_MAX} bytes")
        return HeadersTooLarge(f"a header has at most {FIELD_SIZE_MAX} bytes")
    if isinstance(error, HttpProcessingError):
        # The parser tells these apart in words alone, and repeats behind them what it was sent.
        words = error.message.partition("\n\n")[0]
        if "Too many headers" in words:
            return HeadersTooLarge(f"a request has at most {HEADERS_MAX} headers")
        if "Invalid HTTP version" in words or words.startswith("Pause on PRI"):
            return HttpVersionNotSupported("this server speaks HTTP/1.1 and HTTP/1.0")
        if "`Transfer-Encoding`" in words:
            return NotSupported("of the transfer codings only chunked is known here, once and as the last")
        return InvalidRequest("this is not a well-formed HTTP/1.1 request")
    return InternalError("a bug in this server; please report the request id")


class Handler(web.RequestHandler):
    """aiohttp's half of a connection."""

    __slots__ = ("connection", "ended", "refused", "refuses_head")

    def __init__(self, server: HttpServer, connection: Connection, **options: Any) -> None:
        super().__init__(server, **options)
        self._max_msg_queue_size = QUEUE_MAX
        self._msg_queue_resume_size = QUEUE_MAX // 2
        self.connection = connection
        self.ended = False
        """Whether the client sends nothing more: the answer to what is queued last is the last."""
        self.refused = False
        """Whether what comes is not listened to any more: a refusal is the last answer."""
        self.refuses_head = False
        """Whether it is a HEAD that is refused so: the answer has no body (RFC 9110 section 9.3.2)."""

    @property
    def received(self) -> int:
        """Requests whose heads came, those that were refused too."""
        return self._request_count

    @property
    def newest(self) -> tuple[Any, StreamReader]:
        """The request that came last, which nobody has taken up yet, and its body."""
        return self._messages[-1]

    @property
    def queued(self) -> int:
        return len(self._messages)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered or waits for it."""
        return self._waiter is not None and not self._waiter.done() and not self._messages

    @property
    def hearing(self) -> bool:
        """Whether what comes is still parsed."""
        return not (self._close or self._force_close)

    def renew_parser(self) -> None:
        """Forget everything about the requests so far."""
        self._parser = HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=LINE_SIZE_MAX,
            max_field_size=FIELD_SIZE_MAX,
            max_headers=HEADERS_MAX,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
        )

    def full(self, *, heads: bool) -> bool:
        """Whether no more may be given to the parser now: the body that comes is not taken, or enough `heads` wait."""
        return self._reading_paused or (heads and len(self._messages) >= QUEUE_MAX)

    def data_received(self, data: bytes) -> None:
        if not self.refused:
            # A broken parser would say again, at every chance, that it is broken.
            super().data_received(data)

    def resume_reading(self, resume_parser: bool = True) -> None:
        super().resume_reading(resume_parser)
        self.connection.go_on()

    def _resume_reading_if_drained(self) -> None:
        self.connection.go_on()
        if len(self._messages) < QUEUE_MAX:
            self._resume_reading_for_buffer()

    def half_a_head(self) -> bool:
        """Whether a request has begun to come, and its head is not whole. Ends the parser."""
        try:
            return self._parser is not None and self._parser.feed_eof() is not None
        except HttpProcessingError:
            return True

    def end_input(self) -> None:
        """The client sends no more: the answer to what is queued last is the last."""
        self.ended = True
        self.close_after_last()

    def close_after_last(self) -> None:
        if self.ended and not self._messages:
            self.close()

    def turn_down(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        self._request_handler = handle

    def cancel(self) -> asyncio.Task[None] | None:
        task = self._task_handler
        if task is not None:
            task.cancel()
        return task

    @property
    def newest_is_refused(self) -> bool:
        """Whether what came last could not be understood."""
        return isinstance(self._messages[-1][0], _ErrInfo)

    def replace_newest(self, refused: Refusal) -> None:
        self.drop_newest()
        self.refuse(refused)

    def drop_newest(self) -> None:
        self._messages.pop()

    def refuse(self, refused: Refusal) -> None:
        """Answer `refused` after what is queued, and hear no more."""
        self.refused = True
        self._messages.append((_ErrInfo(status=refused.code, exc=refused, message=refused.message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        finished, reset = await super().finish_response(request, resp, start_time)
        forced = request.keep_alive and not finished.keep_alive and not self.connection.server.draining
        if (forced or (self.refused and not self._messages)) and not reset:
            # It is we who end it, and the client may still be sending (RFC 9112 section 9.6).
            self.refused = True
            await self.connection.linger()
        return finished, reset

    def log_exception(self, *args: Any, **options: Any) -> None:
        error = options.get("exc_info")
        if isinstance(error, (web.RequestPayloadError, HttpProcessingError)):
            # It is read and forgotten, and there is nobody to answer.
            log.info(
                "the rest of a body that was not wanted is not whole", client=self.connection.client, error=str(error)
            )
        else:
            super().log_exception(*args, **options)

    def _process_keepalive(self) -> None:
        if self.connection._head_size:
            # It is not idle: the deadline for heads decides.
            self._keepalive_handle = None
            return
        super()._process_keepalive()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request whose handling failed; ConnectionError when some of an answer was sent already."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response was sent already")
        response = self.connection.server.refused(refusal(exc), exc, self.connection)
        response.force_close()
        return response

    def _make_error_handler(self, err_info: _ErrInfo) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            # What it was sent was no request, so aiohttp takes it for the oldest version there is.
            request._version = HttpVersion11
            if self.refuses_head:
                request._method = "HEAD"
            response = self.handle_error(request, err_info.status, err_info.exc, err_info.message)
            await response.prepare(request)
            await response.write_eof()
            await self.connection.linger()
            return response

        return handle

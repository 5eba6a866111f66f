"""What a client is told whose request the parser or the edge refused before it was one."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientConnectionResetError, HttpVersion11, web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
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
REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: [^ \n]+ HTTP/\d\.\d\r?\n| [^\n]*\Z|\Z)")
"""One that is well-formed, whatever its method is, or as much of it as came (RFC 9112 section 3)."""
METHOD_UNKNOWN = "this server knows no such method (RFC 9110 section 9.1); methods are in upper case"
PARSER_LIMITS: Final[dict[str, Any]] = {
    "max_line_size": LINE_SIZE_MAX,
    "max_field_size": FIELD_SIZE_MAX,
    "max_headers": HEADERS_MAX,
}


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
        words = error.message.partition("\n\n")[0].lower()
        for said, refused, sentence in _KINDS:
            if any(each in words for each in said):
                return refused(sentence)
        return InvalidRequest("this is not a well-formed HTTP/1.1 request")
    return InternalError("a bug in this server; please report the request id")


_TLS = "TLS was spoken where plain HTTP is: use http://, or the port of the proxy in front"
_LINE = "the request line is malformed: a method, a target and HTTP/1.1, one space between them (RFC 9112 section 3)"
_TARGET = "the target has characters that must stand there percent-encoded (RFC 9112 section 3.2)"
_FIELD = "a header is malformed: a name, a colon, and a value without control characters in a line (RFC 9112 section 5)"
_CHUNK = "the chunks of the body are malformed (RFC 9112 section 7.1)"
_KINDS: tuple[tuple[tuple[str, ...], type[AmbryError], str], ...] = (
    (("https traffic",), InvalidRequest, _TLS),
    (("too many headers",), HeadersTooLarge, f"a request has at most {HEADERS_MAX} headers"),
    (("invalid http version", "pause on pri"), HttpVersionNotSupported, "this server speaks HTTP/1.1 and HTTP/1.0"),
    (("can't be present",), InvalidRequest, "Content-Length or Transfer-Encoding, not both (RFC 9112 section 6.2)"),
    (
        ("`transfer-encoding`",),
        NotSupported,
        "of the transfer codings only chunked is known here, once and as the last",
    ),
    (("content-length",), InvalidRequest, "Content-Length is a number of bytes, and stands there once"),
    (("'host' header",), InvalidRequest, "a request of HTTP/1.1 has a Host header (RFC 9112 section 3.2)"),
    (("data after `connection",), InvalidRequest, "nothing comes after a request that says Connection: close"),
    (("invalid method for",), NotSupported, METHOD_UNKNOWN),
    (("chunk",), InvalidRequest, _CHUNK),
    (("header",), InvalidRequest, _FIELD),
    ((" url",), InvalidRequest, _TARGET),
    (("status line", "method", "start line", "version", "expected"), InvalidRequest, _LINE),
)
"""What stands in the parser's reason, in lower case; the first that fits counts."""


class Refusing(web.RequestHandler):
    """aiohttp's half of a connection, as far as it answers what is no request."""

    __slots__ = ("_line", "connection", "refused", "refuses_head")

    def __init__(self, server: HttpServer, connection: Connection, **options: Any) -> None:
        super().__init__(server, **options)
        self.connection = connection
        self.refused = False
        """Whether what comes is not listened to any more: a refusal is the last answer."""
        self.refuses_head = False
        """Whether it is a HEAD that is refused so: the answer has no body (RFC 9110 section 9.3.2)."""
        self._line = b""
        """The request line of a head that is not finished, as far as it came, and what came with its end."""

    def connection_lost(self, exc: BaseException | None) -> None:
        # A future keeps its exception, that its traceback, and that the frame in which the future is waited for, with all that
        # is held there: a circle, in which the last piece of every broken download stayed until the collector looked.
        waiter, self._drain_waiter = self._drain_waiter, None
        super().connection_lost(exc)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def start(self) -> None:
        """Answer requests, one after the other. Who was lost before this had its first turn asks nothing."""
        if self.transport is not None:
            await super().start()

    async def _drain_helper(self) -> None:
        await super()._drain_helper()
        if self.transport is None:
            raise ClientConnectionResetError("Connection lost")

    @property
    def takes_more(self) -> bool:
        """Whether nothing keeps the next bytes from being read."""
        return not (self._reading_paused or self._buffer_paused)

    def refuse(self, error: AmbryError) -> None:
        """Answer what is being sent with an error, after what stands before it, and read no more."""
        self.connection.head_is_over()
        self.refuses_head = self._line.startswith(b"HEAD ")
        self.answer_last(Refusal(error))

    def head_is_refused(self, head: bytes, said: _ErrInfo) -> None:
        """The parser has refused this head, for what it `said` last."""
        self.refuses_head = head.startswith(b"HEAD ")
        if isinstance(said.exc, BadHttpMethod) and REQUEST_LINE.match(head):
            self._messages.pop()
            self.answer_last(Refusal(NotSupported(METHOD_UNKNOWN)))

    def answer_last(self, refused: Refusal) -> None:
        self.refused = True
        self._messages.append((_ErrInfo(status=refused.code, exc=refused, message=refused.message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def turn_down(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        """Answer every further request with `handle`; what is being answered is not touched."""
        self._request_handler = handle

    def half_a_head(self) -> bool:
        """Whether a request has begun to come, and its head is not whole. Ends the parser."""
        try:
            return self._parser is not None and self._parser.feed_eof() is not None
        except HttpProcessingError:
            return True

    def log_exception(self, *args: Any, **options: Any) -> None:
        error = options.get("exc_info")
        if isinstance(error, (web.RequestPayloadError, HttpProcessingError)):
            # It is read and forgotten, and there is nobody to answer.
            log.info(
                "the rest of a body that was not wanted is not whole", client=self.connection.client, error=str(error)
            )
        else:
            super().log_exception(*args, **options)

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
            return response

        return handle

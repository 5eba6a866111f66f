"""aiohttp's low-level server, with answers of our own to what its parser refuses.

A request that is no HTTP never reaches the dispatcher. aiohttp would answer in plain text, repeat what it was sent, and log a
traceback; here it is answered as everything else, with a problem that has a code and a request id, and logged as one line.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from ambry.errors import AmbryError, HeadersTooLarge, InternalError, InvalidRequest, UriTooLong
from ambry.ids import new_request_id
from ambry.service.logs import get_logger
from frontend.http.route import Dialect

log = get_logger()


LINE_SIZE_MAX = 8 << 10
FIELD_SIZE_MAX = 16 << 10
"""Bounds on the request line and on one header, bytes. They differ, since the parser tells only which of them was passed."""


def refusal(error: BaseException | None) -> AmbryError:
    """What to tell a client whose request the parser refused; never what it sent."""
    if isinstance(error, LineTooLong):
        if LINE_SIZE_MAX in error.args:
            return UriTooLong(f"a request line has at most {LINE_SIZE_MAX} bytes")
        return HeadersTooLarge(f"a header has at most {FIELD_SIZE_MAX} bytes")
    if isinstance(error, HttpProcessingError):
        return InvalidRequest("this is not a well-formed HTTP/1.1 request")
    return InternalError("a bug in this server; please report the request id")


class HttpServer(web.Server):
    """Makes connections whose protocol errors are problems of ours."""

    def __init__(
        self,
        handler: Any,
        *,
        random_source: random.Random,
        dialect: Dialect,
        keepalive_timeout_s: float,
        lingering_time_s: float = 2.0,
    ) -> None:
        super().__init__(
            handler,
            access_log=None,
            # Bodies are stored as they come: a gzip body must not arrive unpacked.
            auto_decompress=False,
            keepalive_timeout=keepalive_timeout_s,
            max_line_size=LINE_SIZE_MAX,
            max_field_size=FIELD_SIZE_MAX,
            lingering_time=lingering_time_s,
        )
        self._random = random_source
        self._dialect = dialect

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._random, self._dialect, loop=asyncio.get_running_loop(), **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ("_dialect", "_random")

    def __init__(self, manager: HttpServer, random_source: random.Random, dialect: Dialect, **options: Any) -> None:
        super().__init__(manager, **options)
        self._random = random_source
        self._dialect = dialect

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        request_id = new_request_id(self._random)
        error = refusal(exc)
        log.info("request refused by the parser", request_id=request_id, error=type(exc).__name__, code=error.status)
        if request.writer.output_size > 0:
            raise ConnectionError("a response was sent already")
        response = self._dialect.problem(error, request_id)
        response.headers.update({**self._dialect.common, self._dialect.request_id_header: request_id})
        response.force_close()
        return response

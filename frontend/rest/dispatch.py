"""From an HTTP request to the call that answers it, and from any failure to an answer that helps.

Own dispatch over aiohttp's low-level server: a handful of explicit routes, no regular expressions, no middleware, no
catch-all. Errors become problem+json here and nowhere else.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from aiohttp import web

from ambry import __version__
from ambry.clock import Clock
from ambry.errors import (
    AmbryError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    UriTooLong,
)
from ambry.ids import new_request_id
from ambry.service.admin import json_response, readiness
from ambry.service.logs import get_logger
from frontend import metrics
from frontend.http.body import ClientGone
from frontend.http.problem import problem
from frontend.request import RequestContext
from frontend.rest.blobs import BlobCalls, parse_id
from frontend.rest.request import Request

log = get_logger()

PATH_SIZE_MAX = 4096
STATUS_CLIENT_GONE = 499
"""For metrics and logs: nobody was left to answer."""
_READS = ("GET", "HEAD")


class _Observed:
    """The bound metrics of one operation."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.seconds = metrics.LATENCY.labels(op)
        self._statuses: dict[int, Any] = {}

    def record(self, status: int, seconds: float) -> None:
        counter = self._statuses.get(status)
        if counter is None:
            counter = self._statuses[status] = metrics.REQUESTS.labels(self.op, str(status))
        counter.inc()
        self.seconds.observe(seconds)


class Dispatcher:
    """The handler of the HTTP server."""

    def __init__(
        self,
        calls: BlobCalls,
        *,
        datacenter: str,
        name: str,
        clock: Clock,
        random_source: random.Random,
        unready: Callable[[], list[str]],
        access_log: bool,
        request_timeout_s: float,
    ) -> None:
        self._calls = calls
        self.common = {"x-ambry-datacenter": datacenter, "x-ambry-frontend": name}
        """Headers that every response carries."""
        self._clock = clock
        self._random = random_source
        self._unready = unready
        self._access_log = access_log
        self._timeout_s = request_timeout_s
        self._observed: dict[str, _Observed] = {}

    async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
        context = RequestContext(new_request_id(self._random), timeout_s=self._timeout_s)
        request = Request(http, context, self.common)
        started = self._clock.monotonic()
        metrics.IN_FLIGHT.inc()
        status = STATUS_CLIENT_GONE
        try:
            response = await self._answer(request)
            status = response.status
            if not request.streaming:
                request.prepare_headers(response)
            return response
        finally:
            metrics.IN_FLIGHT.dec()
            self._record(request, status, self._clock.monotonic() - started)

    async def _answer(self, request: Request) -> web.StreamResponse:
        try:
            return await self._route(request)
        except AmbryError as error:
            return self._break(request, error) if request.streaming else self._problem(request, error)
        except (ClientGone, ConnectionError) as gone:
            request.note(error="the client went away")
            return self._break(request, gone)
        except Exception as error:
            log.exception(
                "request failed", request_id=request.context.id, method=request.http.method, path=request.http.raw_path
            )
            if request.streaming:
                return self._break(request, error)
            return self._problem(request, InternalError("a bug in this server; please report the request id"))

    def _break(self, request: Request, error: Exception) -> web.Response:
        """End the connection: the client must see that the body is not whole.

        The response is for aiohttp, which finds the connection closed and is content; an exception it would log as a bug.
        """
        if "error" not in request.noted:
            request.note(error=str(error) or type(error).__name__)
        transport = request.http.transport
        if transport is not None:
            transport.abort()
        return web.Response(status=STATUS_CLIENT_GONE)

    def _problem(self, request: Request, error: AmbryError) -> web.Response:
        request.note(error=error.message, code=type(error).__name__)
        status, headers, body = problem(error, request.context.id)
        if isinstance(error, MethodNotAllowed):
            headers["Allow"] = "GET, HEAD, PUT, POST, DELETE"
        response = web.Response(status=status, headers=headers, body=body)
        if request.http.can_read_body and not request.http.content.is_eof():
            # The rest of a refused upload is not worth reading.
            response.force_close()
        return response

    async def _route(self, request: Request) -> web.StreamResponse:
        http = request.http
        path = http.raw_path.partition("?")[0]
        if len(path) > PATH_SIZE_MAX:
            raise UriTooLong(f"a path has at most {PATH_SIZE_MAX} bytes, this one {len(path)}")
        if not path.startswith("/"):
            raise InvalidRequest("the request target must be a path")
        method = http.method
        first, _, rest = path[1:].partition("/")
        if method in _READS:
            return await self._route_read(request, first, rest)
        if method == "POST" and path == "/":
            request.op = "put"
            return await self._calls.upload(request)
        if method == "PUT":
            return await self._route_put(request, path[1:])
        if method == "DELETE" and first and not rest:
            request.op = "delete"
            return await self._calls.delete(request, parse_id(first))
        raise MethodNotAllowed(f"{method} {path} is not part of this API")

    async def _route_read(self, request: Request, first: str, rest: str) -> web.StreamResponse:
        fixed = self._fixed(first) if not rest else None
        if fixed is not None:
            request.op = "health"
            return fixed
        blob_id = parse_id(first)
        if not rest:
            request.op = request.http.method.lower()
            return await self._calls.read(request, blob_id)
        call = self._calls.SUBRESOURCES.get(rest.lower())
        if call is None:
            raise InvalidRequest(f"a blob has no {rest!r}; there are BlobInfo, UserMetadata, Replicas, BlobChunkIds")
        request.op = rest.lower()
        return await call(self._calls, request, blob_id)

    async def _route_put(self, request: Request, path: str) -> web.StreamResponse:
        lowered = path.lower()
        if lowered == "updatettl":
            request.op = "update_ttl"
            return await self._calls.update_ttl(request)
        if lowered == "undelete":
            request.op = "undelete"
            return await self._calls.undelete(request)
        request.op = "put"
        return await (self._calls.upload_to_path(request, path) if path else self._calls.upload(request))

    def _fixed(self, name: str) -> web.Response | None:
        if not name:
            return json_response({"service": "ambry", "version": __version__, "upload": "POST /", "read": "GET /<id>"})
        lowered = name.lower()
        if lowered == "healthcheck":
            bad = bool(self._unready())
            return web.Response(text="BAD" if bad else "GOOD", status=503 if bad else 200)
        if lowered == "healthz":
            return web.Response(text="ok\n")
        if lowered == "readyz":
            return readiness(self._unready)
        if lowered == "version":
            return json_response({"version": __version__})
        return None

    def _record(self, request: Request, status: int, seconds: float) -> None:
        observed = self._observed.get(request.op)
        if observed is None:
            observed = self._observed[request.op] = _Observed(request.op)
        observed.record(status, seconds)
        if status >= 500:
            write = log.warning
        elif self._access_log and request.op != "health":
            write = log.info
        else:
            return
        write(
            "request",
            request_id=request.context.id,
            method=request.http.method,
            op=request.op,
            status=status,
            ms=round(seconds * 1000, 2),
            **request.noted,
        )

"""One request and its answer on their way through this frontend, whichever API they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import HttpVersion11, web

from frontend.http.connections import Connection
from frontend.http.handler import Handler
from frontend.http.target import Target
from frontend.request import RequestContext


class Exchange:
    """Wraps aiohttp's request; lives as long as it. The steps of the pipeline fill it in, in order."""

    __slots__ = (
        "body_size",
        "common",
        "context",
        "headers",
        "http",
        "method",
        "noted",
        "op",
        "prefixed",
        "selected",
        "streaming",
        "target",
    )

    target: Target
    body_size: int | None
    """Bytes that Content-Length announces, 0 for no body, None for a chunked one."""

    def __init__(self, http: web.BaseRequest, context: RequestContext, common: Mapping[str, str]) -> None:
        """`common` are the headers that its response carries, whatever it is."""
        self.http = http
        self.context = context
        self.method = http.method
        self.headers: dict[str, str] = {}
        """The request's headers: names in lower case, each once (frontend/http/fields.py)."""
        self.op = "other"
        self.noted: dict[str, Any] = {}
        self.prefixed = False
        """Whether the request has headers that the route understands by their beginning."""
        self.selected: Any = None
        """What the route's `select` found, if conditions were to be evaluated: the handler need not look again."""
        self.streaming = False
        """Set once the head of the response has gone out: from then on an error can only break the connection."""
        self.common = common

    def note(self, **pairs: Any) -> None:
        """Put pairs into this request's log line."""
        self.noted.update(pairs)

    def finish_headers(self, response: web.StreamResponse) -> None:
        """Add the headers that every response carries, and end the connection behind one that cannot go on."""
        response.headers.update(self.common)
        protocol = self.http.protocol
        # The parser takes nothing for HTTP that comes after an Upgrade.
        if "upgrade" in self.headers or (isinstance(protocol, Handler) and protocol.last):
            response.force_close()

    @property
    def connection(self) -> Connection | None:
        """The client's connection, which may have ended."""
        protocol = self.http.protocol
        return protocol.connection if isinstance(protocol, Handler) else None

    async def continue_if_expected(self) -> None:
        """Answer `Expect: 100-continue`; call it when nothing speaks against taking the body.

        A client of HTTP/1.0 knows no answer before the answer (RFC 9110 section 10.1.1).
        """
        if "expect" in self.headers and self.http.version >= HttpVersion11 and not self.http.content.total_bytes:
            await self.http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # What was written so far must not count as the response's own bytes.
            self.http.writer.output_size = 0

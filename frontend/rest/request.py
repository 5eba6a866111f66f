"""One request on its way through this frontend: its id, what the log line will say, and the headers every answer carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from frontend.request import RequestContext


class Request:
    """Wraps aiohttp's request; lives as long as it."""

    __slots__ = ("_common", "context", "http", "noted", "op", "streaming")

    def __init__(self, http: web.BaseRequest, context: RequestContext, common: Mapping[str, str]) -> None:
        self.http = http
        self.context = context
        self.op = "other"
        self.noted: dict[str, Any] = {}
        self.streaming = False
        """Set once the head of the response has gone out: from then on an error can only break the connection."""
        self._common = common

    def note(self, **pairs: Any) -> None:
        """Put pairs into this request's log line."""
        self.noted.update(pairs)

    def prepare_headers(self, response: web.StreamResponse) -> None:
        """Add the headers that every response carries."""
        headers = response.headers
        headers.update(self._common)
        headers["x-ambry-request-id"] = self.context.id

    async def continue_if_expected(self) -> None:
        """Answer `Expect: 100-continue`; call it when nothing speaks against taking the body."""
        if self.http.headers.get("Expect", "").lower() == "100-continue" and not self.http.content.total_bytes:
            await self.http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # What was written so far must not count as the response's own bytes.
            self.http.writer.output_size = 0

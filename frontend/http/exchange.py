"""One request and its answer on their way through this frontend, whichever API they belong to.

The answer is sent to its real end: whoever has awaited a `send_` knows that the kernel has all of it. What the kernel does not
take at once stays in our memory until the client has taken it. A client that is too slow about it is ended by the server
(frontend/http/server.py), and whoever waits for it sees a ConnectionError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import HttpVersion11, web

from ambry.checksum import Buffer
from ambry.errors import TooLarge
from ambry.service.listener import unconfirmed
from frontend.http.connections import Connection
from frontend.http.target import ROOT, Target
from frontend.limits.meters import PIECE_BYTES
from frontend.request import RequestContext

APART_BYTES = 64 << 10
"""A first piece that is longer does not leave in one write with the head."""
WHOLE_BYTES = 16 << 10
"""A longer answer that is here as a whole is not joined with its head, and in TLS it is written in pieces of that size: each
connection keeps what its client does not take, and that would be a copy, or as much ciphertext."""
WAIT_STEP_S = 1.0
"""An answer that waits for its turn is ended so soon after its client has gone."""


class StreamedAnswer(web.StreamResponse):
    """An answer whose body is sent piece by piece; its head leaves together with the first."""

    _send_headers_immediately = False

    def __init__(self, *, status: int, headers: dict[str, str], size: int) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = size


def json_response(value: object, status: int = 200) -> web.Response:
    """An answer that is here as a whole, as JSON."""
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", status=status)


class Exchange(msgspec.Struct, eq=False, kw_only=True):
    """Wraps aiohttp's request; lives as long as it. The steps of the pipeline fill it in, in order."""

    http: web.BaseRequest
    method: str
    connection: Connection | None
    """The client's, which may have ended."""
    context: RequestContext
    common: Mapping[str, str]
    """Headers that the response carries, whatever it is."""
    op: str = "other"
    target: Target = ROOT
    headers: dict[str, str] = {}
    """The request's headers: names in lower case, each once (frontend/http/fields.py)."""
    prefixed: bool = False
    """Whether the request has headers that the route understands by their beginning."""
    body_size: int | None = 0
    """Bytes that Content-Length announces, 0 for no body, None for a chunked one."""
    size_max: int | None = None
    """Bytes that its body may have, beside what its call takes; None for no bound of its own."""
    body: bytes | None = None
    """A short body that was here as a whole before anybody asked for it; any other is read (frontend/http/body.py)."""
    from_known_page: bool = False
    """Whether it comes from a page of another origin that may use what it is about, as the route's `enter` found out."""
    selected: Any = None
    """What the route's `select` found, if conditions were to be evaluated: the handler need not look again."""
    needs: Any = None
    """What its route takes (frontend/http/route.py)."""
    name: str | None = None
    """The name in a container that it is about, once that is known; None where it is about no single one."""
    decided: bool = False
    """Whether it was decided that it may be."""
    about: Any = None
    """The thing that the request is about, as the route's `enter` found it out; None where its target says it."""
    named: Any = None
    """What its target names, as `enter` found it, for who changes that."""
    begun: Any = None
    """What was read of its blob before it came this way (frontend/http/short.py)."""
    streaming: bool = False
    """Set once the head of the response has gone out: from then on an error can only break the connection."""
    noted: dict[str, Any] = {}
    """Pairs for this request's log line."""

    @property
    def size(self) -> int | None:
        """Bytes of its body; None where that is known at its end alone."""
        return self.body_size if self.body is None else len(self.body)

    def at_most(self, size_max: int) -> int:
        """Bytes that its body may have, where a call takes `size_max`."""
        return size_max if self.size_max is None else min(size_max, self.size_max)

    def too_large(self, what: str, size_max: int) -> TooLarge:
        """Why a body is not taken that has more than `at_most` of what its call takes."""
        if self.size_max is not None and self.size_max <= size_max:
            return TooLarge(
                f"{what} has more than the {self.size_max} bytes that this URL was signed for (max-size); have another "
                "one signed"
            )
        return TooLarge(f"{what} exceeds the largest allowed blob of {size_max} bytes")

    @property
    def authority(self) -> str | None:
        """Whom it is sent to: what an absolute target names, else its Host."""
        return self.headers.get("host") if self.target.authority is None else self.target.authority

    async def continue_if_expected(self) -> None:
        """Answer `Expect: 100-continue`; call it when nothing speaks against taking the body.

        A client of HTTP/1.0 knows no answer before the answer (RFC 9110 section 10.1.1).
        """
        if "expect" in self.headers and self.http.version >= HttpVersion11 and not self.http.content.total_bytes:
            await self.http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # What was written so far must not count as the response's own bytes.
            self.http.writer.output_size = 0

    async def send_head(self, response: web.StreamResponse) -> None:
        """Begin the answer, with the headers that every one carries. From now on a failure can only break the connection."""
        response.headers.update(self.common)
        # The parser takes nothing for HTTP that comes after an Upgrade.
        if "upgrade" in self.headers or self._is_last():
            response.force_close()
        await response.prepare(self.http)
        self.streaming = True

    def _is_last(self) -> bool:
        """Whether this answer must be the last on its connection."""
        connection = self.connection
        if connection is None or connection.handler is None:
            return False
        handler = connection.handler
        return connection.server.draining or ((handler.ended or handler.refused) and not handler.queued)

    async def send_piece(self, response: web.StreamResponse, data: Buffer) -> None:
        """Send the next bytes of a body. Raises ConnectionError when the client is not there any more."""
        if len(data) > APART_BYTES:
            # aiohttp would join the head and the first piece: a copy of it, which nobody has taken memory for.
            self.http.writer.send_headers()
        meter = self.context.meter
        if meter is None or not meter.slows:
            await self._write(response, data)
            return
        view = memoryview(data)
        for start in range(0, len(view), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            self.context.paced += len(piece)
            await self._wait(meter.reserve(len(piece)))
            await self._write(response, piece)

    async def _wait(self, wait_s: float) -> None:
        """Wait for the turn of what is sent next, while its client is there."""
        while wait_s > 0 and self.http.transport is not None:
            step_s = min(wait_s, WAIT_STEP_S)
            await asyncio.sleep(step_s)
            self.context.renew()
            wait_s -= step_s

    async def _write(self, response: web.StreamResponse, data: Buffer) -> None:
        connection = self.connection
        if len(data) > WHOLE_BYTES and connection is not None and self._in_tls:
            data, admission = memoryview(data), connection.server.admission
            while (given := connection.taken.gives(connection.transport, len(data), among=admission.connections)) < len(
                data
            ):
                await self._put(response, data[:given])
                data = data[given:]
        await self._put(response, data)

    async def _put(self, response: web.StreamResponse, data: Buffer) -> None:
        await response.write(data)
        await self.http.writer.drain()
        if self.http.transport is None:
            # Nobody must read on for it: what comes next would wait for memory that others need.
            raise ConnectionResetError("the connection ended")

    async def send_whole(self, response: web.StreamResponse) -> web.StreamResponse:
        """Send an answer that is here as a whole.

        It is given back without its body: the connection remembers its last answer.
        """
        await self.send_head(response)
        if not isinstance(response, web.Response):
            await response.write_eof()
            return response
        if isinstance(response.body, bytes) and len(response.body) > WHOLE_BYTES and self.method != "HEAD":
            body, response.body = memoryview(response.body), None
            self.http.writer.send_headers()
            size = WHOLE_BYTES if self._in_tls else len(body)
            for start in range(0, len(body), size):
                await self._write(response, body[start : start + size])
        await response.write_eof()
        response.body = None
        return response

    @property
    def scheme(self) -> str:
        """In which its client asks: as a trusted proxy told, else as the connection is."""
        return self.context.scheme or ("https" if self._in_tls else "http")

    @property
    def _in_tls(self) -> bool:
        transport = self.http.transport
        return transport is not None and transport.get_extra_info("ssl_object") is not None

    def unsent(self) -> int:
        """Bytes of what was sent that its client has not confirmed."""
        return 0 if self.connection is None else unconfirmed(self.connection.transport)

    def give_way(self) -> None:
        """Break the connection: its client holds memory that others wait for."""
        if self.connection is not None:
            self.connection.abort("takes its answer too slowly while others wait for memory")

"""What of a request is here, and what a connection is between two requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from frontend.http.framing import ChunkedBody
from frontend.http.refusals import Refusing

if TYPE_CHECKING:
    from frontend.http.connections import Connection
    from frontend.http.server import HttpServer


class Resting(Refusing):
    """aiohttp's half of a connection, as far as it knows whether anything is under way."""

    __slots__ = ("_ahead", "_body", "_chunks", "_waits", "head_size", "no_more")

    def __init__(self, server: HttpServer, connection: Connection, **options: Any) -> None:
        super().__init__(server, connection, **options)
        self._ahead = b""
        """What was read and the parser does not take yet: at most one read."""
        self._waits = False
        """Whether it waits for a turn, and nothing is read."""
        self.no_more = False
        """Whether the client said that it sends no more."""
        self.head_size = 0
        """Bytes of a head that has begun and is not whole."""
        self._body: StreamReader = EMPTY_PAYLOAD
        self._chunks: ChunkedBody | None = None
        """Where the body ends, for a chunked one."""

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        # The body knows us too: a circle, in which what nobody took of it would stay until the collector looks.
        self._body, self._ahead = EMPTY_PAYLOAD, b""

    @property
    def queued(self) -> int:
        """Requests that wait for the one before them."""
        return len(self._messages)

    @property
    def idle(self) -> bool:
        """Whether nothing of a request is here, and none is being answered."""
        answers = self._waiter is None or self._waiter.done() or bool(self._messages)
        return not answers and not self.head_size and not self._ahead

    @property
    def at_rest(self) -> bool:
        """Whether it waits for a request, of which nothing came, as if the connection began here."""
        waiter = self._waiter
        return (
            waiter is not None
            and not waiter.done()
            and not (self._messages or self.head_size or self._ahead)
            and not (self.refused or self.no_more or self._waits or self._reading_paused)
            and not (self._close or self._force_close)
            and self._chunks is None
            and self._body.is_eof()
        )

    def rest(self) -> None:
        """Another request, which did not come this way, is answered: the next has its time to come."""
        self._next_keepalive_close_time = close_time = self._loop.time() + self.keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)

    def _process_keepalive(self) -> None:
        if self.head_size or self.connection.short is not None:
            # It is not idle: the deadline for heads decides, or what is answered besides.
            self._keepalive_handle = None
            return
        super()._process_keepalive()

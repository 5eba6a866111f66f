"""The short way: a plain request that is answered without aiohttp's objects and without a task.

A read of a small blob is the same work thousands of times a second, and most of what the ordinary way does for it decides
nothing. So a request that is plain (frontend/http/plain.py), on a connection where nothing else is under way, is begun at once.
When it turns out that its answer is not a plain one, the request goes the ordinary way after all, with what was begun for it:
whatever is rare is written once, there.

While a short answer is on its way its connection reads nothing further, and everything that the connection owes to others
(deadlines, draining, half-closed clients) goes on as on the ordinary way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ambry.service.logs import get_logger
from frontend.request import RequestContext

if TYPE_CHECKING:
    from frontend.http.connections import Connection

log = get_logger()

Shortcut = Callable[["Connection", bytes], bool]
"""Takes over what came on a connection at rest, if that can be answered the short way."""


def nowhere(connection: Connection, data: bytes) -> bool:
    """The shortcut that takes nothing over."""
    return False


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """What was done for a request before it went the ordinary way after all. It is taken by whoever answers, or dropped."""

    context: RequestContext
    started: float
    """Monotonic, seconds."""
    what: Any
    drop: Callable[[], None]
    """Gives back what it holds, unless that was taken over; may be called twice."""
    lost: Callable[[], None]
    """The connection ended before anybody took it: drops it, and tells of the request."""


class ShortAnswer:
    """One answer on its way. Whoever makes it calls `send` or `go_the_ordinary_way`, once, unless `lost` was called."""

    __slots__ = ("_behind", "_input_over", "_request", "connection", "handed", "size")

    def __init__(self, connection: Connection, request: bytes) -> None:
        self.connection = connection
        self._request = request
        self._behind = b""
        """What came behind the request: at most one read."""
        self._input_over = False
        self.handed = False
        """Whether the transport has it, so that it has left when nothing is left there."""
        self.size = 0
        """Of the answer, bytes, once it is sent."""
        connection.short = self
        if connection.head_deadline:
            connection.head_is_over()

    @property
    def is_last(self) -> bool:
        """Whether the answer must be the last on its connection."""
        return self.connection.server.draining or (self._input_over and not self._behind)

    @property
    def takes_more(self) -> bool:
        """Whether nothing keeps the next bytes from being read."""
        return not self._behind

    # --- what the connection tells ---

    def came(self, data: bytes) -> None:
        """More came; it waits until this is answered."""
        self._behind += data
        self.connection.transport.pause_reading()

    def input_ends(self) -> bool:
        """The client sends no more. It still gets its answer."""
        self._input_over = True
        return True

    def sent(self) -> None:
        """The kernel has all of the answer. Go on with what came behind it."""
        connection = self.connection
        last = connection.server.draining
        self.ended()
        connection.short = None
        if connection.transport.is_closing():
            return
        if last:
            connection.part()
            return
        connection.rest()
        if self._behind or self._input_over:
            self._go_on(connection.take)

    def lost(self) -> None:
        """The connection ended before the answer had left."""
        self.connection.short = None

    def ended(self) -> None:
        """The answer has left."""

    # --- what the maker does ---

    def go_on(self, outcome: Any) -> None:
        """What was asked for is here."""
        raise NotImplementedError

    def came_out(self, outcome: Any) -> None:
        """Go on with what was asked for; a bug in that ends the connection, and with that the answer."""
        try:
            self.go_on(outcome)
        except Exception:
            self.breaks()

    def drop(self) -> None:
        """Give back what it holds, unless that was taken over; may be called twice."""

    def breaks(self) -> None:
        """An exception that nobody foresaw is being handled: give everything back, and end the connection."""
        log.exception("a request failed on the short way", client=self.connection.client)
        self.drop()
        self.connection.abort("a bug while it was answered")

    def send(self, answer: bytes) -> None:
        """Send it all; `ended` is called when the kernel has it."""
        self.size = len(answer)
        self.handed = True
        transport = self.connection.transport
        transport.write(answer)
        if transport.get_write_buffer_size():
            self.waits()
        else:
            self.sent()

    def waits(self) -> None:
        """The client has not taken all of the answer at once."""

    def go_the_ordinary_way(self, begun: Begun) -> None:
        """Give the request to the ordinary way, with what was begun for it."""
        connection = self.connection
        connection.short = None
        connection.begun = begun
        connection.hand_over(self._request)
        self._go_on(connection.hand_over)

    def _go_on(self, take: Callable[[bytes], None]) -> None:
        connection = self.connection
        behind, self._behind = self._behind, b""
        if behind:
            connection.transport.resume_reading()
            take(behind)
        if self._input_over and not connection.eof_received():
            connection.transport.close()

"""A body that comes straight into the memory in which it is kept: from the socket, past the parser, without a copy.

Only the rest of a body whose length is known comes so: it ends where it was said to, whatever is in it.
"""

from __future__ import annotations

from aiohttp import StreamReader

from frontend.http.connections import READ_BYTES, Connection
from frontend.http.turns import TINY_BYTES
from frontend.router.chunker import Grow


class Inlet:
    """The next bytes of one body, until `room` is full and `grow` gives no more, the body ends, or `end` is called.

    Then nothing more is read of the connection before its body is asked for again.
    """

    __slots__ = ("_connection", "_content", "_grow", "_owed", "_room", "came_at", "count")

    def __init__(self, connection: Connection, content: StreamReader, room: memoryview, grow: Grow) -> None:
        """`content` is the body as aiohttp knows it, of which nothing may be here that was not taken."""
        self.count = 0
        """Bytes that came."""
        self.came_at = 0.0
        """When the last of them did, on the event loop's clock."""
        self._connection = connection
        self._content = content
        self._room = room
        self._grow = grow
        self._owed = 0
        """Bytes for which it waits for its turn; meanwhile nothing is read."""

    def begin(self) -> bool:
        """Let them come; False where they cannot come so now."""
        connection = self._connection
        handler = connection.handler
        if not connection.heard_all or handler is None or not handler.go_past_parser(self._content):
            return False
        connection.inlet = self
        connection.view = self._room[: handler.body_left]
        return True

    async def over(self) -> None:
        """Until no more comes here. Raises what ends the body early."""
        if self._connection.inlet is self:
            # As who reads the stream: whatever ends it is told to whoever waits here.
            await self._content._wait("over")

    def end(self) -> None:
        """What comes from now on is heard as everything else."""
        connection = self._connection
        if connection.inlet is not self:
            return
        connection.inlet = None
        connection.view = connection.server.view
        self._room = memoryview(b"")
        self.take_up()

    # --- what the connection tells ---

    def came(self, size: int) -> None:
        """So many bytes came into the connection's view."""
        connection, handler = self._connection, self._connection.handler
        if handler is None:
            return
        self.count += size
        self.came_at = connection.server.now()
        handler.came_past_parser(size)
        left = handler.body_left
        self._room = self._room[size:]
        if left and not self._room:
            self._room = self._grow()
        if left and self._room:
            connection.view = self._room[:left]
            if size < TINY_BYTES:
                handler.wait_for_a_turn()
            else:
                self._take_share(size)
            return
        self.end()
        if left:
            handler.hold_back()
            waiter = self._content._waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _take_share(self, size: int) -> None:
        """Go on at once, or when others had their turn."""
        heavy = size >= READ_BYTES
        portions = self._connection.server.portions
        if not portions.allows(size, heavy=heavy, known=True):
            self._owed = size
            portions.wait(self, heavy=heavy, known=True)
            self._connection.transport.pause_reading()

    def take_up(self) -> int:
        """Go on, in its turn or since it ends; returns for how many bytes it waited, 0 where it waits no more."""
        connection = self._connection
        owed, self._owed = self._owed, 0
        goes_on = owed and not connection.transport.is_closing()
        if goes_on and connection.handler is not None and connection.handler.takes_more:
            connection.transport.resume_reading()
        return owed

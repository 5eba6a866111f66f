"""Sockets that were accepted, until they are connections: in TLS, until the other end has shown who it is.

Every port that may speak TLS has its own. Of a socket in TLS nothing but itself is kept before its first byte: who says nothing
costs a descriptor. That byte also tells who speaks HTTP in the clear to a port of HTTPS, and is answered in the clear.

Given up, a socket is shut down and not its task cancelled: what has become a connection a moment before ends as one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from ambry.service.last_words import adopt, tell
from ambry.service.listener import Socket
from ambry.service.logs import get_logger
from ambry.service.tls import HANDSHAKE_S, ReloadingTls
from ambry.service.turned_away import TurnedAway

log = get_logger()

Made = TypeVar("Made", bound=asyncio.BaseProtocol)
IN_THE_CLEAR = "the request came in the clear, and this port speaks https: ask https:// in place of http://"
TOLD_MAX = 32
"""Handshakes at a time whose other end can be told why they fail. Each takes another descriptor."""


class SpeaksHttp(OSError):
    """HTTP in the clear came to a port that speaks TLS."""


class _Silent(OSError):
    """The other end said nothing at all: it looked whether the port is open, or forgot."""


class _Handshake(Generic[Made]):
    __slots__ = ("connection", "given_up", "sock")

    def __init__(self, sock: Socket, connection: Made) -> None:
        self.sock = sock
        self.connection = connection
        """What comes of it."""
        self.given_up = ""
        """Why, if it was."""

    def give_up(self, reason: str) -> None:
        self.given_up = self.given_up or reason
        with suppress(OSError):  # it may have ended
            self.sock.shutdown(socket.SHUT_RDWR)


class Handshakes(Generic[Made]):
    """Those of one port, by age. `turned_away` writes down whom none comes of."""

    def __init__(
        self,
        turned_away: TurnedAway,
        *,
        within_s: float = HANDSHAKE_S,
        to_http: Callable[[str], bytes] | None = None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        """`within_s` is for a whole handshake. `to_http` makes what a client, by its address, is answered that speaks HTTP in
        the clear where TLS is spoken; without it that is a handshake like any other. `failed` hears of each that fails in TLS.
        """
        self._turned_away = turned_away
        self._within_s = within_s
        self._to_http = to_http
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[asyncio.Task[None], _Handshake[Made]] = {}
        self._can_be_told = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, sock: Socket, client: str, connection: Made, tls: ReloadingTls[Any] | None) -> None:
        """Make an accepted socket a connection; without `tls` that takes a turn of the event loop.

        Where none comes of it, it is closed, and `connection` is told that it was lost without having been made.
        """
        handshake = _Handshake(sock, connection)
        task = self._loop.create_task(self._adopt(handshake, client, tls))
        self._under_way[task] = handshake
        task.add_done_callback(self._under_way.pop)

    def give_up_oldest(self) -> Made | None:
        """What would have come of it. Whoever is well is done in milliseconds, and who says nothing gives way."""
        oldest = next((each for each in self._under_way.values() if not each.given_up), None)
        if oldest is None:
            return None
        oldest.give_up("others came, and it had not said who it is")
        return oldest.connection

    def give_up_all(self, reason: str) -> None:
        for handshake in self._under_way.values():
            handshake.give_up(reason)

    async def ended(self, *, within_s: float) -> None:
        """Wait until none is under way. What is left then is given up, and over on return."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=within_s)
        self.give_up_all("this process stops")
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _adopt(self, handshake: _Handshake[Made], client: str, tls: ReloadingTls[Any] | None) -> None:
        sock, connection = handshake.sock, handshake.connection
        try:
            if tls is None:
                await self._loop.connect_accepted_socket(lambda: connection, sock)
            else:
                await self._shake_hands(sock, client, connection, tls)
        except OSError as error:
            sock.close()
            connection.connection_lost(None)  # it was none yet, and nobody else says that it is over
            if tls is not None:
                self._failed()
            if handshake.given_up:
                self._turned_away.tell(client, handshake.given_up)
            elif tls is None or isinstance(error, _Silent):
                log.debug("connection lost before it began", client=client, error=str(error))
            else:
                self._turned_away.say(client, error)
        except asyncio.CancelledError:
            sock.close()
            raise

    async def _shake_hands(self, sock: Socket, client: str, connection: Made, tls: ReloadingTls[Any]) -> None:
        end = self._loop.time() + self._within_s
        first = await self._first_byte(sock)
        if not first:
            raise _Silent("it ended without a word")
        told = self._can_be_told < TOLD_MAX
        self._can_be_told += told
        try:
            if self._to_http is not None and first.isalpha():  # a method; records of TLS begin with 20 to 24
                if told:
                    await tell(sock, self._to_http(client))
                raise SpeaksHttp("it speaks HTTP in the clear, and this port speaks HTTPS")
            left_s = max(0.001, end - self._loop.time())
            await adopt(connection, sock, tls.context, within_s=left_s, told=told)
        finally:
            self._can_be_told -= told

    async def _first_byte(self, sock: Socket) -> bytes:
        """It stays to be read. Empty where the other end closed."""
        try:
            async with asyncio.timeout(self._within_s):
                while True:
                    came = asyncio.Event()
                    self._loop.add_reader(sock, came.set)
                    try:
                        await came.wait()
                    finally:
                        self._loop.remove_reader(sock)
                    with suppress(BlockingIOError):
                        return sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            raise _Silent(f"it said nothing for {self._within_s:g} s") from None

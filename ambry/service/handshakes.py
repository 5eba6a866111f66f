"""Sockets that were accepted, until they are connections: in TLS, until the other end has shown who it is.

Every port that may speak TLS has its own. Of a socket in TLS nothing but itself is kept before its first byte: who says nothing
costs a descriptor. That byte also tells who speaks HTTP in the clear to a port of HTTPS, and is answered in the clear.

A hello (RFC 8446 section 4.1.2) is what costs a server: a key exchange and a signature, 0.3 to 1 ms of the event loop, which
would answer all that have come before it turns. So the record that a hello stands in is waited for as a whole, and a port may
have handshakes begin one after the other, each in its `turn`. What comes later in a handshake is answered as it comes: a hello
that goes on in a second record, and one that is asked for again.

Given up, a socket is shut down and not its task cancelled: what has become a connection a moment before ends as one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
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


RECORD_HEAD = 5
"""Type, version and size of a record, bytes (RFC 8446 section 5.1)."""
RECORD_MAX = RECORD_HEAD + (1 << 14)
_HANDSHAKE = 22


SPEAKS_HTTP = "it speaks HTTP in the clear, and this port speaks HTTPS"


class _Silent(OSError):
    """The other end said nothing at all: it looked whether the port is open, or forgot."""


class _Answered(OSError):
    """It spoke HTTP in the clear, and was answered, which whoever made the answer wrote down."""


class _Handshake(Generic[Made]):
    __slots__ = ("began", "connection", "given_up", "sock")

    def __init__(self, sock: Socket, connection: Made, began: float) -> None:
        self.sock = sock
        self.connection = connection
        """What comes of it."""
        self.began = began
        """On the event loop's clock."""
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
        turn: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`within_s` is for a whole handshake. `to_http` makes what a client, by its address, is answered that speaks HTTP in
        the clear where TLS is spoken, and writes that down; without it that is a handshake like any other. `failed` hears of
        each that fails in TLS: not of who said nothing, as those do who look whether a port is open, nor of who is answered.
        `turn` is awaited before a hello is answered; the time that it takes is not the client's.
        """
        self._turned_away = turned_away
        self._within_s = within_s
        self._to_http = to_http
        self._failed = failed
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[asyncio.Task[None], _Handshake[Made]] = {}
        self._can_be_told = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, sock: Socket, client: str, connection: Made, tls: ReloadingTls[Any] | None) -> None:
        """Make an accepted socket a connection; without `tls` that takes a turn of the event loop.

        Where none comes of it, it is closed, and `connection` is told that it was lost without having been made.
        """
        handshake = _Handshake(sock, connection, self._loop.time())
        task = self._loop.create_task(self._adopt(handshake, client, tls))
        self._under_way[task] = handshake
        task.add_done_callback(self._under_way.pop)

    def give_up_oldest(self, *, after_s: float = 0.0) -> Made | None:
        """What would have come of it; None where none has been under way for so long.

        Whoever is well is done in milliseconds, and who says nothing gives way.
        """
        oldest = next((each for each in self._under_way.values() if not each.given_up), None)
        if oldest is None or self._loop.time() - oldest.began < after_s:
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
            if isinstance(error, _Answered):
                return
            silent = tls is None or isinstance(error, _Silent)
            if not silent:
                self._failed()
            if handshake.given_up:
                self._turned_away.tell(client, handshake.given_up)
            elif silent:
                log.debug("connection lost before it began", client=client, error=str(error))
            else:
                self._turned_away.say(client, error)
        except asyncio.CancelledError:
            sock.close()
            raise

    async def _shake_hands(self, sock: Socket, client: str, connection: Made, tls: ReloadingTls[Any]) -> None:
        end = self._loop.time() + self._within_s
        first = await self._first_words(sock)
        if not first:
            raise _Silent("it ended without a word")
        if self._turn is not None:
            asked_at = self._loop.time()
            await self._turn()
            end += self._loop.time() - asked_at
        told = self._can_be_told < TOLD_MAX
        self._can_be_told += told
        try:
            if self._to_http is not None and first[:1].isalpha():  # a method; records of TLS begin with 20 to 24
                if not told:
                    raise OSError(SPEAKS_HTTP)
                await tell(sock, self._to_http(client))
                raise _Answered
            left_s = max(0.001, end - self._loop.time())
            await adopt(connection, sock, tls.context, within_s=left_s, told=told)
        finally:
            self._can_be_told -= told

    async def _first_words(self, sock: Socket) -> bytes:
        """What is here when there is enough to begin with, which stays to be read. Empty where the other end closed."""
        wanted = 1
        try:
            async with asyncio.timeout(self._within_s):
                while True:
                    # Nobody is woken for less, but by the end (SO_RCVLOWAT, socket(7)).
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
                    came = asyncio.Event()
                    self._loop.add_reader(sock, came.set)
                    try:
                        await came.wait()
                    finally:
                        self._loop.remove_reader(sock)
                    with suppress(BlockingIOError):
                        said = sock.recv(RECORD_MAX, socket.MSG_PEEK)
                        more = _wanted(said)
                        if more <= wanted:
                            return said
                        wanted = more
        except TimeoutError:
            if wanted > 1:
                raise TimeoutError(f"it stopped in its hello for {self._within_s:g} s") from None
            raise _Silent(f"it said nothing for {self._within_s:g} s") from None
        finally:
            with suppress(OSError):  # it may have ended
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _wanted(said: bytes) -> int:
    """Bytes that must be here of what begins like this: the first record of a handshake, as a whole."""
    if said[:1] != bytes([_HANDSHAKE]):
        return 0
    if len(said) < RECORD_HEAD:
        return RECORD_HEAD
    size = RECORD_HEAD + int.from_bytes(said[3:RECORD_HEAD], "big")
    return size if len(said) < size <= RECORD_MAX else 0

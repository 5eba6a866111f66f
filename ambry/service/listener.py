"""Accepting connections on a port, under our own control.

An event loop that accepts by itself closes what it cannot accept when descriptors run out: the client sees a reset and learns
nothing. Here whoever owns the port decides about each connection, may pause accepting, and when there is no descriptor left the
connections wait in the kernel's queue until there is one.

A listener may keep spare descriptors: one is given up when there is no other, so that its port answers while the rest of the
process has run out.
"""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from contextlib import suppress

from ambry.address import authority
from ambry.service import metrics
from ambry.service.logs import get_logger

log = get_logger()

ACCEPT_BATCH = 4
"""Connections accepted in one turn of the event loop: who is connected already is served between them."""
RETRY_S = 0.05
TCP_CLOSE = 7
"""Reset, by the other side or because it did not answer any more. What it sent before may still be unread."""
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_HINTS = {
    errno.EADDRINUSE: "; another process has this port (`ss -ltnp` names it), stop that or take another one",
    errno.EADDRNOTAVAIL: "; this machine has no such address, correct it",
    errno.EACCES: "; ports below 1024 take rights that this process lacks",
}

EXHAUSTED = metrics.Counter(
    "ambry_accept_exhausted",
    "Times that accepting paused for want of descriptors.",
    ["port"],
    registry=metrics.registry,
)

Socket = socket.socket
Accepted = Callable[[Socket, str], None]
"""Takes over a connected socket, non-blocking; with it the client's address, without its port."""


def bind(host: str, port: int, *, backlog: int = 1024) -> list[socket.socket]:
    """Listening sockets for every address that `host` names. Raises OSError when one cannot be had."""
    found: list[socket.socket] = []
    try:
        wanted = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(wanted):
            sock = socket.socket(family, kind, protocol)
            found.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(backlog)
            sock.setblocking(False)
    except OSError as error:
        for sock in found:
            sock.close()
        raise refusal(host, port, error) from error
    return found


def refusal(host: str, port: int, error: OSError) -> OSError:
    """What to say where a port cannot be had: which, why, and what to do about it."""
    reason = (error.strerror or str(error)).lower()
    # An event loop puts a sentence of its own in front of the kernel's.
    reason = reason.rpartition("): ")[2]
    hint = _HINTS.get(error.errno or 0, "")
    if isinstance(error, socket.gaierror):
        hint = "; no such host is known here, correct the name"
    return OSError(error.errno, f"cannot listen on {authority(host, port)}: {reason}{hint}")


class Listener:
    """Accepts on some listening sockets, which it owns, until it is closed. `name` is for logs and metrics."""

    def __init__(self, sockets: list[socket.socket], accepted: Accepted, *, name: str, spare: int = 0) -> None:
        self._sockets = sockets
        self._accepted = accepted
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._spare_wanted = spare
        self._spare: list[socket.socket] = []
        self._held = False
        self._exhausted = False
        self._listening = False
        self._retry: asyncio.TimerHandle | None = None
        self._refill()
        self._update()

    @property
    def port(self) -> int:
        """The port of the first socket."""
        return int(self._sockets[0].getsockname()[1])

    def pause(self) -> None:
        """Accept nothing until `resume`: connections wait in the kernel's queue."""
        self._held = True
        self._update()

    def resume(self) -> None:
        self._held = False
        self._update()

    def _update(self) -> None:
        wanted = not (self._held or self._exhausted)
        if wanted == self._listening:
            return
        self._listening = wanted
        for sock in self._sockets:
            if wanted:
                self._loop.add_reader(sock, self._accept, sock)
            else:
                self._loop.remove_reader(sock)

    def close(self) -> None:
        """Accept what the kernel has accepted for us already, then stop: nobody who is connected is reset."""
        self._held = self._exhausted = False
        self._update()
        for sock in self._sockets:
            while self._accept(sock) == ACCEPT_BATCH:
                pass
        self._held = True
        self._update()
        for sock in (*self._sockets, *self._spare):
            sock.close()
        self._sockets = []
        self._spare = []
        if self._retry is not None:
            self._retry.cancel()

    def _accept(self, sock: socket.socket) -> int:
        """Accept what waits, up to a batch; how many it was."""
        for count in range(ACCEPT_BATCH):
            if not self._listening:
                return count
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return count
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                if not self._give_up_a_spare():
                    self._out_of_descriptors(error)
                    return count
                continue
            connection.setblocking(False)
            self._accepted(connection, str(address[0]))
        return ACCEPT_BATCH

    def _give_up_a_spare(self) -> bool:
        if not self._spare:
            return False
        self._spare.pop().close()
        self._try_later()
        return True

    def _refill(self) -> None:
        """Take the spare descriptors that are missing, as far as they can be had."""
        with suppress(OSError):
            while len(self._spare) < self._spare_wanted:
                self._spare.append(self._sockets[0].dup())

    def _out_of_descriptors(self, error: OSError) -> None:
        EXHAUSTED.labels(self._name).inc()
        log.warning("accept paused", port=self._name, error=f"{type(error).__name__}: {error}", retry_s=RETRY_S)
        self._exhausted = True
        self._update()
        self._try_later()

    def _try_later(self) -> None:
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._tried)

    def _tried(self) -> None:
        self._retry = None
        self._refill()
        self._exhausted = False
        self._update()
        if len(self._spare) < self._spare_wanted:
            self._try_later()


class Farewells:
    """Connections that are told something and then closed.

    A connection that is closed while bytes of it are unread is reset, and what it was told may be lost. So it is told, is told
    that nothing follows, and is read and forgotten until the client closes too, or for `patience_s`. At most `most` at a time:
    `full` and `room` are called when there is no room for another, and when there is again.
    """

    def __init__(self, *, most: int, patience_s: float, full: Callable[[], None], room: Callable[[], None]) -> None:
        self._most = most
        self._patience_s = patience_s
        self._full = full
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[Socket, asyncio.TimerHandle] = {}
        self._forgotten = bytearray(16 << 10)

    def say(self, sock: Socket, words: bytes) -> None:
        """Takes the socket over. `words` must fit into its buffer."""
        try:
            sock.send(words)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            sock.close()
            return
        self._sockets[sock] = self._loop.call_later(self._patience_s, self._let_go, sock)
        self._loop.add_reader(sock, self._read, sock)
        if len(self._sockets) == self._most:
            self._full()

    def _read(self, sock: Socket) -> None:
        try:
            if sock.recv_into(self._forgotten):
                return
        except BlockingIOError:
            return
        except OSError:
            # Reset: it needs no more words.
            pass
        self._let_go(sock)

    def _let_go(self, sock: Socket) -> None:
        self._sockets.pop(sock).cancel()
        self._loop.remove_reader(sock)
        sock.close()
        if len(self._sockets) == self._most - 1:
            self._room()

    def close(self) -> None:
        for sock in list(self._sockets):
            self._let_go(sock)


_BYTES_ACKED = slice(120, 128)
"""Of struct tcp_info (linux/tcp.h)."""


def unconfirmed(transport: asyncio.Transport) -> int:
    """Bytes written that the other side has not confirmed: ours, and those the kernel holds (SIOCOUTQ, tcp(7))."""
    held = array.array("i", [0])
    sock = transport.get_extra_info("socket")
    with suppress(OSError, ValueError):  # it may have ended
        if sock is not None:
            fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, held)
    return transport.get_write_buffer_size() + held[0]


def confirmed(transport: asyncio.Transport) -> int:
    """Bytes that the other side has confirmed since it connected (TCP_INFO, tcpi_bytes_acked); 0 where nobody can tell."""
    sock = transport.get_extra_info("socket")
    with suppress(OSError):  # it may have ended
        if sock is not None:
            told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.stop)[_BYTES_ACKED]
            return int.from_bytes(told, sys.byteorder)
    return 0


def state_of(transport: asyncio.Transport) -> int:
    """The state of a TCP connection as the kernel sees it (tcp(7), TCP_INFO); TCP_CLOSE for one that is not there."""
    sock = transport.get_extra_info("socket")
    try:
        return TCP_CLOSE if sock is None else int(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])
    except OSError:
        return TCP_CLOSE


def bound_unsent(sock: Socket | None, size: int) -> None:
    """Have the kernel take no more than `size` bytes beyond what it could send already; 0 for no bound (TCP_NOTSENT_LOWAT)."""
    if sock is None:
        return  # a transport of TLS forgets it before it tells that the connection ended
    with suppress(OSError):  # it may have ended
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)

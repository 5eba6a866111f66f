"""How answers go out: from memory, or from a file to the socket without coming into our memory (sendfile(2))."""

from __future__ import annotations

import asyncio
import socket

from ambry.errors import AmbryError
from ambry.network.receiving import ReceivingConnection
from ambry.service.logs import get_logger

log = get_logger()

_MORE_FOLLOWS = int(socket.MSG_MORE | socket.MSG_DONTWAIT)


class FileBody:
    """Bytes that stand in a file. They were not read, so nobody knows whether they are what they were; who gets them checks."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def send(self, target: int, start: int) -> int:
        """Send bytes from `start` on to a socket that does not block, as many as it takes at once; returns how many.

        Raises OSError, of either end, BlockingIOError where it takes none now; AmbryError for a file that was closed meanwhile.
        """
        raise NotImplementedError

    def rest(self, start: int) -> memoryview:
        """The bytes from `start` on, in memory. What cannot be had at once is zero, and fails its check. Raises MemoryError."""
        raise NotImplementedError


class SendingConnection(ReceivingConnection):
    """A connection that answers go out on."""

    _made_bytes = 0
    """Of all answers so far."""

    @property
    def read_bytes(self) -> int:
        """What the kernel has taken of the answers so far, about: what it has no room for the peer did not read."""
        return max(0, self._made_bytes - self._queued_bytes)

    @property
    def _queued_bytes(self) -> int:
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._outgoing_bytes + waiting

    @property
    def _sends_files(self) -> bool:
        """Whether nothing waits to be sent: what stands in a file would leave at once."""
        transport = self._transport
        if self.encrypted:
            return False  # it must pass the transport
        return not (self._outgoing or transport is None or transport.is_closing() or transport.get_write_buffer_size())

    def _send_from_file(self, head: bytes, body: FileBody) -> None:
        """Send what the socket takes at once past our memory, and the rest as any other."""
        transport = self._transport
        sent = _send_at_once(transport, head, body) if transport is not None and self._sends_files else 0
        if sent == len(head) + body.size:
            return
        try:
            rest = body.rest(max(0, sent - len(head)))
        except MemoryError:
            # A part of a frame may have gone, and nothing can follow but the rest of it.
            log.warning("connection closed: no memory left for an answer", peer=self.peer)
            self.abort()
            return
        self._send(head[sent:], rest)


def _send_at_once(transport: asyncio.Transport, head: bytes, body: FileBody) -> int:
    """Send as much of head and body as the socket takes now, past the transport, which must have nothing left to send.

    Returns how many bytes of both went. What is wrong with the socket the transport finds out by the rest.
    """
    target = transport.get_extra_info("socket").fileno()
    sent, before, size = 0, len(head), len(head) + body.size
    # The transport's descriptor, borrowed: what it has of its own as a socket has no `send`.
    borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=target)
    try:
        sent = borrowed.send(head, _MORE_FOLLOWS)
        while before <= sent < size:
            count = body.send(target, sent - before)
            if not count:
                break  # the file is shorter than it was
            sent += count
    except (OSError, AmbryError):
        pass
    finally:
        borrowed.detach()
    return sent

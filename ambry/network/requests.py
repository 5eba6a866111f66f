"""What the requests of one process hold, from the first byte that memory is taken for until they are answered.

The large may use a part of it only, so that small ones (gets, what replication asks, deletes) and pings find room
whatever is put; and of the large those that come from who did not say who it is a smaller one. Beyond its part a request
is refused at once: nothing waits for room, so nothing can wait for each other. Where one is refused, connections that let
their own large request come slowly are ended, the slowest first.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from ambry.protocol.frame import Frame
from ambry.service.logs import get_logger

log = get_logger()

REQUESTS_BYTES_MAX = 256 << 20
LARGE_BYTES = 128 << 10
TINY_BYTES = 1 << 10
REQUEST_OVERHEAD_BYTES = 512
"""What a request holds beside header and body, about."""
SLOW_AFTER_S = 2.0
SLOW_BYTES_PER_S = 1 << 20
"""What comes more slowly than this may go on only while there is room for others."""


class Receiver(Protocol):
    """A connection that a large request comes on."""

    @property
    def known(self) -> bool:
        """Whether it is introduced."""

    @property
    def awaited(self) -> int:
        """Bytes that did not come yet."""

    @property
    def peer(self) -> str: ...
    def abort(self) -> None: ...


class Reception(msgspec.Struct):
    """A large request that comes: since when, on the event loop's clock, and how large it is."""

    since: float
    size: int


class Requests:
    """Those of all connections of one process. `bytes` is what they hold; connections count it."""

    def __init__(self, bytes_max: int = REQUESTS_BYTES_MAX) -> None:
        self.bytes = 0
        self.easy_bytes = bytes_max // 2
        """Up to it there is room for everything."""
        self.refused = 0
        self._bytes_max = bytes_max
        self._receiving: dict[Receiver, Reception] = {}

    def room_for(self, size: int, *, known: bool) -> bool:
        """Whether memory may be taken for a request of so many bytes."""
        parts = 8 if size <= TINY_BYTES else 7 if size <= LARGE_BYTES else 6 if known else 4
        return self.bytes + size <= self._bytes_max * parts // 8

    def fits(self, frame: Frame) -> bool:
        """Whether a request may stay that is here, and counted. A large one was let in before it came."""
        size = len(frame.body) + len(frame.header)
        return size > LARGE_BYTES or self.bytes <= self._bytes_max * (8 if size <= TINY_BYTES else 7) // 8

    def receives(self, receiver: Receiver, size: int, now: float) -> None:
        """Memory of so many bytes was taken for a request that comes; 0: it came, or never will."""
        before = self._receiving.pop(receiver, None)
        if before is not None:
            self.bytes -= before.size
        if size:
            self.bytes += size
            self._receiving[receiver] = Reception(now, size)

    def make_room(self, size: int, now: float, *, known: bool) -> bool:
        """End connections whose requests come too slowly, the slowest first, strangers before others, until there is room."""
        slow: list[tuple[bool, float, Receiver]] = []
        for receiver, reception in self._receiving.items():
            seconds = now - reception.since
            came = reception.size - receiver.awaited
            if seconds > SLOW_AFTER_S and came < seconds * SLOW_BYTES_PER_S:
                slow.append((receiver.known, came / seconds, receiver))
        for _, rate, receiver in sorted(slow, key=lambda item: item[:2]):
            log.warning("connection closed: others wait for its memory", peer=receiver.peer, bytes_per_s=round(rate))
            self.receives(receiver, 0, now)
            receiver.abort()
            if self.room_for(size, known=known):
                return True
        return False

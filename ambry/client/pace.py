"""How fast bytes may go: a bound in bytes per second, as what to wait before the next ones. It never waits itself.

Shared by threads without a lock, as what is in `retry` is: a lost update lets a piece go too early, and a lock could be held by
another thread when the process forks.
"""

from __future__ import annotations

from ambry.clock import Clock

PIECE_S = 0.25
"""So much time's worth of bytes goes at once at most, so that connections are not left alone for long."""
PIECE_BYTES_MIN = 1 << 10


class Bandwidth:
    """One direction of all transfers of a client. `bandwidth` None is no bound."""

    def __init__(self, bandwidth: int | None, clock: Clock) -> None:
        self._bandwidth = bandwidth
        self._clock = clock
        self._free_at = float("-inf")

    def piece(self, size: int) -> int:
        """How many of so many bytes should go at once."""
        if self._bandwidth is None:
            return size
        return min(size, max(PIECE_BYTES_MIN, int(self._bandwidth * PIECE_S)))

    def passed(self, size: int) -> float:
        """So many bytes have gone; seconds until more may."""
        if self._bandwidth is None:
            return 0.0
        now = self._clock.monotonic()
        self._free_at = max(now, self._free_at) + size / self._bandwidth
        return self._free_at - now

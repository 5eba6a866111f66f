"""Background work that yields: a bound on bytes per second, for work on a disk thread."""

from __future__ import annotations

from ambry.clock import Clock
from ambry.errors import ReplicaUnavailable

BURST_S = 0.05


class Throttle:
    """Call it with every piece's size; it blocks the calling thread as long as the rate asks for."""

    def __init__(self, clock: Clock, rate_bytes_per_s: int) -> None:
        self._clock = clock
        self._rate = rate_bytes_per_s
        self._free_at = clock.monotonic()
        self._stopped = False

    def stop(self) -> None:
        """Let the next call raise: the process is stopping, and must not wait for background work."""
        self._stopped = True

    def __call__(self, size: int) -> None:
        if self._stopped:
            raise ReplicaUnavailable("stopping")
        now = self._clock.monotonic()
        self._free_at = max(self._free_at, now) + size / self._rate
        ahead_s = self._free_at - now
        if ahead_s > BURST_S:
            self._clock.sleep(ahead_s)

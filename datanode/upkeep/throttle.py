"""Background work that yields: a bound on bytes per second, for work on a disk thread."""

from __future__ import annotations

from collections.abc import Callable

from ambry.clock import Clock
from ambry.errors import ReplicaUnavailable

BURST_S = 0.005
BUSY_FACTOR = 4
"""While the foreground writes, and a moment after, background work goes on this many times slower: it never stops for good."""


class Throttle:
    """Call it with every piece's size, in bytes; it blocks the calling thread as long as the rate asks for.

    `busy` tells whether foreground writes used the same disk a moment ago (datanode/disk.py). Reads do not count.
    """

    def __init__(self, clock: Clock, rate_bytes_per_s: int, busy: Callable[[], bool] = lambda: False) -> None:
        self._clock = clock
        self._rate = rate_bytes_per_s
        self._busy = busy
        self._free_at = clock.monotonic()
        self._stopped = False

    def stop(self) -> None:
        """Let the next call raise: the process is stopping, and must not wait for background work."""
        self._stopped = True

    def __call__(self, size: int) -> None:
        if self._stopped:
            raise ReplicaUnavailable("stopping")
        now = self._clock.monotonic()
        cost_s = size / self._rate * (BUSY_FACTOR if self._busy() else 1)
        self._free_at = max(self._free_at, now) + cost_s
        ahead_s = self._free_at - now
        # Also when there is no need to wait: sleeping lets go of the interpreter, which the event loop may be waiting for.
        self._clock.sleep(ahead_s if ahead_s > BURST_S else 0.0)

"""Background work that yields: a bound on bytes per second, and on its share of the time while others are busy.

Work on a disk thread shares the disk with the foreground's writes, and the interpreter with everything that the event loop
does. So it pays for its bytes, and after each piece it rests the longer, the busier the loop is.
"""

from __future__ import annotations

from collections.abc import Callable

from ambry.clock import Clock
from ambry.errors import ReplicaUnavailable

BURST_S = 0.005
BUSY_FACTOR = 4
"""While the foreground writes, and a moment after, background work goes on this many times slower: it never stops for good."""
REST_FACTOR = 12
"""With a loop that uses a whole core, a piece of work is followed by a rest of this many times its length."""
PIECE_MAX_S = 0.05
"""Of a piece that took longer only so much counts: it waited for the disk, and kept nobody from working."""


class Throttle:
    """Call it with every piece's size, in bytes; it blocks the calling thread as long as the rate and the load ask for.

    `busy` tells whether foreground writes used the same disk a moment ago (datanode/committer.py), `load` what share of a core
    the event loop uses, from 0 to 1 (ambry/service/loop_watch.py).
    """

    def __init__(
        self,
        clock: Clock,
        rate_bytes_per_s: int,
        busy: Callable[[], bool] = lambda: False,
        load: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._clock = clock
        self._rate = rate_bytes_per_s
        self._busy = busy
        self._load = load
        self._free_at = self._resumed_at = clock.monotonic()
        self._stopped = False

    def stop(self) -> None:
        """Let the next call raise: the process is stopping, and must not wait for background work."""
        self._stopped = True

    def __call__(self, size: int) -> None:
        if self._stopped:
            raise ReplicaUnavailable("stopping")
        now = self._clock.monotonic()
        cost_s = size / self._rate * (BUSY_FACTOR if self._busy() else 1)
        rest_s = min(PIECE_MAX_S, now - self._resumed_at) * REST_FACTOR * self._load()
        self._free_at = max(self._free_at, now) + max(cost_s, rest_s)
        ahead_s = self._free_at - now
        # Also when there is no need to wait: sleeping lets go of the interpreter, which the event loop may be waiting for.
        self._clock.sleep(ahead_s if ahead_s > BURST_S else 0.0)
        self._resumed_at = self._clock.monotonic()

"""Background work that yields: a bound on bytes per second, and on its share of the time while others are busy.

Work on a disk thread shares the disk with the foreground's writes, and the interpreter with everything that the event loop
does. So it is done in pieces (datanode/store/pieces.py), a few at a time; it pays for its bytes, and rests the longer, the
busier the loop is. It rests on the event loop: no thread sleeps, and the threads of a disk are free for others meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from ambry.clock import Clock
from ambry.errors import Overloaded, ReplicaUnavailable
from datanode.disk import Disk
from datanode.store.pieces import Pieces

T = TypeVar("T")

BURST_S = 0.005
"""A shorter rest is not worth a wait: it is added to the next one."""
VISIT_S = 0.002
"""So long a visit to a disk thread lasts, unless a rest is due before: going there and back costs a tenth of a millisecond."""
BUSY_FACTOR = 4
"""While the foreground writes, and a moment after, background work goes on this many times slower: it never stops for good."""
REST_FACTOR = 12
"""With a loop that uses a whole core, a piece of work is followed by a rest of this many times its length."""
PIECE_MAX_S = 0.05
"""Of a piece that took longer only so much counts: it waited for the disk, and kept nobody from working."""


class Visited(NamedTuple):
    """What one visit to a disk thread left: the result in a list of one, or how long to rest before the next."""

    result: list[object]
    rest_s: float = 0.0


class Throttle:
    """Drives pieces of work, one after the other, at a rate in bytes per second.

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
        self._cancelled = False

    def stop(self) -> None:
        """Let what runs end at its next piece, and nothing begin: the process is stopping, and must not wait for it."""
        self._stopped = True

    async def run(self, disk: Disk, pieces: Pieces[T]) -> T:
        """Do all of `pieces` on disk threads, with rests between them, and return what came of it.

        Raises what they raise, ReplicaUnavailable after `stop`, Overloaded where too much waits for the disk. They are closed
        in any case, on a disk thread.
        """
        visit: asyncio.Future[Visited] | None = None
        self._cancelled = False
        try:
            while True:
                visit = disk.submit(self._visit, pieces)
                await asyncio.wait((visit,))
                visited = visit.result()
                if visited.result:
                    return visited.result[0]  # type: ignore[return-value]
                await self._clock.pause(visited.rest_s)
        except asyncio.CancelledError:
            self._cancelled = True
            if visit is not None:
                await asyncio.gather(visit, return_exceptions=True)  # it ends at its next piece
            await disk.submit_end(pieces.close)
            raise
        except Overloaded:
            # Between two visits the disk took no more. Nobody waits for it: it may hang.
            disk.submit_end(pieces.close)
            raise

    def _visit(self, pieces: Pieces[object]) -> Visited:
        """Do pieces until a rest is due, on a disk thread."""
        began = self._resumed_at = self._clock.monotonic()
        while True:
            if self._stopped or self._cancelled:
                pieces.close()
                raise ReplicaUnavailable("stopping")
            try:
                size = next(pieces)
            except StopIteration as end:
                return Visited([end.value])
            rest_s = self.rest_s(size)
            if rest_s > BURST_S:
                return Visited([], rest_s)
            if self._resumed_at - began >= VISIT_S:
                return Visited([])

    def rest_s(self, size: int) -> float:
        """A piece of `size` bytes was done just now: how long to rest, for it and for what is owed from earlier ones."""
        now = self._clock.monotonic()
        cost_s = size / self._rate * (BUSY_FACTOR if self._busy() else 1)
        rest_s = min(PIECE_MAX_S, now - self._resumed_at) * REST_FACTOR * self._load()
        self._free_at = max(self._free_at, now) + max(cost_s, rest_s)
        self._resumed_at = now
        return self._free_at - now

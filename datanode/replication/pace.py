"""What bounds the copying of segments on both ends: bytes per second, rests while others are busy, and bytes in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

BUSY_FACTOR = 4
"""While requests write to the same disk, and a moment after, copying goes on this many times slower."""
REST_FACTOR = 4
LOAD_MIN = 0.5
"""For each part of a core above this that the loop wants, a piece of work on a disk thread is followed by a rest of
REST_FACTOR times its length."""
PIECE_MAX_S = 0.05
"""Of a piece that took longer only so much counts: it waited for the disk, and kept nobody from working."""


class Pace:
    """Bytes per second of one direction, for all partitions of a node.

    `busy` tells whether requests wrote to the same disk a moment ago (datanode/committer.py), `load` what share of a core the
    event loop uses, from 0 to 1 (ambry/service/loop_watch.py).
    """

    def __init__(
        self, rate_bytes_per_s: int, *, busy: Callable[[], bool], load: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._rate = rate_bytes_per_s
        self._busy = busy
        self._load = load
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        """Wait until so many bytes may go."""
        now = asyncio.get_running_loop().time()
        begin = max(self._free_at, now)
        self._free_at = begin + size / self._rate * (BUSY_FACTOR if self._busy() else 1)
        if begin > now:
            await asyncio.sleep(begin - now)

    async def rest_after(self, work: Awaitable[T]) -> T:
        """Do a piece of work, and let others have their turn after it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        done = await work
        await asyncio.sleep(min(PIECE_MAX_S, loop.time() - began) * REST_FACTOR * max(0.0, self._load() - LOAD_MIN))
        return done


class Allowance:
    """Memory for so many bytes; one piece of any size always has room alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait until there is room, and hold it until `give_back`."""
        if self._waiting or not self._fits(size):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, future))
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self.give_back(size)
                raise
        else:
            self._held += size

    def give_back(self, size: int) -> None:
        self._held -= size
        while self._waiting:
            wanted, future = self._waiting[0]
            if not future.done():
                if not self._fits(wanted):
                    return
                self._held += wanted
                future.set_result(None)
            self._waiting.popleft()

    def _fits(self, size: int) -> bool:
        return not self._held or self._held + size <= self._size

"""One bound on the memory of all uploads and downloads of a process.

Who wants a buffer takes its size from the budget first and waits when there is none; nobody fails and the process does not
swell. First come, first served. Whoever holds a share must be able to give it back without taking another.
"""

from __future__ import annotations

import asyncio
from collections import deque

from ambry.errors import InvariantBroken


class MemoryBudget:
    """`size` bytes in all."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def scarce(self) -> bool:
        """Whether less than half is left: time to hold less."""
        return 2 * self.free < self.size

    def try_take(self, size: int) -> bool:
        """Take `size` bytes if they are free and nobody waits."""
        if self._waiting or size > self.free:
            return False
        self.free -= size
        return True

    async def take(self, size: int) -> None:
        """Take `size` bytes, waiting for them. Raises InvariantBroken for more than there are in all."""
        if self.try_take(size):
            return
        if size > self.size:
            raise InvariantBroken(f"{size} bytes can never come out of a budget of {self.size}")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.give_back(size)
            raise

    def give_back(self, size: int) -> None:
        """Return what was taken."""
        self.free += size
        while self._waiting:
            wanted, future = self._waiting[0]
            if future.cancelled():
                self._waiting.popleft()
                continue
            if wanted > self.free:
                return
            self._waiting.popleft()
            self.free -= wanted
            future.set_result(None)

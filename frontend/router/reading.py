"""The memory of all downloads of a process: who may hold how much, and who must give way.

A download holds the units it has read and its client has not taken yet. How many that are follows from how many downloads move:
together they plan with half of the budget, the rest is for those that begin. When memory is scarce each gets by with one block.

A client that does not read holds what was handed to it last, and a crowd of such clients could hold everything. So a download
that stalls loses what it had read ahead; and while somebody waits for memory and none is free, those that have stalled
longest are ended, so many as hold what is waited for. Their clients see a connection that broke and go on from there.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ambry.checksum import BLOCK_SIZE
from ambry.service.logs import get_logger
from frontend.router.budget import SMALL_BYTES, MemoryBudget, Need

log = get_logger()

STALLED_S = 1.0
"""A client that takes this long for one unit has stalled: what was read ahead for it is dropped."""
ENDED_AFTER_S = 3.0
"""A download whose client takes this long for one unit may be ended when others wait for memory."""
LOOK_AGAIN_S = 0.25
STARTED_PATIENCE = 4
"""A download under way waits this many times as long for memory as one that begins: it has more to lose."""


class Reader(Protocol):
    """A download as it is seen from here."""

    handed_at: float | None
    """When its client was handed what it is still taking, on the event loop's clock; None while it waits for us."""

    @property
    def held(self) -> int:
        """Bytes of the budget that it holds."""
        ...

    def drop_ahead(self) -> bool:
        """Give back what was read ahead, if anything was; it is read again when its turn comes."""
        ...

    def end(self) -> bool:
        """Break the connection, which gives everything back soon. False where that cannot be done."""
        ...


class ReadMemory:
    """`budget` is shared by all reads; one holds at most `ahead` units of `unit_bytes`, a multiple of a block's size."""

    def __init__(self, budget: MemoryBudget, *, unit_bytes: int, ahead: int, wait_s: float) -> None:
        self.budget = budget
        self._unit_bytes = unit_bytes
        self._ahead = ahead
        self._wait_s = wait_s
        self._readers: set[Reader] = set()
        self._wanted = 0
        self._timer: asyncio.TimerHandle | None = None

    def join(self, reader: Reader) -> None:
        """A download begins to stream."""
        self._readers.add(reader)

    def leave(self, reader: Reader) -> None:
        """It has ended, and holds nothing any more."""
        self._readers.discard(reader)

    def window(self) -> int:
        """Bytes that one download may hold now, at least one block."""
        most = self._unit_bytes * self._ahead
        if self.budget.scarce:
            return BLOCK_SIZE
        planned = self.budget.size // 2
        count = len(self._readers)
        if count * most > planned:
            now = asyncio.get_running_loop().time()
            moving = sum(1 for reader in self._readers if not _stalled(reader, now, STALLED_S))
            most = min(most, planned // max(1, moving))
        return max(BLOCK_SIZE, most)

    def unit_bytes(self) -> int:
        """How much the next read should fetch, a multiple of a block's size."""
        return min(self._unit_bytes, self.window() // BLOCK_SIZE * BLOCK_SIZE)

    async def take(self, size: int, *, of: int, started: bool = False) -> None:
        """Take memory for `size` bytes of a read of `of` bytes in all; one that has `started` to answer waits longer.

        Raises Overloaded when it does not come.
        """
        need = Need.SMALL if of <= SMALL_BYTES else Need.LARGE
        if self.budget.try_take(size, need):
            return
        self._wanted += size
        self._relieve()
        try:
            wait_s = self._wait_s * (STARTED_PATIENCE if started else 1)
            await self.budget.take(size, need, timeout_s=wait_s)
        finally:
            self._wanted -= size
            if not self._wanted and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _relieve(self) -> None:
        """Somebody waits: take from those that stalled, and look again in a moment."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(LOOK_AGAIN_S, self._relieve)
        now = loop.time()
        stalled = [reader for reader in self._readers if _stalled(reader, now, STALLED_S)]
        if sum(reader.drop_ahead() for reader in stalled):
            return  # that may be enough
        coming = 0
        for reader in sorted(stalled, key=_handed_at):
            if coming >= self._wanted or not _stalled(reader, now, ENDED_AFTER_S):
                return
            held = reader.held
            if reader.end():
                coming += held


def _stalled(reader: Reader, now: float, seconds: float) -> bool:
    return reader.handed_at is not None and now - reader.handed_at >= seconds


def _handed_at(reader: Reader) -> float:
    return 0.0 if reader.handed_at is None else reader.handed_at

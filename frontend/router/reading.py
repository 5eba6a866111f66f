"""The memory of all downloads of a process: who may hold how much, and who must give way.

A download has a little memory of its own from its beginning to its end, so that it never waits for memory once it has begun:
memory that is short makes it slow, not stuck. What it holds beyond that, read ahead of its client, is its share of what is
free, of which those that move take equal parts. When less than half is free, it is no more than its client has taken of it so
far: a crowd that takes nothing then holds little, and leaves the rest to those that read.

A client that does not read holds what was handed to it last, and a crowd of such clients could hold everything. So while
somebody waits to begin, downloads that stall lose what was read ahead for them, and those that stalled longest are ended, so
many as hold what is waited for. Their clients see a connection that broke and go on from there.

What a download does with what came is work. A crowd that began together would go on together, so a few go on in one turn of the
event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from ambry.checksum import BLOCK_SIZE
from ambry.service.logs import get_logger
from frontend.router.budget import SMALL_BYTES, MemoryBudget, Need

log = get_logger()

LEAST_BYTES = 16 << 10
"""What a download has of its own: with that for each of as many clients as may be connected, some is left. Divides a block."""
MOVES_S = 0.25
"""A client that takes this long for one unit has no share of what is free."""
STALLED_S = 1.0
"""One that takes this long has stalled: what was read ahead for it is dropped when memory is scarce."""
ENDED_AFTER_S = 2.0
"""A download whose client takes this long for one unit may be ended when others wait for memory."""
BEGINNING_MAX = 4
"""While more have begun whose clients have taken nothing yet, a block is read ahead for each of those."""
RELIEVE_EVERY_S = 0.25
COUNT_AGAIN_S = 0.1
GOING_ON_MAX = 4
"""Downloads that go on in one turn of the event loop."""


class Reader(Protocol):
    """A download as it is seen from here."""

    handed_at: float | None
    """When its client was handed what it is still taking, on the event loop's clock; None while it waits for us."""

    @property
    def held(self) -> int:
        """Bytes of the budget that it holds."""
        ...

    def taken(self) -> int:
        """Bytes that its client is known to have taken."""
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
        self._moving: set[Reader] = set()
        """Those of them whose clients are known to have taken LEAST_BYTES: what is free for them is theirs alone."""
        self._wanted = 0
        self._stalled = 0
        self._moving_stalled = 0
        self._counted_at = -COUNT_AGAIN_S
        self._relieved_at = -RELIEVE_EVERY_S
        self._timer: asyncio.TimerHandle | None = None
        self._gone_on = 0
        """In this turn of the event loop."""
        self._queue: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Wait until a download may go on."""
        loop = asyncio.get_running_loop()
        if not self._gone_on:
            loop.call_soon(self._next_turn)
        self._gone_on += 1
        if self._gone_on > GOING_ON_MAX:
            self._queue.append(loop.create_future())
            await self._queue[-1]

    def _next_turn(self) -> None:
        self._gone_on = 0
        while self._queue and self._gone_on < GOING_ON_MAX:
            going_on = self._queue.popleft()
            if not going_on.done():
                self._gone_on += 1
                going_on.set_result(None)
        if self._gone_on:
            asyncio.get_running_loop().call_soon(self._next_turn)

    def join(self, reader: Reader) -> None:
        """A download begins to stream."""
        self._readers.add(reader)

    def leave(self, reader: Reader) -> None:
        """It has ended, and holds nothing any more."""
        self._readers.discard(reader)
        self._moving.discard(reader)

    def window(self, reader: Reader | None = None) -> int:
        """Bytes that one download may hold now, at least LEAST_BYTES; without a `reader`, the most that any may."""
        most = self._unit_bytes * self._ahead
        moves = reader is None or self._moves(reader)
        if not moves and self._many_begin:
            return LEAST_BYTES
        # Half of what is free is left to those that begin after this.
        spare = (self.budget.free - self.budget.size + self.budget.largest) // 2
        if len(self._readers) * most > spare:
            self._count_stalled()
            sharing = len(self._moving) - self._moving_stalled if moves else len(self._readers) - self._stalled
            most = min(most, spare // max(1, sharing))
        if reader is not None and self.budget.scarce:
            most = min(most, reader.taken())
        return max(LEAST_BYTES, most)

    @property
    def _many_begin(self) -> bool:
        return len(self._readers) - len(self._moving) > BEGINNING_MAX

    def _moves(self, reader: Reader) -> bool:
        """Whether its client has taken something, which one that only asks does not."""
        if reader in self._moving:
            return True
        if reader.taken() < LEAST_BYTES:
            return False
        self._moving.add(reader)
        return True

    def unit_bytes(self, reader: Reader | None = None) -> int:
        """How much the next read should fetch: whole blocks, or LEAST_BYTES, which divides one."""
        window = self.window(reader)
        return min(self._unit_bytes, window // BLOCK_SIZE * BLOCK_SIZE or LEAST_BYTES)

    def stretch_bytes(self, reader: Reader | None = None) -> int:
        """How much the next read of a stream should fetch, which is handed on as it comes; more than a unit where it may."""
        if self._ahead > 2 and self.window(reader) == self._unit_bytes * self._ahead:
            return self._unit_bytes * (self._ahead - 1)  # the rest is for what comes behind it
        return self.unit_bytes(reader)

    def first_bytes(self) -> int:
        """How much the first read of a download should fetch; a small blob is all there."""
        if self.budget.scarce or self._many_begin:
            return BLOCK_SIZE
        return self.unit_bytes() if self._readers else self._unit_bytes

    def _count_stalled(self) -> None:
        """Note how many downloads do not move. What is read ahead for them goes when memory is scarce."""
        now = asyncio.get_running_loop().time()
        if now - self._counted_at >= COUNT_AGAIN_S:
            self._counted_at = now
            stalled = [reader for reader in self._readers if _stalled(reader, now, MOVES_S)]
            self._stalled = len(stalled)
            self._moving_stalled = len(self._moving.intersection(stalled))
            if self.budget.scarce:
                for reader in stalled:
                    if _stalled(reader, now, STALLED_S):
                        reader.drop_ahead()

    async def take(self, size: int, *, of: int) -> None:
        """Take memory to begin a read of `of` bytes in all with `size` of them.

        Raises Overloaded when it does not come in time.
        """
        need = need_of(of)
        if self.budget.try_take(size, need):
            return
        self._wanted += size
        self._relieve_soon()
        try:
            await self.budget.take(size, need, timeout_s=self._wait_s)
        finally:
            self._wanted -= size
            if not self._wanted and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _relieve_soon(self) -> None:
        """Somebody waits. All downloads are looked at, which is not done again for each of a crowd."""
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        wait_s = self._relieved_at + RELIEVE_EVERY_S - loop.time()
        if wait_s > 0:
            self._timer = loop.call_later(wait_s, self._relieve)
        else:
            self._relieve()

    def _relieve(self) -> None:
        """Take from those that stalled, and look again in a moment."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(RELIEVE_EVERY_S, self._relieve)
        now = self._relieved_at = loop.time()
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


def need_of(size: int) -> Need:
    """How urgent the memory for a read of `size` bytes in all is."""
    return Need.SMALL if size <= SMALL_BYTES else Need.LARGE


def _stalled(reader: Reader, now: float, seconds: float) -> bool:
    return reader.handed_at is not None and now - reader.handed_at >= seconds


def _handed_at(reader: Reader) -> float:
    return 0.0 if reader.handed_at is None else reader.handed_at

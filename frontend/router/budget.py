"""One bound on the memory that all uploads, or all downloads, of a process hold.

Who wants a buffer takes its size from the budget first. When there is none it waits, for a bounded time, and is then told
to come back later: nobody hangs, and the process does not swell. Whoever holds a share must be able to give it back without
taking another.

Three classes of need share the budget. Each must leave some of it free, so that a crowd of large and slow requests never
keeps small and quick ones out:

    LARGE   leaves the whole reserve, an eighth of the budget
    SMALL   leaves half of the reserve: what needs no more than SMALL_BYTES in all
    READY   may take the last byte: it waits for no client, so it gives back soon

Who waits, for its client or for more memory, may hold much that it has no use for meanwhile. It says so, and while anybody
waits for memory those that waited longest are asked to give way, a few at a time.

First come, first served within a class. Of those who wait only a few go on in one turn of the event loop, however much is given
back: what they do with their share takes time, and who needs no memory is heard in between.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from itertools import islice
from typing import Protocol

from ambry.errors import InvariantBroken, Overloaded

SMALL_BYTES = 64 << 10
SERVED_MAX = 4
"""Of each class that waits, in one turn of the event loop."""
IDLE_S = 0.1
"""Who waited so long is asked to give way, while others wait for memory."""
ASK_EVERY_S = 0.02
ASKED_MAX = 2
"""So many are asked at a time: what they do about it is work, and others are served meanwhile."""


class Need(enum.IntEnum):
    """How urgent a share is; see above."""

    LARGE = 0
    SMALL = 1
    READY = 2


class Idle(Protocol):
    """Holds memory, and waits for something."""

    def give_way(self) -> None:
        """Give back soon what can be done without. It is not asked again until it rests again."""


class _Growing:
    """Holds memory, and waits for more."""

    def __init__(self, budget: MemoryBudget, future: asyncio.Future[bool]) -> None:
        self._budget = budget
        self._future = future

    def give_way(self) -> None:
        self._budget._give_up(self._future)


class MemoryBudget:
    """`size` bytes in all. `name` says in errors whose they are."""

    def __init__(self, size: int, *, name: str = "this process", reserve: int | None = None) -> None:
        self.size = size
        self.free = size
        self._name = name
        kept = size // 8 if reserve is None else reserve
        self._floors = (kept, kept // 2, 0)
        self.largest = size - kept
        """The most bytes that one share of class LARGE can have."""
        self._waiting: tuple[deque[tuple[int, asyncio.Future[bool]]], ...] = (deque(), deque(), deque())
        self._served = [0, 0, 0]
        """Of each class, in this turn of the event loop."""
        self._idle: dict[Idle, float] = {}
        """Since when they wait, the longest first."""
        self._asking: asyncio.TimerHandle | None = None

    @property
    def scarce(self) -> bool:
        """Whether less than half is left: time to hold less."""
        return 2 * self.free < self.size

    def try_take(self, size: int, need: Need = Need.LARGE) -> bool:
        """Take `size` bytes if they are free and nobody of that class waits."""
        if self._waiting[need] or self.free - size < self._floors[need]:
            return False
        self.free -= size
        return True

    async def take(self, size: int, need: Need = Need.LARGE, *, timeout_s: float) -> None:
        """Take `size` bytes, waiting for them. Raises Overloaded when they do not come within `timeout_s` seconds.

        Raises InvariantBroken for more than this class can ever have.
        """
        if not self.try_take(size, need) and not await self.wait(size, need, timeout_s=timeout_s):
            raise Overloaded(
                f"the memory for {self._name} is taken: {size} bytes did not come free within {timeout_s:g} s; retry"
            )

    async def wait(self, size: int, need: Need = Need.LARGE, *, timeout_s: float, holds: bool = False) -> bool:
        """Take `size` bytes when it is our turn; False when it does not come within `timeout_s` seconds.

        Who `holds` something already, and can give it back, may be told False before: then it should.

        Raises InvariantBroken for more than this class can ever have.
        """
        if size > self.size - self._floors[need]:
            raise InvariantBroken(f"{size} bytes can never come out of a budget of {self.size}")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._waiting[need].append((size, future))
        self._serve()
        self._ask_when_idle()
        timer = loop.call_later(timeout_s, self._give_up, future)
        growing = _Growing(self, future)
        if holds:
            self.rests(growing)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result():
                self.give_back(size)
            raise
        finally:
            timer.cancel()
            self.goes_on(growing)

    def _give_up(self, future: asyncio.Future[bool]) -> None:
        if not future.done():
            future.set_result(False)
            # Whoever stands behind may want less.
            self._serve()

    def give_back(self, size: int) -> None:
        """Return what was taken."""
        self.free += size
        large, small, ready = self._waiting
        if large or small or ready:
            self._serve()

    def rests(self, who: Idle) -> None:
        """`who` waits, until `goes_on`; it may be asked to give way."""
        self._idle[who] = asyncio.get_running_loop().time()
        self._ask_when_idle()

    def goes_on(self, who: Idle) -> None:
        self._idle.pop(who, None)

    def _ask_when_idle(self) -> None:
        if self._asking is None and self._idle and any(self._waiting):
            loop = asyncio.get_running_loop()
            since = next(iter(self._idle.values()))
            self._asking = loop.call_at(max(since + IDLE_S, loop.time()), self._ask)

    def _ask(self) -> None:
        """Have a few give way, and look again in a moment."""
        loop = asyncio.get_running_loop()
        self._asking = None
        if not any(not future.done() for queue in self._waiting for _, future in queue):
            return
        for who, since in list(islice(self._idle.items(), ASKED_MAX)):
            if loop.time() - since >= IDLE_S:
                del self._idle[who]
                who.give_way()
        if self._idle:
            self._asking = loop.call_later(ASK_EVERY_S, self._ask)

    def _serve(self) -> None:
        for need, floor in zip(Need, self._floors, strict=True):
            queue = self._waiting[need]
            while queue:
                wanted, future = queue[0]
                if future.done():
                    queue.popleft()
                    continue
                if self.free - wanted < floor or self._served[need] == SERVED_MAX:
                    break
                if not any(self._served):
                    asyncio.get_running_loop().call_soon(self._next_turn)
                self._served[need] += 1
                queue.popleft()
                self.free -= wanted
                future.set_result(True)

    def _next_turn(self) -> None:
        self._served = [0, 0, 0]
        self._serve()

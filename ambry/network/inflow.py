"""How much comes in on the connections of one event loop in one turn of it.

libuv reads a socket again, up to 32 times, as long as it fills what it is given, and it hears every connection before the loop
turns: ten answers of 4 MiB that came together were one turn of 20 ms, for somebody who waited for a hundred bytes. So what is
read in large pieces is counted. Whoever reads when that is enough for one turn waits, and what comes stays in its socket; of
those who wait one goes on in each turn, first come, first served.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

TURN_BYTES = 1 << 20
"""What is read in one turn; the read that reaches it is the last, and no read is larger."""
COUNTED_BYTES = 64 << 10
"""Smaller reads are not counted: they took what was there, and cost little."""


class Incoming(Protocol):
    """A connection that reads."""

    def read_on(self) -> bool:
        """Read again. False for one that has ended meanwhile or waits for something else: it costs nobody a turn."""


class Inflow:
    """That of one event loop, on which it is used."""

    def __init__(self) -> None:
        self._left = TURN_BYTES
        self._waiting: deque[Incoming] = deque()
        self._turning = False

    def allows(self, size: int) -> bool:
        """Whether whoever has just read `size` bytes may read more in this turn. If not, it waits."""
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)
        self._left -= size
        return self._left > 0

    def wait(self, who: Incoming) -> None:
        """Queue up, and read nothing; who waits already must not. Its `read_on` is called in a later turn."""
        self._waiting.append(who)

    def _turn(self) -> None:
        self._left = TURN_BYTES
        while self._waiting and not self._waiting.popleft().read_on():
            pass
        self._turning = bool(self._waiting)
        if self._turning:
            asyncio.get_running_loop().call_soon(self._turn)

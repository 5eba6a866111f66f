"""Who has much to be parsed waits for a turn, so that everybody else is heard in between.

What comes in tiny bits (chunks of some bytes, requests of a line, single bytes of a body) costs the parser, and whoever takes
the bits, far more than its size. So a connection gives the parser no more than a share of it at a time; the rest waits here,
unread in the socket where it can, for a later turn of the event loop. One connection is served at a time, and then the loop
turns for everybody else: what a flood costs the others does not grow with the number of connections it comes over, and a
request that takes ten turns meets three shares.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

LINES_MAX = 32
"""Lines around the content of a chunked body that a connection has parsed at a time."""
TINY_BYTES = 512
"""Less than any path through a network sends at a time while there is more: who sends so little within one request drips."""

TURNS_BETWEEN = 3
"""Turns of the event loop without a share, after each that has one. Of a loop that has nothing else to do they take no time."""


class Waiting(Protocol):
    def take_turn(self) -> bool:
        """Go on, for one share; it may wait again. False for one that has gone meanwhile: it costs nobody a turn."""


class Turns:
    """First come, first served, one at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Waiting] = deque()
        self._serving = False
        self._rest = 0
        """Turns of the event loop until the next may be served."""

    def wait(self, who: Waiting) -> None:
        """Queue up; who waits already must not. Its `take_turn` is called in a later turn."""
        self._waiting.append(who)
        if not self._serving:
            self._serving = True
            self._loop.call_soon(self._serve)

    def _serve(self) -> None:
        self._serving = self._rest > 0 or bool(self._waiting)
        if self._serving:
            self._loop.call_soon(self._serve)
        if self._rest:
            self._rest -= 1
        elif self._waiting:
            self._rest = TURNS_BETWEEN
            while self._waiting and not self._waiting.popleft().take_turn():
                pass

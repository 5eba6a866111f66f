"""Who has much to be parsed waits for a turn, so that everybody else is heard in between.

The event loop hears everybody who has sent something before it turns again. Of a crowd that is a lot: hundreds of uploads with
a full buffer each, or the requests of all who connected before. So `Portions` lets little of that be taken up in one turn, over
all connections; the rest waits here, read but not looked at. What the first request of a connection brings with it is work for
many turns, so of a crowd of them the next is taken up when a turn was short, or after some turns in any case: a crowd waits
for itself, and hardly anybody for it. Who came last of them goes first every other time: it may have nothing to do with the
others, who came at once.

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

from ambry.clock import Clock

LINES_MAX = 32
"""Lines around the content of a chunked body that a connection has parsed at a time."""
TINY_BYTES = 512
"""Less than any path through a network sends at a time while there is more: who sends so little within one request drips."""

TURNS_BETWEEN = 3
"""Turns of the event loop without a share, after each that has one. Of a loop that has nothing else to do they take no time."""


LIGHT_MAX = 16
"""Short reads that are taken up in one turn as they come: heads, and small bodies with them."""
LIGHT_KNOWN = 4
"""So many more of those who were heard before. They also go before those who wait to be heard for the first time."""
LIGHT_FEW = 4 * LIGHT_MAX
LIGHT_WAITING_MAX = 2
"""Of those heard before that came when there were more, as many are taken up in a turn beside them while no more than a few
wait: what is done at once is done for less. Of a crowd it is two: what it costs the others is told by the length of a turn."""
SHORT_TURN_S = 0.0003
"""A turn that took less had little to do: of those who wait to be heard for the first time the next one is. After any other
turn they wait for `TURNS_BETWEEN` without one."""
NEW_EVERY_S = 0.004
"""However long turns are, so often one of them is heard."""
HEAVY_BYTES = 256 << 10
"""Full reads that are taken up in one turn, bytes; the one that passes it is the last."""
HEAVY_CROWD = 4
HEAVY_CROWD_BYTES = 64 << 10
"""Where more wait than these, so many bytes. Who waits longer than for the next turn waits for `TURNS_BETWEEN` without any."""


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


class Unheard(Protocol):
    def take_up(self) -> int:
        """Take up what was read; returns how many bytes, 0 for what has gone meanwhile: it costs nobody a turn."""


class _Turn:
    def __init__(self, came: asyncio.Future[None]) -> None:
        self.came = came

    def take_up(self) -> int:
        if self.came.done():
            return 0
        self.came.set_result(None)
        return 1


class Portions:
    """How much of what comes is taken up in one turn of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, clock: Clock) -> None:
        """`clock` tells how long turns are."""
        self._loop = loop
        self._clock = clock
        self._known: deque[Unheard] = deque()
        self._new: deque[Unheard] = deque()
        self._heavy: deque[Unheard] = deque()
        self._light_left = LIGHT_MAX
        self._heavy_left = HEAVY_BYTES
        self._turning = False
        self._heavy_rest = 0
        """Turns of the event loop until those with full reads who wait are served."""
        self._new_rest = 0
        """Turns until the next that was not heard before is served, unless one of them is short."""
        self._turned_at = 0.0
        self._new_heard_at = 0.0
        self._last_first = False

    def allows(self, size: int, *, heavy: bool, known: bool) -> bool:
        """Whether a read of so many bytes is taken up as it comes. If not, `wait`. `known` is who was heard before."""
        self._begin_turning()
        if not heavy:
            if self._new and not known:
                return False
            if self._light_left <= (-LIGHT_KNOWN if known else 0):
                return False
            self._light_left -= 1
            return True
        if self._heavy or self._heavy_left <= 0:
            return False
        self._heavy_left -= size
        return True

    def wait(self, who: Unheard, *, heavy: bool, known: bool) -> None:
        """Queue up; who waits already must not. Its `take_up` is called in a later turn."""
        if not (heavy or known or self._new):
            self._turned_at = self._new_heard_at = self._clock.monotonic()
        (self._heavy if heavy else self._known if known else self._new).append(who)
        self._begin_turning()

    async def turn(self) -> None:
        """Wait with those who were not heard before, for something that costs as much as hearing one of them."""
        waiting = _Turn(self._loop.create_future())
        self.wait(waiting, heavy=False, known=False)
        await waiting.came

    def _begin_turning(self) -> None:
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = bool(self._known or self._new or self._heavy)
        if self._turning:
            self._loop.call_soon(self._turn)
        self._light_left, self._heavy_left = LIGHT_MAX, HEAVY_BYTES
        if self._known:
            self._hear_known()
        if self._new:
            self._hear_new()
        if self._heavy_rest:
            self._heavy_rest -= 1
        elif self._heavy:
            if len(self._heavy) > HEAVY_CROWD:
                self._heavy_left = HEAVY_CROWD_BYTES
            while self._heavy and self._heavy_left > 0:
                self._heavy_left -= self._heavy.popleft().take_up()
            if self._heavy:
                self._heavy_rest = TURNS_BETWEEN

    def _hear_known(self) -> None:
        served = 0
        most = LIGHT_MAX if len(self._known) <= LIGHT_FEW else LIGHT_WAITING_MAX
        while served < most and self._known:
            served += self._known.popleft().take_up() > 0

    def _hear_new(self) -> None:
        now = self._clock.monotonic()
        took_s, self._turned_at = now - self._turned_at, now
        if self._new_rest and took_s >= SHORT_TURN_S:
            self._new_rest -= 1
            return
        self._new_rest = TURNS_BETWEEN
        left = min(LIGHT_MAX, max(1, int((now - self._new_heard_at) / NEW_EVERY_S)))
        self._new_heard_at = now
        while left and self._new:
            self._last_first = not self._last_first
            left -= (self._new.pop() if self._last_first else self._new.popleft()).take_up() > 0

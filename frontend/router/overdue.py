"""Who waits for replicas to answer, and is told when that has taken too long.

Hardly anybody ever is. So to wait costs a place in a table, and all share one timer.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

EARLY_S = 0.001
"""A timer may fire so much before its time: an event loop counts in milliseconds."""


class Awaiting(Protocol):
    """Somebody who waits."""

    def overdue(self) -> None:
        """It has taken too long. Called once for each `watch`, unless the wait ended before."""


class Overdue:
    """Tells each who waits for longer than `after_s`."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._until: dict[Awaiting, float] = {}
        """Until when each waits, on the event loop's clock; in this order, since all wait for as long."""
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, who: Awaiting, now: float) -> None:
        """`who` waits from `now` on, of the event loop's clock; what it waited for before is over."""
        until = self._until
        until.pop(who, None)
        until[who] = due_at = now + self._after_s
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due_at, self._tell)

    def forget(self, who: Awaiting) -> None:
        """It does not wait any more; may be called twice."""
        self._until.pop(who, None)

    def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        soon = loop.time() + EARLY_S
        late: list[Awaiting] = []
        for who, due_at in self._until.items():
            if due_at > soon:
                self._timer = loop.call_at(due_at, self._tell)
                break
            late.append(who)
        for who in late:
            del self._until[who]
        for who in late:
            who.overdue()

"""One timer for many deadlines: it rings when the first of them is due."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class DeadlineTimer:
    """Calls `ring` at the earliest of the moments that it was set to, and no sooner than `rest_s` after it was set.

    Moments are of the loop's clock. Having rung it is set to none: who has more deadlines sets it again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None], *, rest_s: float) -> None:
        self._loop = loop
        self._ring = ring
        self._rest_s = rest_s
        self._timer: asyncio.TimerHandle | None = None
        self.at = math.inf
        """When it rings; a deadline that is later needs no `set`."""

    def set(self, deadline: float, now: float) -> None:
        """Ring by `deadline`, if it does not before."""
        at = max(deadline, now + self._rest_s)
        if at >= self.at:
            return  # it would put off those that are due before
        self.stop()
        self.at = at
        self._timer = self._loop.call_at(at, self._due)

    def stop(self) -> None:
        """Set it to none."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.at = None, math.inf

    def _due(self) -> None:
        self._timer, self.at = None, math.inf
        self._ring()

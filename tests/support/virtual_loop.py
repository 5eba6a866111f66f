"""An event loop on which time passes only when nothing else is left to do.

Timers fire in order and at once, so hours of timeouts take milliseconds and every run is the same. A test that waits for what
can never happen fails instead of hanging. No sockets, no threads: with those the loop cannot know what is still to come.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Deadlock(AssertionError):
    """Nothing is scheduled any more, and somebody still waits."""


class _Selector(selectors.SelectSelector):
    """Answers at once; a wait moves the clock instead."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("every task waits, and no timer is set that would wake one")
        if timeout > 0:
            self.passed += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time` is 0 at the start. `wall_ms` and `monotonic` make it a Clock (ambry/clock.py) too."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        # A wait of exactly the time to the next timer must reach it, whatever floating point makes of the sum.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._virtual.passed

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + int(self._virtual.passed * 1000)

    def monotonic(self) -> float:
        return self._virtual.passed


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a fresh loop of this kind."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Makes a test of a coroutine that runs on such a loop; goes directly above `async def`."""

    @functools.wraps(test)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return wrapped


async def settle(turns: int = 50) -> None:
    """Let everything run that is ready, without letting time pass."""
    for _ in range(turns):
        await asyncio.sleep(0)

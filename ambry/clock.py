"""Time and randomness come in through here, and nowhere else.

Everything that needs the time takes a `Clock`, everything that needs chance takes a `random.Random`: a simulation passes
its own of both. This is one of the few modules that may touch the real ones (`tests/test_layout.py` holds the list).
"""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for what users see, monotonic time for every duration and deadline."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC. May jump; orders nothing."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    async def pause(self, seconds: float) -> None:
        """Let others go on for so long, at least once. Nothing of this project blocks a thread to let time pass."""
        ...


class SystemClock:
    """The clock of this machine."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    monotonic = staticmethod(time.monotonic)
    """Itself, as it is asked several times of each request."""

    async def pause(self, seconds: float) -> None:
        # Most processes that have a clock block, and pay for no loop when they begin.
        import asyncio

        await asyncio.sleep(seconds)

    def sleep(self, seconds: float) -> None:
        """Block this thread; for the blocking client, which has no loop."""
        time.sleep(seconds)


class FollowingClock:
    """A clock whose wall time goes on from where somebody sets it, at the pace of the monotonic one; before that it is the own.

    `base_ms` is the wall time at the monotonic clock's start, None for the wall clock of `clock`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.base_ms: int | None = None
        self.monotonic = clock.monotonic
        self.pause = clock.pause

    def wall_ms(self) -> int:
        base_ms = self.base_ms
        return self._clock.wall_ms() if base_ms is None else base_ms + int(self._clock.monotonic() * 1000)


def system_random() -> random.Random:
    """A generator seeded with 256 bits of the operating system's entropy: fit for ids, not for keys."""
    return random.Random(random.SystemRandom().getrandbits(256))  # nosec B311 # ids are told to everybody; keys are system_secret


def system_secret(size: int) -> bytes:
    """So many bytes that nobody can guess, of the operating system's entropy: fit for keys."""
    return random.SystemRandom().randbytes(size)


def iso_utc(wall_ms: int) -> str:
    """`2026-11-21T23:07:00.123Z` for a wall time in milliseconds."""
    seconds, ms = divmod(wall_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ms:03d}Z"

"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio


class SettableClock:
    """`wall` in milliseconds and `seconds` (monotonic) are set freely; `advance` moves both."""

    def __init__(self, wall: int = 1_700_000_000_000, seconds: float = 1_000.0) -> None:
        self.wall = wall
        self.seconds = seconds

    def wall_ms(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    async def pause(self, seconds: float) -> None:
        """Time passes, nobody waits."""
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.wall += int(seconds * 1000)
        self.seconds += seconds


class OwnClock:
    """The clock of one of several nodes: `shared`, whose wall time may be wrong here by `ahead_ms`, or stand still."""

    def __init__(self, shared: SettableClock) -> None:
        self.ahead_ms = 0
        self.frozen_ms: int | None = None
        self._shared = shared

    def wall_ms(self) -> int:
        return self._shared.wall_ms() + self.ahead_ms if self.frozen_ms is None else self.frozen_ms

    def monotonic(self) -> float:
        return self._shared.monotonic()

    async def pause(self, seconds: float) -> None:
        await self._shared.pause(seconds)

    @property
    def wall(self) -> int:
        return self.wall_ms()

    @property
    def seconds(self) -> float:
        return self._shared.seconds

    def advance(self, seconds: float) -> None:
        """Time passes for all."""
        self._shared.advance(seconds)

"""A clock that stands still until a test moves it."""

from __future__ import annotations


class SettableClock:
    """`wall` in milliseconds and `seconds` (monotonic) are set freely; `advance` moves both."""

    def __init__(self, wall: int = 1_700_000_000_000, seconds: float = 1_000.0) -> None:
        self.wall = wall
        self.seconds = seconds

    def wall_ms(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Time passes, nobody waits."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.wall += int(seconds * 1000)
        self.seconds += seconds

"""A token bucket: what may be used in a second, and how much of it at once. Pure; time is told to it.

In any stretch of t seconds no more than `rate * t + burst` is used, whatever is asked for.
"""

from __future__ import annotations


class Bucket:
    """Fills by `rate` a second up to `burst`, and begins full. Times are seconds that do not go back."""

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = now

    def change(self, rate: float, burst: float, now: float) -> None:
        """Fill otherwise from now on: what was used, or is reserved, stays so, and nothing is in it that was not before."""
        self._level = min(self.level(now), burst)
        self.rate = rate
        self.burst = burst

    def until(self, amount: float, now: float) -> float:
        """The seconds until so much, at most `burst`, is in it; 0 where it is there."""
        left = self.level(now) - amount
        return -left / self.rate if left < 0 else 0.0

    def take(self, amount: float, now: float) -> float:
        """Take so much, at most `burst`, if it is there, and return 0; else the seconds until it will be, and take nothing."""
        wait_s = self.until(amount, now)
        if not wait_s:
            self._level -= amount
        return wait_s

    def reserve(self, amount: float, now: float) -> float:
        """Take so much, and return the seconds after which it may be used: whoever reserves later waits behind it."""
        left = self._level = self.level(now) - amount
        return -left / self.rate if left < 0 else 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until all that was reserved may be used."""
        level = self.level(now)
        return -level / self.rate if level < 0 else 0.0

    def level(self, now: float) -> float:
        """What is in it now; less than nothing where something is reserved that has to wait."""
        passed = now - self._at
        if passed > 0:
            self._at = now
            level = self._level + passed * self.rate
            self._level = level if level < self.burst else self.burst
        return self._level

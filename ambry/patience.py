"""How long one end waits for the other, which sends or takes slowly. No clock: it is told what was waited."""

from __future__ import annotations


class Patience:
    """It begins with `most_s` seconds. Waiting uses them up, and every byte that moves gives back the time that it may take at
    `rate_min` bytes per second, but never more than `most_s`: who was fast cannot live on that for long.
    """

    __slots__ = ("_most_s", "_rate_min", "left_s")

    def __init__(self, most_s: float, rate_min: int) -> None:
        self._most_s = most_s
        self._rate_min = rate_min
        self.left_s = most_s

    def waited(self, seconds: float) -> None:
        self.left_s = max(0.0, self.left_s - seconds)

    def moved(self, size: int) -> None:
        self.left_s = min(self._most_s, self.left_s + size / self._rate_min)

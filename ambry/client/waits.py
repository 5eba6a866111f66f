"""How long one exchange waits for its server: for each silence, for an answer that drips, and until its call must be over.

The head of an answer must be whole in the time of one silence; of its body a second's wait must bring `RATE_MIN` bytes, on
average over that time. Only waiting counts, not what the reader of a body does in between. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable

from ambry.patience import Patience

RATE_MIN = 1 << 10
"""Bytes per second. The slowest client that a frontend bears takes and sends as much (`rate_min_bytes`)."""
LEAST_S = 0.001
"""Zero would mean to a socket not to wait."""


class Waits(Patience):
    """Those of one request and its answer."""

    __slots__ = ("_deadline", "_monotonic")

    def __init__(self, monotonic: Callable[[], float], silence_s: float, deadline: float | None) -> None:
        """`deadline` is a time of the clock `monotonic`; None is none."""
        super().__init__(silence_s, RATE_MIN)
        self._monotonic = monotonic
        self._deadline = deadline

    def next_s(self) -> float:
        """How long the next wait may take. Raises TimeoutError where there is no time left."""
        if self._deadline is None:
            return max(LEAST_S, self.left_s)
        left_s = self._deadline - self._monotonic()
        if left_s <= 0:
            raise TimeoutError
        return max(LEAST_S, min(self.left_s, left_s))

    def now(self) -> float:
        """When a wait begins."""
        return self._monotonic()

    def came(self, size: int, since: float) -> None:
        """A wait for a body that began then brought so many bytes."""
        self.waited(self._monotonic() - since)
        self.moved(size)

    def head_went_on(self, since: float) -> None:
        """A wait for a head that began then brought a piece of it, which gives no time back."""
        self.waited(self._monotonic() - since)

    def head_came(self) -> None:
        """The body has time of its own."""
        self.left_s = self._most_s

    def without_deadline(self) -> None:
        """The caller now sets the pace."""
        self._deadline = None

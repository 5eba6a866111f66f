"""How old a request is, without a clock in common with whoever sent it. Pure."""

from __future__ import annotations

from ambry.protocol.frame import SENT_MASK


class Ages:
    """How long requests of one peer were under way, without a clock in common.

    The smallest difference seen between our monotonic clock and the peer's stands for an undelayed request; what is above it is
    delay. It may grow by a thousandth of the time since it was last seen so, as no two clocks run at the same speed.
    """

    __slots__ = ("base_ms", "seen_at")

    def __init__(self) -> None:
        self.base_ms = -SENT_MASK
        """The smallest difference, modulo 2**32; until one is known, less than any. Only read it."""
        self.seen_at = float("-inf")
        """When that was right, on the event loop's clock. Who finds it so without asking sets it."""

    def age_s(self, sent_ms: int, now: float) -> float:
        """Of a request that came at `now` and was sent at `sent_ms` (ambry/protocol/frame.py); 0 where that is not told."""
        if not sent_ms:
            return 0.0
        difference = (int(now * 1000) - sent_ms) & SENT_MASK
        over = (difference - self.base_ms) & SENT_MASK
        if over > SENT_MASK >> 1 or over <= now - self.seen_at:
            self.base_ms = difference
            self.seen_at = now
            return 0.0
        return over / 1000

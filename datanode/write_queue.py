"""What waits to be written to one disk, of all its replicas together."""

from __future__ import annotations

from ambry.clock import Clock

BUSY_S = 0.1


class WriteQueue:
    """The bound on its bytes, and the sign of foreground work."""

    def __init__(self, *, pending_bytes_max: int, clock: Clock) -> None:
        self._clock = clock
        self._busy_until = clock.monotonic()
        self.pending_bytes = 0
        self.pending_bytes_max = pending_bytes_max

    def admit(self, size: int) -> bool:
        """Take in an append that holds so many bytes; False when too much waits already."""
        if self.pending_bytes + size > self.pending_bytes_max and self.pending_bytes:
            return False
        self.pending_bytes += size
        self._busy_until = self._clock.monotonic() + BUSY_S
        return True

    def release(self, size: int) -> None:
        """An append that was taken in is answered."""
        self.pending_bytes -= size

    def busy(self) -> bool:
        """Whether foreground work used this disk a moment ago: then background work holds back."""
        return self.pending_bytes > 0 or self._clock.monotonic() < self._busy_until

"""What a scoring service holds at most, whoever asks. The values are those of `ambry serve` without options."""

from __future__ import annotations

from dataclasses import dataclass

from ambry.errors import InvalidRequest, Overloaded
from ambry.ml.serving.inference import CELLS_MAX

SMALL = 1 << 16
"""Bytes up to which a body may take of all that is held; a larger one leaves a quarter of it to the small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLimits:
    """Bounds. Raises InvalidRequest for one below 1."""

    body_size_max: int = 8 << 20
    """Bytes of a request."""
    held_size_max: int = 64 << 20
    """Bytes of all bodies that are read or scored."""
    cells_max: int = CELLS_MAX
    """Numbers and texts of a request."""
    waiting_max: int = 64
    """Requests that are scored or wait for a thread."""
    body_s: float = 10.0
    """Seconds until a body is there, from its first byte or none."""

    def __post_init__(self) -> None:
        if not min(self.body_size_max, self.cells_max, self.waiting_max) >= 1 or not self.body_s > 0:
            raise InvalidRequest("a bound of a scoring service is a number above 0")
        if self.held_size_max * 3 // 4 < self.body_size_max:
            raise InvalidRequest(
                f"three quarters of all bytes that are held ({self.held_size_max}) have to hold a request of the largest "
                f"size ({self.body_size_max}); raise the first or lower the second"
            )


class HeldBodies:
    """Counts the bytes of bodies. Not for threads: the event loop asks."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = 0

    def take(self, size: int, body_size: int) -> None:
        """Some more of a body, which has so many by now. Raises Overloaded, and has taken nothing then."""
        most = self._most if body_size <= SMALL else self._most * 3 // 4
        if self.size + size > most:
            raise Overloaded(f"{self.size} bytes of requests are held, and there is no room for {size} more; come back")
        self.size += size

    def give_back(self, size: int) -> None:
        self.size -= size

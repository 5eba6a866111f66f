"""How long an upload has been under way, and what follows for the chunks that it wrote.

Data nodes give up chunks of uploads that must be over (datanode/upkeep/sweeper.py). An upload ends before that, and one that
took its time asks whether its chunks are all still there before it is acknowledged.
"""

from __future__ import annotations

from ambry.clock import Clock
from ambry.errors import RequestTimeout

SURE_FOR_S = 5.0
"""No data node gives chunks up that came so short a time ago (`sweep.grace_s`)."""


class UploadAge:
    """Of one upload, from now on; it may take `max_s` seconds."""

    def __init__(self, clock: Clock, *, created_at_ms: int, max_s: float) -> None:
        """`created_at_ms`: what the wall clock said when it began."""
        self._clock = clock
        self._created_at_ms = created_at_ms
        self._max_s = max_s
        self._began_s = clock.monotonic()

    def ran_s(self) -> float:
        """How long it has been under way, seconds of the monotonic clock."""
        return self._clock.monotonic() - self._began_s

    def took_its_time(self) -> bool:
        """Whether data nodes may have given chunks of it up by now.

        The monotonic clock stands still while the machine is suspended, and the wall clock may be put right meanwhile: neither
        alone can say that it was quick.
        """
        moved_s = abs(self._clock.wall_ms() - self._created_at_ms) / 1000
        return max(self.ran_s(), moved_s) > SURE_FOR_S

    def refuse_old(self) -> None:
        """End an upload whose first chunks data nodes may soon give up. Raises RequestTimeout."""
        ran_s = self.ran_s()
        if ran_s > self._max_s:
            raise RequestTimeout(
                f"the upload ran for {ran_s:.0f} s and may take {self._max_s:.0f} s (router.upload_max_s): its first chunks "
                "may be gone; nothing was stored"
            )

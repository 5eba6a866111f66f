"""What waits to be written to one disk, of all its replicas together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ambry.clock import Clock
from ambry.errors import AmbryError
from ambry.format.record import Record
from datanode.store.entry import IndexEntry
from datanode.store.images import Image

NEVER = float("inf")
Done = Callable[[AmbryError | None], None]
"""Called once on the event loop: None when the append is as durable as it asked to be."""
Prepare = Callable[[IndexEntry | None], Record | None]
"""Says what to append, given what is known of the blob right before; None: only wait as `barrier` does. Raises AmbryError."""

BUSY_S = 0.1
APPEND_OVERHEAD_BYTES = 128
"""What an append holds beside payload and metadata, about."""


class Append(msgspec.Struct):
    """One record on its way into a log, and the bytes it holds; `record` None waits until everything published is synced."""

    record: Record | None
    size: int
    sync: bool
    done: Done
    deadline: float = NEVER
    """On the event loop's clock: nobody waits for it any more, and what was not begun before is not written."""
    images: Sequence[Image] = ()
    """What it appends in place of a record."""
    prepare: Prepare | None = None


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

"""The threads of one disk, which all blocking work of its replicas runs on, and the bound on what waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ambry.clock import Clock

P = ParamSpec("P")
T = TypeVar("T")

BUSY_S = 0.1


class Disk:
    """The threads of one disk, and the bound on what waits for them."""

    def __init__(self, *, threads: int, pending_bytes_max: int, clock: Clock) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="disk")
        self._clock = clock
        self._busy_until = clock.monotonic()
        self.pending_bytes = 0
        self.pending_bytes_max = pending_bytes_max

    def admit(self, size: int) -> bool:
        """Take in an append of so many bytes; False when too much waits already."""
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

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Run blocking `function` on a disk thread."""
        call = function if not (args or kwargs) else lambda: function(*args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        self._executor.shutdown(wait=True)

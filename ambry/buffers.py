"""Memory of large bodies, used again: what held the last one serves the next.

Memory that is fresh from the system has to be cleared and mapped page by page, which costs as much as receiving a body. So a
few buffers are kept for a moment after their use, within KEPT_BYTES_MAX, and nothing at rest.

A buffer is free when nobody has a view of it any more: so nobody has to say that he is done. Invariant: memory that anybody
can see is never handed out again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from mmap import MADV_NOHUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, mmap

LARGE_BYTES = 128 << 10
"""Smaller ones are not kept: the allocator has them at hand."""
KEPT_BYTES_MAX = 32 << 20

Allocate = Callable[[int], memoryview]
"""Memory of so many bytes, whatever stands in them, which is its owner's while there is a view of it."""


def fresh(size: int) -> memoryview:
    """Memory that goes when nobody uses it."""
    return memoryview(bytearray(size))


class Buffers:
    """Those of one thread. `used` is called when there is something that `trim` may drop."""

    def __init__(self, used: Callable[[], None] = lambda: None, *, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._used = used
        self._kept_bytes_max = kept_bytes_max
        self._known: deque[mmap] = deque()
        """In use or free, the one handed out longest ago first."""
        self._idle: set[int] = set()
        """Those that were free at the last look."""
        self.kept_bytes = 0
        """Of all that are known; only read it."""

    def take(self, size: int) -> memoryview:
        """Memory of `size` bytes, as Allocate says. Pages of it that were never written take no room. Raises MemoryError.

        What was used last is taken first: some of it may still be in the processor's cache.
        """
        if size < LARGE_BYTES:
            return fresh(size)
        capacity = -(-size // LARGE_BYTES) * LARGE_BYTES
        known = self._known
        for place in range(len(known) - 1, -1, -1):
            buffer = known[place]
            if len(buffer) == capacity and _is_free(buffer):
                del known[place]
                known.append(buffer)
                self._idle.discard(id(buffer))
                return memoryview(buffer)[:size]
        try:
            buffer = mmap(-1, capacity, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        except OSError as error:
            # As an allocation of any other size is told of: ENOMEM, or EAGAIN for locked memory (mmap(2)).
            raise MemoryError(f"no memory for {capacity} bytes") from error
        with suppress(OSError):  # a kernel without them
            # With huge pages a byte that is written takes 2 MiB, and what is charged is what was received.
            buffer.madvise(MADV_NOHUGEPAGE)
        if self._make_room(capacity):
            if not known:
                self._used()
            known.append(buffer)
            self.kept_bytes += capacity
        return memoryview(buffer)[:size]

    def _make_room(self, size: int) -> bool:
        """Forget free ones of another size for one of `size` bytes. False where all that is kept is in use."""
        for buffer in list(self._known):
            if self.kept_bytes + size <= self._kept_bytes_max:
                break
            if _is_free(buffer):
                self._forget(buffer)
        return self.kept_bytes + size <= self._kept_bytes_max

    def _forget(self, buffer: mmap) -> None:
        self._known.remove(buffer)
        self._idle.discard(id(buffer))
        self.kept_bytes -= len(buffer)

    def trim(self) -> bool:
        """Let those go that nobody used since the last call. Call it now and then, while it returns True."""
        for buffer in list(self._known):
            if not _is_free(buffer):
                self._idle.discard(id(buffer))
            elif id(buffer) in self._idle:
                self._forget(buffer)
            else:
                self._idle.add(id(buffer))
        return bool(self._known)


def _is_free(buffer: mmap) -> bool:
    """Whether nobody has a view of it: only then may it be given a size, here the one that it has."""
    try:
        buffer.resize(len(buffer))
    except (BufferError, SystemError):  # the latter where a system cannot resize at all
        return False
    return True

"""Memory that is free inside the heap, given back to the machine.

The allocator keeps what a crowd left between two things that stay: of glibc `malloc_trim` gives whole pages of it back (its man
page). It takes some milliseconds for each hundred MiB, so it is for the moment when many have gone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

MANY = 256
"""Who is fewer leaves nothing worth the time."""


def _trimmer() -> Callable[[int], int] | None:
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim


_TRIM = _trimmer()


def give_back() -> None:
    """Give back what is free; nothing happens where the allocator is another one."""
    if _TRIM is not None:
        _TRIM(0)


class Crowd:
    """How many there were, so that somebody notices when most of them have gone."""

    def __init__(self) -> None:
        self._most = 0

    def left(self, here: int) -> bool:
        """Whether of at least MANY three in four have gone since this last said so; `here` are those that are here."""
        self._most = max(self._most, here)
        if self._most < MANY or here > self._most // 4:
            return False
        self._most = here
        return True

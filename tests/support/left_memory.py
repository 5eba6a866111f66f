"""What tests leave behind goes before it is gigabytes.

Python looks for cycles among all that it has only when a quarter as much has come since: beside torch, TensorFlow and Spark,
which the collection of all tests imports, that is hardly ever, and takes a second. So what is there when tests begin is frozen.
And it counts objects, of which a body of megabytes is one: what a test has grown by is looked at as well.
"""

from __future__ import annotations

import gc
import resource
from pathlib import Path

GROWTH_BYTES = 64 << 20
_PAGE_BYTES = resource.getpagesize()


def freeze() -> None:
    """From now on only what comes is looked through."""
    gc.collect()
    gc.freeze()
    gc.collect()  # It counts what there is, which is nothing, and of which a quarter is waited for.


class LeftMemory:
    """Looks after each test."""

    def __init__(self) -> None:
        self._last_bytes = resident_bytes()

    def look(self) -> None:
        """Collect, where so much has come since the last time."""
        if resident_bytes() - self._last_bytes > GROWTH_BYTES:
            gc.collect()
            self._last_bytes = resident_bytes()


def resident_bytes() -> int:
    """Of this process; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0

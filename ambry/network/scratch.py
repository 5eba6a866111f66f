"""The memory that bytes of any connection of an event loop come into, one read after the other."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from ambry.protocol.frame import BUFFER_SIZE

_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def scratch_of(loop: asyncio.AbstractEventLoop) -> memoryview:
    """That of this loop: between `get_buffer` and `buffer_updated` of a protocol it runs nothing else."""
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = memoryview(bytearray(BUFFER_SIZE))
    return found

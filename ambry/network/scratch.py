"""What connections of an event loop share: the memory that bytes come into, and how many in a turn."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary, ref

import msgspec

from ambry.buffers import Buffers
from ambry.network.inflow import Inflow
from ambry.protocol.frame import BUFFER_SIZE

TRIM_EVERY_S = 0.5
"""What nobody used for so long goes."""


class LoopMemory(msgspec.Struct, frozen=True):
    """That of one loop. `scratch` is for one read after the other, `buffers` are for large bodies."""

    scratch: memoryview
    buffers: Buffers
    inflow: Inflow


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopMemory] = WeakKeyDictionary()


def memory_of(loop: asyncio.AbstractEventLoop) -> LoopMemory:
    """That of this loop: between `get_buffer` and `buffer_updated` of a protocol it runs nothing else."""
    found = _of_loops.get(loop)
    if found is None:
        weak = ref(loop)  # the table holds what is made here, and must not hold the loop by it

        def trim() -> None:
            if buffers.trim():
                used()

        def used() -> None:
            alive = weak()
            if alive is not None:
                alive.call_later(TRIM_EVERY_S, trim)

        buffers = Buffers(used)
        found = _of_loops[loop] = LoopMemory(memoryview(bytearray(BUFFER_SIZE)), buffers, Inflow())
    return found

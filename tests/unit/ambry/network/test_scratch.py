"""Where bytes come in: one memory for all connections of an event loop, none for two loops together."""

from __future__ import annotations

import asyncio
import gc

from ambry.network.scratch import scratch_of
from ambry.protocol.frame import BUFFER_SIZE


def test_each_loop_has_its_own_and_it_goes_with_it() -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    scratch = scratch_of(first)
    assert len(scratch) == BUFFER_SIZE
    assert scratch_of(first) is scratch
    assert scratch_of(second) is not scratch
    scratch[:4] = b"mine"
    assert bytes(scratch_of(second)[:4]) != b"mine"
    for loop in (first, second):
        loop.close()
    del first, second, loop
    gc.collect()
    assert bytes(scratch[:4]) == b"mine", "whoever has it in hand keeps it"

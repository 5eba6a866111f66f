"""Where bytes come in: one memory for all connections of an event loop, none for two loops together."""

from __future__ import annotations

import asyncio
import gc

import pytest

from ambry.network import scratch as scratch_module
from ambry.network.scratch import memory_of
from ambry.protocol.frame import BUFFER_SIZE


def test_each_loop_has_its_own_and_it_goes_with_it() -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    scratch = memory_of(first).scratch
    assert len(scratch) == BUFFER_SIZE
    assert memory_of(first).scratch is scratch
    assert memory_of(second).scratch is not scratch
    scratch[:4] = b"mine"
    assert bytes(memory_of(second).scratch[:4]) != b"mine"
    for loop in (first, second):
        loop.close()
    del first, second, loop
    gc.collect()
    assert bytes(scratch[:4]) == b"mine", "whoever has it in hand keeps it"


async def test_what_large_bodies_left_goes_when_nobody_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch_module, "TRIM_EVERY_S", 0.001)
    buffers = memory_of(asyncio.get_running_loop()).buffers
    view = buffers.take(1 << 20)
    assert buffers.kept_bytes == 1 << 20
    del view
    async with asyncio.timeout(10):
        while buffers.kept_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

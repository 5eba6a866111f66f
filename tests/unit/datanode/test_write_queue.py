"""What waits to be written to a disk: how much of it is taken in, and when background work should hold back."""

from __future__ import annotations

import pytest

from datanode.write_queue import BUSY_S, WriteQueue
from tests.support.fake_clock import SettableClock


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def writes(clock: SettableClock) -> WriteQueue:
    return WriteQueue(pending_bytes_max=100, clock=clock)


def test_what_waits_is_bounded_and_one_alone_is_always_taken(writes: WriteQueue) -> None:
    assert writes.admit(1000)
    assert not writes.admit(1)
    writes.release(1000)
    assert writes.admit(60)
    assert writes.admit(40)
    assert not writes.admit(1)
    assert writes.pending_bytes == 100


def test_a_disk_is_busy_until_a_moment_after_the_last_append(writes: WriteQueue, clock: SettableClock) -> None:
    clock.advance(1)
    assert not writes.busy()
    assert writes.admit(10)
    clock.advance(1)
    assert writes.busy(), "somebody waits for it"
    writes.release(10)
    assert not writes.busy()
    assert writes.admit(10)
    writes.release(10)
    assert writes.busy()
    clock.advance(2 * BUSY_S)
    assert not writes.busy()

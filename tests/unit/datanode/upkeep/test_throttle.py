"""The bound on background work: how long it makes a thread wait, on a clock that a test moves."""

from __future__ import annotations

import pytest

from datanode.upkeep.throttle import BURST_S, Throttle
from tests.support.fake_clock import SettableClock

RATE = 1_000


def test_a_small_piece_does_not_wait() -> None:
    clock = SettableClock()
    Throttle(clock, RATE)(int(RATE * BURST_S) - 1)
    assert clock.monotonic() == 1_000.0


def test_a_large_piece_waits_for_all_of_its_bytes() -> None:
    clock = SettableClock()
    Throttle(clock, RATE)(3 * RATE)
    assert clock.monotonic() == pytest.approx(1_003.0)

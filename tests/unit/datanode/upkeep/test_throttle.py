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


def test_work_beside_a_busy_event_loop_rests_longer_than_it_worked() -> None:
    """A walk through the indexes at start took the interpreter from the loop: reads fell to 45 % for seconds."""
    clock = SettableClock()
    throttle = Throttle(clock, RATE, load=lambda: 1.0)
    worked_s = rested_s = 0.0
    for _ in range(50):
        clock.advance(0.002)
        worked_s += 0.002
        before = clock.monotonic()
        throttle(0)
        rested_s += clock.monotonic() - before
    assert rested_s >= 10 * worked_s


def test_work_beside_an_idle_event_loop_goes_on_at_once() -> None:
    clock = SettableClock()
    throttle = Throttle(clock, RATE, load=lambda: 0.0)
    for _ in range(50):
        clock.advance(0.002)
        before = clock.monotonic()
        throttle(0)
        assert clock.monotonic() == before

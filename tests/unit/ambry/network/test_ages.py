"""Requests that were long under way, by two clocks that have nothing in common."""

from __future__ import annotations

import pytest

from ambry.network.ages import Ages
from ambry.protocol.frame import SENT_MASK


def test_delay_is_what_is_above_the_least_difference_of_two_clocks() -> None:
    ages = Ages()
    assert ages.age_s(5_000, 100.0) == 0  # the first stands for no delay
    assert ages.age_s(6_000, 101.0) == 0
    assert ages.age_s(6_000, 161.0) == pytest.approx(60)
    assert ages.age_s(66_000, 161.5) == pytest.approx(0.5)
    assert ages.age_s(66_900, 161.5) == 0  # the way is shorter than it was ever seen: so long were the others delayed
    assert ages.age_s(66_900, 162.0) == pytest.approx(0.5)


def test_clocks_that_drift_apart_make_nobody_old() -> None:
    ages = Ages()
    for second in range(0, 1_000_000, 1000):
        assert ages.age_s(int(second * 1000 * 0.9995) + 1, float(second)) == 0


def test_the_clock_of_the_other_end_may_run_over() -> None:
    ages = Ages()
    assert ages.age_s(SENT_MASK - 500, 10.0) == 0
    assert ages.age_s(499, 11.0) == 0
    assert ages.age_s(499, 14.0) == pytest.approx(3)


def test_a_peer_that_does_not_tell_when_it_sent_is_never_late() -> None:
    ages = Ages()
    assert [ages.age_s(0, float(now)) for now in (1, 1000, 2)] == [0, 0, 0]

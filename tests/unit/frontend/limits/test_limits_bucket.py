from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.limits.bucket import Bucket

RATES = st.floats(0.01, 1e6)
PAUSES = st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 50)), max_size=60)
"""Seconds that pass, and what is wanted then."""


@given(rate=RATES, burst=st.floats(50, 1e6), asked=PAUSES)
def test_what_is_taken_is_never_more_than_the_rate_and_one_burst(
    rate: float, burst: float, asked: list[tuple[float, float]]
) -> None:
    bucket, now, taken = Bucket(rate, burst, 0.0), 0.0, 0.0
    for pause, amount in asked:
        now += pause
        if not bucket.take(amount, now):
            taken += amount
        assert taken <= (rate * now + burst) * (1 + 1e-9)


@given(rate=RATES, burst=st.floats(0.1, 1e6), asked=PAUSES)
def test_what_is_reserved_passes_never_faster_than_the_rate_after_one_burst(
    rate: float, burst: float, asked: list[tuple[float, float]]
) -> None:
    bucket, now = Bucket(rate, burst, 0.0), 0.0
    passes: list[tuple[float, float]] = []
    for pause, amount in asked:
        now += pause
        passes.append((now + bucket.reserve(amount, now), amount))
    total = 0.0
    for at, amount in sorted(passes):
        total += amount
        assert total <= (rate * at + burst) * (1 + 1e-6) + 1e-6


@given(rate=RATES, amount=st.floats(1, 50))
def test_who_comes_back_when_it_was_told_finds_what_it_wanted(rate: float, amount: float) -> None:
    bucket = Bucket(rate, 50.0, 0.0)
    assert bucket.take(50.0, 0.0) == 0
    wait_s = bucket.take(amount, 0.0)
    assert bucket.take(amount, wait_s * 0.9) > 0
    assert bucket.take(amount, wait_s * (1 + 1e-9)) == pytest.approx(0, abs=1e-6)


def test_a_change_leaves_what_was_used_and_gives_nothing_at_once() -> None:
    bucket = Bucket(10.0, 10.0, 0.0)
    assert bucket.take(8.0, 0.0) == 0
    bucket.change(1_000.0, 1_000.0, 0.0)
    assert (bucket.level(0.0), bucket.level(0.5)) == (2.0, 502.0)
    bucket.change(1.0, 5.0, 0.5)
    assert bucket.level(0.5) == 5.0
    bucket.reserve(25.0, 0.5)
    bucket.change(2.0, 5.0, 0.5)
    assert bucket.wait_s(0.5) == 10.0


def test_time_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(1.0, 1.0, 100.0)
    assert bucket.take(1.0, 100.0) == 0
    assert bucket.take(1.0, 50.0) == 1.0
    assert bucket.wait_s(101.0) == 0

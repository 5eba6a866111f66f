from __future__ import annotations

import pytest

from frontend.limits.rates import BURST_MAX_S, UNBOUNDED, Rates


@pytest.mark.parametrize(
    "rates",
    [
        Rates(requests_per_s=0),
        Rates(requests_per_s=5e-324),
        Rates(requests_per_s=1 / 86_401),
        Rates(bytes_per_s=1e-200),
        Rates(bytes_per_s=0.99),
        Rates(bytes_per_s=-1.0),
        Rates(bytes_per_s=2e15),
        Rates(requests_per_s=float("nan")),
        Rates(burst_s=0),
        Rates(burst_s=BURST_MAX_S + 1),
    ],
)
def test_rates_that_mean_nothing_are_told(rates: Rates) -> None:
    assert rates.wrong() is not None


def test_what_is_not_said_is_no_bound_and_a_burst_is_one_second() -> None:
    assert UNBOUNDED.wrong() is None and UNBOUNDED.worth_s == 1.0
    assert Rates(requests_per_s=0.1, bytes_per_s=1e9, burst_s=10).wrong() is None
    assert Rates(requests_per_s=1 / 86_400, bytes_per_s=1).wrong() is None


@pytest.mark.parametrize(
    ("own", "within"),
    [
        (Rates(), False),
        (Rates(requests_per_s=1), False),
        (Rates(requests_per_s=2, bytes_per_s=10), True),
        (Rates(requests_per_s=1, bytes_per_s=5, burst_s=6), True),
        (Rates(requests_per_s=1, bytes_per_s=5, burst_s=6.5), False),
        (Rates(requests_per_s=2.5, bytes_per_s=10, burst_s=1), False),
    ],
)
def test_rates_are_within_others_where_they_let_no_more_through(own: Rates, within: bool) -> None:
    others = Rates(requests_per_s=2, bytes_per_s=10, burst_s=3)
    assert own.within(others) is within
    assert own.within(own) and own.within(UNBOUNDED)

from __future__ import annotations

import pytest

from frontend.limits.rates import BURST_MAX_S, UNBOUNDED, Rates


@pytest.mark.parametrize(
    "rates",
    [
        Rates(requests_per_s=0),
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

"""What the numbers of two arms say, looked at once or at every unit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.experiments.statistics import adjusted, always_valid, effect_of, linearised, sample_ratio_p


def test_looking_early_and_often_is_no_lie() -> None:
    """Of experiments without an effect that are looked at 50 times, p below 5 % is seen in a third; always-valid p in few."""
    chance = np.random.default_rng(11)
    fixed = always = 0
    for _ in range(200):
        control, treatment = chance.normal(size=(2, 2_000))
        looks = [effect_of(control[:count], treatment[:count]) for count in range(40, 2_001, 40)]
        fixed += min(look.p for look in looks) < 0.05
        always += min(look.always_p for look in looks) < 0.05
    assert fixed > 40
    # At most 5 % in the long run: 10 of 200, and 25 would be five deviations more.
    assert always < 25


def test_an_effect_that_is_there_is_found() -> None:
    chance = np.random.default_rng(3)
    found = effect_of(chance.normal(0, 1, 5_000), chance.normal(0.2, 1, 5_000))
    assert found.always_p < 1e-6 and found.always_low > 0


@pytest.mark.parametrize(("difference", "variance", "p"), [(0, 0, 1), (1, 0, 1), (0, 1, 1), (1e6, 1e-12, 0)])
def test_always_valid_p_at_its_ends(difference: float, variance: float, p: float) -> None:
    assert always_valid(difference, variance, 1.0, 0.05)[0] == p


def test_a_few_units_show_nothing_that_holds_at_every_look() -> None:
    """Two units of each arm that differed were always-valid proof, and a champion moved."""
    few = effect_of([0, 0], [1, 1])
    assert (few.always_p, few.always_low, few.always_high) == (1.0, -math.inf, math.inf)
    many = effect_of(np.zeros(200), np.ones(200))
    assert many.always_p < 1e-6 and many.always_low > 0.5
    rare = effect_of(np.zeros(200), np.concatenate([np.zeros(199), [1.0]]))
    assert rare.always_p == 1 and rare.always_low < 0 < rare.always_high


def test_looking_early_at_0_and_1_is_no_lie_either() -> None:
    chance = np.random.default_rng(12)
    found = 0
    for _ in range(300):
        control, treatment = (chance.random((2, 1_500)) < 0.5).astype(float)
        looks = [effect_of(control[:count], treatment[:count]) for count in (2, 5, 20, 50, *range(100, 1_501, 100))]
        found += min(look.always_p for look in looks) < 0.05
    # At most 15 of 300 in the long run; 34 would be five deviations more.
    assert found < 34


def test_metrics_that_never_vary() -> None:
    assert effect_of([1, 1, 1], [1, 1]).p == 1
    assert effect_of([2, 2], [3, 3]).p == 0
    assert effect_of([0, 0, 0], [0, 0]).p == 1


SKEWED: dict[str, Callable[[Any, int], Any]] = {
    "0 or 1, rarely": lambda chance, units: (chance.random(units) < 0.05).astype(float),
    "counts of rare things": lambda chance, units: chance.poisson(0.05, units).astype(float),
    "money of a few": lambda chance, units: (chance.random(units) < 0.03) * chance.lognormal(3, 1, units),
    "heavy tails": lambda chance, units: chance.pareto(2.1, units),
}


@pytest.mark.parametrize("metric", SKEWED)
def test_looking_often_at_a_small_arm_beside_a_large_one_is_no_lie(metric: str) -> None:
    """Arms of 9 to 1, a skewed metric and no effect: up to 23 % were proofs, since the small arm knew too little of itself."""
    chance = np.random.default_rng(17)
    found, looks = 0, np.unique(np.geomspace(100, 1_000, 15).astype(int))
    for _ in range(150):
        treatment, control = SKEWED[metric](chance, 1_000), SKEWED[metric](chance, 9_000)
        found += any(effect_of(control[: 9 * units], treatment[:units]).always_p < 0.05 for units in looks)
    # At most 5 % in the long run: 7.5 of 150, and 21 would be five deviations more.
    assert found < 21


def test_an_arm_that_has_seen_less_variance_is_not_surer() -> None:
    control = np.repeat([0.0, 1.0, 2.0], [856, 43, 1])
    treatment = np.repeat([0.0, 1.0], [99, 1])
    found = effect_of(control, treatment)
    assert found.p < 0.01 and found.always_p > 0.05


def test_one_arm_alone_is_split_as_it_should_be() -> None:
    """Its sample ratio was NaN, and its evaluation no JSON."""
    assert sample_ratio_p([5], [1.0]) == 1.0


def test_a_ratio_has_the_variance_of_the_delta_method() -> None:
    chance = np.random.default_rng(9)
    views = chance.poisson(5, 4_000).astype(float)
    clicks = chance.binomial(views.astype(int), 0.3).astype(float)
    values = linearised(clicks, views, "clicks/views")
    ratio = clicks.sum() / views.sum()
    (click_variance, both), (_, view_variance) = np.cov(clicks, views)
    expected = (click_variance - 2 * ratio * both + ratio**2 * view_variance) / views.mean() ** 2
    assert values.mean() == pytest.approx(ratio) and values.var(ddof=1) == pytest.approx(expected)
    with pytest.raises(InvalidRequest, match="divided by"):
        linearised(clicks, 0 * views, "clicks/views")
    with pytest.raises(InvalidRequest, match="divided by"):
        linearised(clicks, views - 5, "clicks/views")


def test_views_of_a_unit_are_no_units() -> None:
    """Units that differ, without an effect: over views taken as units p lies below 5 % in most, over units in few."""
    chance = np.random.default_rng(10)
    by_views = by_units = 0
    for _ in range(100):
        arms = []
        for _ in range(2):
            views = chance.poisson(50, 300) + 1
            arms.append((chance.binomial(views, chance.beta(0.5, 0.5, 300)).astype(float), views.astype(float)))
        (clicks, views), (other_clicks, other_views) = arms
        by_units += effect_of(linearised(clicks, views, "m"), linearised(other_clicks, other_views, "m")).p < 0.05
        sums = ((clicks.sum(), views.sum()), (other_clicks.sum(), other_views.sum()))
        shares = [np.repeat([0.0, 1.0], [int(total - some), int(some)]) for some, total in sums]
        by_views += effect_of(shares[0], shares[1]).p < 0.05
    # 5 of 100 in the long run; 17 would be five deviations and a half more.
    assert by_units < 17 and by_views > 50


def test_p_of_many_are_adjusted() -> None:
    assert adjusted([]) == []
    assert adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjusted([0.0, 1.0]) == [0.0, 1.0]

"""What the numbers of two arms say: pure functions over arrays, by scipy and statsmodels.

The fixed interval and p (Welch; for 0 and 1 Newcombe's interval and the score test) hold for the one look that was planned. Who
looks again and again takes the always-valid ones, of the mixture sequential probability ratio test with a normal prior for the
effect: they hold at every look together (Johari, Pekelis and Walsh, 2015, "Always valid inference", equation 5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed

UNITS_MIN = 100
"""Of each arm. With fewer, the variance is not known well enough for an interval that holds at every look: there is none."""
EFFECT_SCALE = 0.1
"""The standard deviation of the prior, in standard deviations of the metric: effects of some hundredths to some tenths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an arm has beside the control: `difference` of the means, with its intervals."""

    control_mean: float
    mean: float
    difference: float
    low: float
    high: float
    p: float
    always_low: float
    always_high: float
    """Infinite where too few units were seen."""
    always_p: float

    @property
    def relative(self) -> float | None:
        """The difference in parts of the control's mean; None where that is 0."""
        return self.difference / abs(self.control_mean) if self.control_mean else None


def sample_ratio_p(counts: Sequence[int], shares: Sequence[float]) -> float:
    """How likely counts as uneven as these are where units are split by `shares` (chi-square); 1 for no units, or one arm."""
    total = sum(counts)
    if not total or len(counts) == 1:
        return 1.0
    expected = [total * share / math.fsum(shares) for share in shares]
    if any(not each for each in expected):
        raise InvalidRequest("an arm without a share has no units to expect")
    return float(needed("scipy.stats").chisquare(counts, expected).pvalue)


def effect_of(control: Any, treatment: Any, alpha: float = 0.05) -> Effect:
    """The effect on a metric, of which these are the values of each unit.

    Raises InvalidRequest for fewer than two in an arm, and for values that are no finite numbers.
    """
    import numpy as np

    control, treatment = (np.asarray(values, dtype=np.float64) for values in (control, treatment))
    for name, values in (("control", control), ("treatment", treatment)):
        if len(values) < 2:
            raise InvalidRequest(f"the {name} has {len(values)} units with the metric; two are the least")
        if not np.isfinite(values).all():
            raise InvalidRequest(f"the {name} has values of the metric that are no finite numbers")
    difference = float(treatment.mean() - control.mean())
    variance = float(control.var(ddof=1) / len(control) + treatment.var(ddof=1) / len(treatment))
    low, high, p = (
        _binary(control, treatment, alpha) if _is_binary(control, treatment) else _welch(control, treatment, alpha)
    )
    pooled = math.sqrt(float(np.concatenate([control - control.mean(), treatment - treatment.mean()]).var()))
    always_p, width = 1.0, math.inf
    if min(len(control), len(treatment)) >= UNITS_MIN:
        always_p, width = always_valid(
            difference,
            _known(control, treatment, variance),
            EFFECT_SCALE * (pooled or float(np.concatenate([control, treatment]).std())),
            alpha,
        )
    return Effect(
        control_mean=float(control.mean()),
        mean=float(treatment.mean()),
        difference=difference,
        low=low,
        high=high,
        p=p,
        always_low=difference - width,
        always_high=difference + width,
        always_p=always_p,
    )


def linearised(counted: Any, over: Any, metric: str) -> Any:
    """A value for each unit, whose mean is the ratio of the sums and whose variance is the ratio's own, by the delta method.

    What was assigned is the unit: its views are not independent of each other, so a test over views would be wrong (Deng,
    Knoblich and Lu, 2018, "Applying the delta method in metric analytics"). Raises InvalidRequest where there is nothing to
    divide by.
    """
    if (over < 0).any() or not over.any():
        raise InvalidRequest(f"{metric!r}: what is divided by is 0 or more of each unit, and more of one in each arm")
    mean = over.mean()
    ratio = counted.mean() / mean
    return ratio + (counted - ratio * over) / mean


def adjusted(p: Sequence[float]) -> list[float]:
    """Each p for how many there are, by Holm's method: it holds however they depend on each other, and at every look."""
    if not p:
        return []
    return [float(each) for each in needed("statsmodels.stats.multitest").multipletests(p, method="holm")[1]]


def always_valid(difference: float, variance: float, scale: float, alpha: float) -> tuple[float, float]:
    """The always-valid p of a difference with this variance, and half the width of its interval at 1 - alpha.

    `scale` is the standard deviation of the prior for the effect. Without a variance nothing is known: (1, infinity).
    """
    if variance <= 0 or scale <= 0:
        return 1.0, math.inf
    prior = scale * scale
    log_ratio = 0.5 * math.log(variance / (variance + prior)) + prior * difference**2 / (
        2 * variance * (variance + prior)
    )
    width = math.sqrt(
        2
        * variance
        * (variance + prior)
        / prior
        * (math.log(1 / alpha) + 0.5 * math.log((variance + prior) / variance))
    )
    return min(1.0, math.exp(-log_ratio)) if log_ratio > -700 else 1.0, width


def _known(control: Any, treatment: Any, variance: float) -> float:
    """The variance of the difference, as large as it may well be where an arm has shown less of it than there is.

    Where an arm is small and its metric is skewed, as sums of money are, it has most often seen none of what is rare: its mean
    is too low and its variance is too, and the difference looks certain. So it is at least what both arms together say. Of 0
    and 1 moreover with one success and one failure more in each arm (Agresti and Caffo, 2000). Where an arm never varied, the
    other one says what it might.
    """
    parts = 1 / len(control) + 1 / len(treatment)
    variances = float(control.var()), float(treatment.var())
    together = (variances[0] * len(control) + variances[1] * len(treatment)) / (len(control) + len(treatment))
    least = (together if min(variances) > 0 else max(variances)) * parts
    if _is_binary(control, treatment):
        shares = [(values.sum() + 1) / (len(values) + 2) for values in (control, treatment)]
        told = sum(
            share * (1 - share) / (len(values) + 2) for share, values in zip(shares, (control, treatment), strict=True)
        )
        least = max(least, float(told))
    return max(variance, least)


def _is_binary(*arms: Any) -> bool:
    return all(bool(((values == 0) | (values == 1)).all()) for values in arms)


def _binary(control: Any, treatment: Any, alpha: float) -> tuple[float, float, float]:
    proportion = needed("statsmodels.stats.proportion")
    counts = int(treatment.sum()), len(treatment), int(control.sum()), len(control)
    low, high = proportion.confint_proportions_2indep(*counts, method="newcomb", compare="diff", alpha=alpha)
    if counts[0] + counts[2] in (0, counts[1] + counts[3]):
        return float(low), float(high), 1.0
    tested = proportion.test_proportions_2indep(*counts, method="score", compare="diff", return_results=True)
    return float(low), float(high), float(tested.pvalue)


def _welch(control: Any, treatment: Any, alpha: float) -> tuple[float, float, float]:
    weights = needed("statsmodels.stats.weightstats")
    if not control.std() and not treatment.std():
        difference = float(treatment.mean() - control.mean())
        return difference, difference, 0.0 if difference else 1.0
    compared = weights.CompareMeans(weights.DescrStatsW(treatment), weights.DescrStatsW(control))
    low, high = compared.tconfint_diff(alpha=alpha, usevar="unequal")
    return float(low), float(high), float(compared.ttest_ind(usevar="unequal")[1])

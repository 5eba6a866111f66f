"""What experiments have shown: against scipy's and statsmodels' own answers, and against chance."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ambry.errors import InvalidRequest
from ambry.ml.experiments.document import Arm, Experiment
from ambry.ml.experiments.evaluation import evaluate
from ambry.ml.experiments.statistics import sample_ratio_p

TWO = Experiment(name="ranker-2", arms=(Arm("control", 0.5), Arm("treatment", 0.5)), metrics=("clicks",))


def outcomes(units: int, lift: float, seed: int = 5) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    numbers = np.arange(units)
    arms = TWO.arms_of(numbers)
    return pd.DataFrame(
        {
            "unit": numbers,
            "clicks": chance.normal(10 + lift * (arms == 1), 3),
            "bought": (chance.random(units) < 0.2 + lift / 10 * (arms == 1)).astype(int),
            "country": np.where(numbers % 3 == 0, "de", "at"),
        }
    )


def test_an_effect_is_what_scipy_says() -> None:
    frame = outcomes(4_000, 0.5)
    found = evaluate(TWO, frame).of("clicks", "treatment")
    arms = TWO.arms_of(frame["unit"].to_numpy())
    control, treatment = (frame["clicks"][arms == place] for place in (0, 1))
    expected = stats.ttest_ind(treatment, control, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.effect.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.effect.low, found.effect.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.effect.difference == pytest.approx(treatment.mean() - control.mean())
    assert (found.control_units, found.units) == (len(control), len(treatment))
    assert found.effect.always_low < found.effect.low < found.effect.high < found.effect.always_high
    assert found.effect.always_p >= found.effect.p


def test_what_is_0_or_1_is_a_proportion() -> None:
    found = evaluate(TWO, outcomes(20_000, 0.8), metrics=["bought"]).of("bought", "treatment").effect
    assert 0.05 < found.difference < 0.11 and found.low < found.difference < found.high and found.p < 1e-6
    assert found.relative == pytest.approx(found.difference / found.control_mean)


def test_segments_are_compared_by_themselves() -> None:
    found = evaluate(TWO, outcomes(3_000, 0.5), segments=["country"])
    whole, german, austrian = (found.of("clicks", "treatment", name) for name in ("all", "country=de", "country=at"))
    assert german.units + austrian.units == whole.units


def test_a_split_that_is_off_is_told() -> None:
    frame = outcomes(10_000, 0)
    arms = TWO.arms_of(frame["unit"].to_numpy())
    assert evaluate(TWO, frame).trustworthy
    lost = frame[(arms == 0) | (frame["unit"] % 10 > 0)]
    assert not evaluate(TWO, lost).trustworthy
    assert sample_ratio_p([500, 500], [0.5, 0.5]) == 1
    assert sample_ratio_p([0, 0], [0.5, 0.5]) == 1
    assert sample_ratio_p([800, 200], [0.8, 0.2]) == pytest.approx(1)


def test_who_is_not_targeted_is_not_counted() -> None:
    frame = outcomes(1_000, 0)
    german = Experiment(name="ranker-2", arms=TWO.arms, metrics=("clicks",), targeting={"country": ("de",)})
    assert sum(evaluate(german, frame).counts.values()) == int((frame["country"] == "de").sum())
    with pytest.raises(InvalidRequest, match="no such column"):
        evaluate(german, frame.drop(columns="country"))


def test_arms_may_be_those_of_exposures() -> None:
    frame = outcomes(1_000, 0)
    frame["seen"] = np.where(frame["unit"] % 2 == 0, "control", "treatment")
    frame.loc[0, "seen"] = None
    assert evaluate(TWO, frame, arm="seen").counts == {"control": 499, "treatment": 500}


def test_units_without_the_metric_are_left_out_of_it() -> None:
    frame = outcomes(1_000, 0)
    frame.loc[frame["unit"] < 100, "clicks"] = None
    found = evaluate(TWO, frame)
    assert sum(found.counts.values()) == 1_000
    one = found.of("clicks", "treatment")
    assert one.units + one.control_units == 900


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metrics": ["money"]}, "no column 'money'"),
        ({"unit": "member"}, "no column 'member'"),
        ({"unit": "country"}, "stands twice"),
        ({"metrics": ["country"]}, "no numbers"),
        ({"arm": "country"}, "nobody has defined the arms at, de"),
    ],
)
def test_what_cannot_be_evaluated_is_told(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        evaluate(TWO, outcomes(100, 0), **change)


def test_too_few_units_are_told() -> None:
    with pytest.raises(InvalidRequest, match="wait for more"):
        evaluate(TWO, outcomes(2, 0))
    with pytest.raises(InvalidRequest, match="no rows"):
        evaluate(TWO, [])


def test_an_evaluation_is_json() -> None:
    told = json.loads(evaluate(TWO, outcomes(500, 0.5)).encode())
    assert (told["experiment"], told["control"], told["trustworthy"]) == ("ranker-2", "control", True)
    assert set(told["comparisons"][0]["effect"]) >= {"p", "always_p", "difference", "low", "high"}

"""What experiments have shown: against scipy's and statsmodels' own answers, and against chance."""

from __future__ import annotations

import json
import math
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
        ({"alpha": 1.0}, "alpha lies between"),
        ({"metrics": "clicks"}, "lists of names"),
        ({"metrics": ["clicks/views"]}, "no column 'views'"),
    ],
)
def test_what_cannot_be_evaluated_is_told(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        evaluate(TWO, outcomes(100, 0), **change)


def test_units_that_differ_by_a_nul_are_two() -> None:
    units = [f"ann{ending * number}" for ending in ("\0", "x") for number in range(1, 200)]
    assert sum(evaluate(TWO, {"unit": units, "clicks": [1.0] * len(units)}).counts.values()) == len(units)


def test_too_few_units_are_told() -> None:
    with pytest.raises(InvalidRequest, match="wait for more"):
        evaluate(TWO, outcomes(2, 0))
    with pytest.raises(InvalidRequest, match="no rows"):
        evaluate(TWO, [])


def test_an_evaluation_is_json() -> None:
    told = json.loads(evaluate(TWO, outcomes(500, 0.5)).encode())
    assert (told["experiment"], told["control"], told["trustworthy"]) == ("ranker-2", "control", True)
    assert set(told["comparisons"][0]["effect"]) >= {"p", "always_p", "difference", "low", "high"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [pd.DataFrame({"unit": [1, 2], "clicks": 1}), pd.DataFrame({"unit": [3, 4], "x": 1})],
            "from 2 on have no column 'clicks'; they have unit, x",
        ),
        ({"unit": [1, 2], "clicks": [1]}, "has 1 rows, and 'unit' 2"),
        ({"unit": [1, 2], "clicks": [[1], [1, 2]]}, "no lists"),
        ({"unit": [1, 2], "clicks": [[1], [2]]}, "no lists"),
        ({"unit": [3, 1, "1"], "clicks": [1, 1, 2]}, "the unit '1' stands twice"),
        ({"unit": ["b", "a", "b"], "clicks": [1, 1, 2]}, "the unit 'b' stands twice"),
        ({"user": [1, 2], "clicks": [1, 2]}, "no column 'unit'; they have clicks, user; say which one has the units"),
        ({"unit": [1, 2, 3], "clicks": ["1", "0", "yes"]}, "no numbers, such as 'yes'"),
        ({"unit": [1, 2, 3], "clicks": ["1", None, "yes"]}, "no numbers, such as 'yes'"),
        (pd.DataFrame({"unit": [1, "1"], "clicks": [1, 2]}), "stands twice"),
        ({"unit": [1, True], "clicks": [1, 2]}, "True is no unit"),
        ({"unit": [1, 2], "clicks": ["1", "2"]}, "no numbers, such as '1'"),
        ({"unit": [1, 2], "clicks": [1, "2"]}, "no numbers, such as '2'"),
        ({"unit": [1, 2], "clicks": np.array([1, 2], dtype="M8[s]")}, "no numbers"),
        ({"unit": [1, 2], "clicks": [1j, 2]}, "no numbers"),
        ({"unit": [1, 2], "clicks": [1.0, math.inf]}, "has the value inf"),
        ({"unit": [1, 2], "clicks": [1, 10**400]}, "has the value inf"),
        ({"unit": [1, 2], "clicks": [1e200, None]}, "1e\\+200"),
        ({"unit": [], "clicks": []}, "no rows"),
    ],
)
def test_rows_that_are_none_are_told(rows: Any, words: str) -> None:
    """A column that a later frame has not was a ValueError of numpy; "2" was 2; 1 and "1" were two units."""
    with pytest.raises(InvalidRequest, match=words):
        evaluate(TWO, rows, arm=None)


def test_what_pandas_has_for_nothing_is_nothing() -> None:
    frame = outcomes(1_000, 0)
    frame["clicks"] = frame["clicks"].round().astype("Int64")
    frame.loc[frame["unit"] < 100, "clicks"] = pd.NA
    frame["seen"] = pd.Series(["control", "treatment"] * 500, dtype="string")
    frame.loc[0, "seen"] = pd.NA
    found = evaluate(TWO, frame, arm="seen")
    assert found.counts == {"control": 499, "treatment": 500}
    assert found.of("clicks", "treatment").units == 450


def test_a_segment_with_many_values_is_its_most_frequent_ones_and_the_others() -> None:
    """Each value was a scan of all rows: a segment by unit did not end."""
    frame = outcomes(50_000, 0)
    frame["city"] = np.where(frame["unit"] % 2 == 0, "x", frame["unit"].astype(str))
    found = evaluate(TWO, frame, segments=["city"])
    frequent, others = (found.of("clicks", "treatment", name) for name in ("city=x", "city: 24,901 others"))
    assert frequent.units + frequent.control_units == 25_000 and others.units + others.control_units == 24_901
    assert {each.segment for each in found.comparisons} == {"all", "city=x", "city: 24,901 others"}
    frame["pair"] = frame["unit"] // 5
    assert len(evaluate(TWO, frame, segments=["pair"]).comparisons) < 103
    metrics = [f"m{number}" for number in range(101)]
    with pytest.raises(InvalidRequest, match="comparisons, and 10,000 are the most"):
        evaluate(TWO, frame.assign(**dict.fromkeys(metrics, 1)), segments=["pair"], metrics=metrics)


def test_many_comparisons_are_adjusted_for_how_many_there_are() -> None:
    """Of 40 segments without an effect, 5 % were said to have one."""
    frame = outcomes(8_000, 0.5)
    frame["noise"] = np.random.default_rng(1).normal(size=8_000)
    frame["group"] = frame["unit"] // 400
    found = evaluate(TWO, frame, metrics=["clicks", "noise"], segments=["group"])
    assert len(found.comparisons) == 42
    first = found.of("clicks", "treatment")
    assert first.adjusted_p == first.effect.always_p < 1e-4, "what it is made for is one question"
    others = [each for each in found.comparisons if each is not first]
    assert all(each.adjusted_p >= each.effect.always_p for each in others)
    least = min((each for each in others), key=lambda each: each.effect.always_p)
    assert least.adjusted_p >= 40 * least.effect.always_p or least.adjusted_p == 1
    told = json.loads(found.encode())
    assert told["comparisons_count"] == 42 and all("adjusted_p" in each for each in told["comparisons"])
    asked_otherwise = evaluate(TWO, frame, metrics=["noise", "clicks"])
    assert asked_otherwise.of("clicks", "treatment").adjusted_p == first.effect.always_p, (
        "the document says what is first"
    )


def test_the_first_metric_is_adjusted_for_its_arms() -> None:
    arms = (Arm("control", 0.25), *(Arm(name, 0.25) for name in "abc"))
    four = Experiment(name="four", arms=arms, metrics=("clicks",))
    units = np.arange(4_000)
    clicks = np.random.default_rng(2).normal(size=4_000) + 0.25 * (four.arms_of(units) == 1)
    found = evaluate(four, {"unit": units, "clicks": clicks}).of("clicks", "a")
    assert found.adjusted_p == pytest.approx(3 * found.effect.always_p)


def test_a_ratio_is_of_sums() -> None:
    frame = outcomes(4_000, 0)
    frame["views"] = frame["unit"] % 10
    frame["hits"] = frame["views"] * (0.5 + 0.1 * TWO.arms_of(frame["unit"].to_numpy()))
    found = evaluate(TWO, frame, metrics=["hits/views"], segments=["country"]).of("hits/views", "treatment").effect
    assert (found.control_mean, found.mean) == pytest.approx((0.5, 0.6))
    nobody = frame.assign(views=0)
    with pytest.raises(InvalidRequest, match="'hits/views': what is divided by"):
        evaluate(TWO, nobody, metrics=["hits/views"])
    part = frame.assign(views=frame["views"] * (frame["country"] == "de"))
    assert len(evaluate(TWO, part, metrics=["hits/views"], segments=["country"]).comparisons) == 2


def test_an_experiment_of_one_arm_compares_nothing() -> None:
    """Its sample ratio was NaN, which is no JSON."""
    alone = evaluate(Experiment(name="a", arms=(Arm("a", 1.0),), metrics=("clicks",)), outcomes(100, 0))
    assert json.loads(alone.encode())["sample_ratio_p"] == 1 and alone.comparisons == ()


def test_a_segment_that_no_unit_has_is_told() -> None:
    """--segment planet was taken, and compared nothing, without a word."""
    with pytest.raises(InvalidRequest, match="no unit has a value of the segment 'planet'"):
        evaluate(TWO, outcomes(300, 0.5).assign(planet=None), segments=["country", "planet"])

"""Exposures beside outcomes, and evaluated: the arm is the first that a unit saw."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.experiments.document import Arm, Experiment
from ambry.ml.experiments.evaluation import evaluate
from ambry.ml.experiments.exposures import Exposure
from ambry.ml.experiments.joining import SAID_ARM, joined

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
TWO = Experiment(name="ranker-2", arms=(Arm("control", 0.5), Arm("treatment", 0.5)))


def exposure(unit: int | str, arm: str, seconds: int = 0, **attributes: Any) -> Exposure:
    return Exposure(unit=unit, arm=arm, at=NOON + timedelta(seconds=seconds), attributes=attributes)


SEEN = [
    exposure(1, "control", 5, country="fr"),
    exposure("1", "treatment", 2, country="de"),
    exposure("zoë", "control"),
    exposure(3, "treatment"),
]


@pytest.mark.parametrize("form", [pd.DataFrame, pa.table, dict])
def test_a_row_is_a_unit_that_saw_an_arm(form: Any) -> None:
    outcomes = form({"unit": ["zoë", "1", "9"], "clicks": [4, 2, 7], "device": ["phone", "desk", "desk"]})
    rows = joined(SEEN, outcomes, metrics=["clicks"], segments=["country", "device"])
    assert rows["unit"] == [1, "zoë", 3]
    assert rows["arm"] == ["treatment", "control", "treatment"]
    assert rows["clicks"][:2] == [2, 4] and math.isnan(rows["clicks"][2])
    assert (rows["country"], rows["device"]) == (["de", "", ""], ["desk", "phone", ""])


def test_arms_that_outcomes_say_are_counted_where_they_are_others() -> None:
    """They were passed over, however many were of another arm."""
    outcomes = {
        "unit": ["zoë", "1", "3", "9"],
        "clicks": [4, 2, 7, 1],
        "arm": ["treatment", "treatment", None, "control"],
    }
    seen = [*SEEN, exposure("a", "control"), exposure("b", "treatment")]
    rows = joined(seen, outcomes, metrics=["clicks"], absent=0, said_arms=True)
    found = evaluate(TWO, rows, arm="arm", said_arm=SAID_ARM, metrics=["clicks"])
    assert (sum(found.counts.values()), found.said_otherwise) == (5, 1)
    assigned = [TWO.arm_of(unit) for unit in range(1_000)]
    names = [arm.name for arm in assigned if arm is not None]
    swapped = ["control" if name == "treatment" and unit < 100 else name for unit, name in enumerate(names)]
    rows = {"unit": list(range(1_000)), "clicks": [1.0, 2.0] * 500, "arm": swapped}
    counted = evaluate(TWO, rows, said_arm="arm", metrics=["clicks"])
    assert counted.said_otherwise == names[:100].count("treatment") > 0
    assert counted.comparisons == evaluate(TWO, rows, metrics=["clicks"]).comparisons
    assert json.loads(counted.encode())["said_otherwise"] == counted.said_otherwise


@pytest.mark.parametrize(("arms", "said"), [(("0", "1"), int), (("0", "1"), float), (("false", "true"), "true".__eq__)])
def test_arms_that_a_reader_of_csv_makes_numbers_of_are_themselves(
    arms: tuple[str, str], said: Callable[[str], object]
) -> None:
    """Of a right file all rows were said to have another arm."""
    experiment = replace(TWO, arms=tuple(replace(arm, name=name) for arm, name in zip(TWO.arms, arms, strict=True)))
    assigned = [arm for unit in range(200) if (arm := experiment.arm_of(unit)) is not None]
    told = [said(arm.name) for arm in assigned]
    rows = {"unit": list(range(200)), "clicks": [1.0, 2.0] * 100, "arm": told}
    assert evaluate(experiment, rows, said_arm="arm", metrics=["clicks"]).said_otherwise == 0
    told[:3] = [said(next(name for name in arms if name != arm.name)) for arm in assigned[:3]]
    assert evaluate(experiment, rows, said_arm="arm", metrics=["clicks"]).said_otherwise == 3


def test_who_did_nothing_may_count_as_nothing() -> None:
    rows = joined(SEEN, {"unit": [1], "clicks": [2]}, metrics=["clicks"], absent=0)
    assert rows["clicks"] == [2, 0, 0]
    assert joined([], {"unit": [1], "clicks": [2]}, metrics=["clicks"]) == {"unit": [], "arm": [], "clicks": []}


def test_what_is_joined_is_evaluated_by_segments() -> None:
    chance = np.random.default_rng(7)

    def seen() -> Iterator[Exposure]:
        for unit in range(2_000):
            arm = TWO.arm_of(unit)
            assert arm is not None
            yield exposure(unit, arm.name, country="de" if unit % 3 else "at")

    arms = TWO.arms_of(np.arange(2_000))
    outcomes = {"unit": np.arange(2_000), "clicks": chance.normal(10 + (arms == 1), 2)}
    rows = joined(seen(), outcomes, metrics=["clicks"], segments=["country"])
    found = evaluate(TWO, rows, arm="arm", metrics=["clicks"], segments=["country"])
    assert (
        found.of("clicks", "treatment").effect
        == evaluate(TWO, outcomes, metrics=["clicks"]).of("clicks", "treatment").effect
    )
    german, austrian = (found.of("clicks", "treatment", f"country={each}") for each in ("de", "at"))
    assert german.units + austrian.units == found.counts["treatment"]


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        ({"unit": [1]}, "no column 'clicks'"),
        ({"member": [1], "clicks": [1]}, "no column 'unit'"),
        ({"unit": [1, "1"], "clicks": [1, 2]}, "'1' stands twice"),
        ({"unit": [1, 2], "clicks": [1]}, "1 rows, and 'unit' 2"),
        ({"unit": [1, True], "clicks": [1, 2]}, "True is no unit"),
    ],
)
def test_what_cannot_be_joined_is_told(outcomes: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        joined(SEEN, outcomes, metrics=["clicks"])


def test_both_columns_of_a_ratio_are_joined() -> None:
    outcomes = {"unit": [1, 3], "clicks": [2, 1], "views": [4, 5]}
    rows = joined(SEEN, outcomes, metrics=["clicks/views", "clicks"], absent=0)
    assert (rows["clicks"], rows["views"]) == ([2, 0, 1], [4, 0, 5])


@pytest.mark.parametrize("change", [{"metrics": ["arm"]}, {"metrics": ["clicks"], "segments": ["unit", "clicks"]}])
def test_a_column_is_one_thing(change: Any) -> None:
    """A segment that is a metric too was there twice, in rows of another length."""
    outcomes = {"unit": [1], "clicks": [1], "arm": [1]}
    with pytest.raises(InvalidRequest, match="not two"):
        joined(SEEN, outcomes, **change)

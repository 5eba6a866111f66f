"""A column that moved is told, and one that did not is not: on breast_cancer, and on drawn tables."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.datasets import load_breast_cancer

from ambry.ml.health.comparison import ColumnComparison, HealthReport, compare, stability
from ambry.ml.health.report import COMPARED, comparison_row, render_health
from ambry.ml.health.summaries import summarise
from ambry.ml.health.thresholds import parse_thresholds
from ambry.ml.tables import table_of


def compared(before: Any, after: Any, thresholds: str = "") -> HealthReport:
    tables = [summarise(table_of(rows, name)) for rows, name in ((before, "before"), (after, "after"))]
    return compare(tables[0], tables[1], parse_thresholds(thresholds))


def one(before: list[Any], after: list[Any], thresholds: str = "") -> ColumnComparison:
    return compared(pd.DataFrame({"x": before}), pd.DataFrame({"x": after}), thresholds).comparisons[0]


def halves() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The patients of breast_cancer in two, by chance."""
    frame = load_breast_cancer(as_frame=True).data
    order = np.random.default_rng(5).permutation(len(frame))
    return frame.iloc[order[: len(frame) // 2]], frame.iloc[order[len(frame) // 2 :]]


def test_a_shifted_column_is_told_and_the_others_are_not() -> None:
    training, serving = halves()
    assert compared(training, serving).faults == []
    serving = serving.assign(**{"mean radius": serving["mean radius"] * 1.3})
    found = compared(training, serving)
    assert {each.name for each in found.comparisons if each.faults} == {"mean radius"}
    assert not found.healthy and found.faults[0].startswith("mean radius: its distribution moved by")


def test_halves_by_chance_are_seldom_apart() -> None:
    """30 columns of 40 cuts: the bounds are beyond what chance does."""
    frame = load_breast_cancer(as_frame=True).data
    moved = 0
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(len(frame))
        moved += len(compared(frame.iloc[order[:284]], frame.iloc[order[284:]]).faults)
    assert moved <= 6


def test_small_tables_are_apart_by_chance_and_not_moved() -> None:
    """In ten bins, a hundred values of the same are often beyond an index of 0.2."""
    found = []
    for seed in range(60):
        before, after = np.random.default_rng(seed).normal(size=(2, 100))
        found.append(one(list(before), list(after)))
    assert sum((each.psi or 0) > 0.2 for each in found) > 10
    assert sum(bool(each.faults) for each in found) <= 2


def test_the_distance_is_the_one_of_scipy() -> None:
    chance = np.random.default_rng(3)
    before, after = chance.normal(0, 1, 900), chance.normal(0.4, 1, 700)
    found = one(list(before), list(after))
    expected = stats.ks_2samp(before, after, method="asymp")
    assert (found.distance, found.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_the_index_is_the_one_of_its_definition() -> None:
    found = stability([10_000, 20_000, 70_000], [20_000, 20_000, 60_000])
    expected = 0.1 * np.log(2) + -0.1 * np.log(6 / 7)
    assert found["psi"] == pytest.approx(expected, rel=1e-3) and found["psi_p"] < 1e-9
    assert stability([50, 50], [50, 50])["psi_p"] == 1
    assert stability([9], [4]) == {"psi": 0.0, "psi_p": 1.0}
    assert stability([100, 0], [0, 100])["psi"] > 5


def test_texts_are_compared_by_their_shares() -> None:
    before = ["de"] * 600 + ["at"] * 400
    assert one(before, before[::2]).faults == ()
    turned = one(before, ["de"] * 400 + ["at"] * 600)
    assert turned.distance == pytest.approx(0.2) and len(turned.faults) == 1
    fresh = one(before, [*before, *["ch"] * 100])
    assert fresh.out_of_vocabulary_rate == pytest.approx(1 / 11)
    assert any("9.1% is out of vocabulary beside 0.0%" in fault for fault in fresh.faults)
    assert one(["de"] * 200, ["de"] * 200).faults == ()


def test_what_is_missing_is_told() -> None:
    values = [float(value) for value in range(1_000)]
    gone = one(values, [None if place % 10 == 0 else value for place, value in enumerate(values)])
    assert gone.faults == ("10.0% is missing beside 0.0%, a rise of more than 5.0%",)
    assert one([None, *values], [None, None, *values]).faults == ()


def test_few_values_are_told_and_not_compared() -> None:
    few = one([1.0] * 50, [2.0] * 50)
    assert few.faults == ("it has 50 values beside 50; 100 are the least to compare",) and few.distance is None
    assert one([1.0] * 50, [2.0] * 50, "values_min = 10").faults[0].startswith("its distribution moved by 1,")
    assert one([None] * 50, [None] * 50).faults == ()
    assert len(one([1.0] * 500, [None] * 500).faults) == 2


def test_columns_come_and_go() -> None:
    before = pd.DataFrame({"a": [1.0] * 200, "b": ["x"] * 200, "c": [1] * 200})
    found = compared(before, pd.DataFrame({"b": [1] * 200, "c": [1] * 200, "d": [1] * 200}))
    assert found.faults == ["a: it is not there any more", "b: it has numbers now, and had texts"]
    ignored = compared(
        before, pd.DataFrame({"c": [1] * 200}), "[columns.a]\nignored = true\n[columns.b]\nignored = true"
    )
    assert ignored.healthy and [each.name for each in ignored.comparisons] == ["c"]


def test_a_report_is_json_and_a_page() -> None:
    training, serving = halves()
    name = "<script>alert(1)</script>"
    found = compared(training.rename(columns={"mean area": name}), serving.rename(columns={"mean area": name}) * 2)
    told = json.loads(found.encode())
    assert told["healthy"] is False and len(told["comparisons"]) == 30
    assert told["reference"]["columns"][0]["count"] == len(training)
    page = render_health(found).decode()
    assert name not in page and "&lt;script&gt;" in page and "30 columns are not:" in page
    assert all(len(comparison_row(each)) == len(COMPARED) for each in found.comparisons)
    assert "All 30 columns are within" in render_health(compared(training, training)).decode()


def test_the_index_sees_what_moves_among_ties() -> None:
    """Where nine of ten values are one, it fell into the same bin as the rest, and the index was 0."""
    chance = np.random.default_rng(11)
    before, after = ((chance.random(20_000) < part).astype(float) for part in (0.01, 0.09))
    found = one(list(before), list(after))
    shares = [np.array([1 - each.mean(), each.mean()]) for each in (before, after)]
    by_hand = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    assert found.psi == pytest.approx(by_hand, rel=0.01) and by_hand > 0.15
    assert found.psi_p is not None and found.psi_p < 1e-100


def test_ties_of_the_same_are_seldom_apart() -> None:
    chance = np.random.default_rng(12)
    tables = [[list(chance.poisson(0.3, 2_000)) for _ in range(2)] for _ in range(200)]
    ps = [one(before, after).psi_p or 0 for before, after in tables]
    assert sum(p < 0.05 for p in ps) <= 20


def test_numbers_that_became_bytes_are_told() -> None:
    assert one([1.0] * 200, [b"x"] * 200).faults == ("it has values now, and had numbers",)
    assert one([b"x"] * 1_000, [b"x"] * 999 + [None]).faults == ()


def test_a_report_of_any_numbers_and_names_is_json_and_a_page() -> None:
    before, after = (summarise(table_of({"x": [1.7e308, -1.7e308] * 100}, name)) for name in ("a", "\udcff.csv"))
    found = compare(before, after)
    assert found.healthy and json.loads(found.encode())["current"]["name"] == "\udcff.csv"
    assert b"\\udcff.csv beside a" in render_health(found)

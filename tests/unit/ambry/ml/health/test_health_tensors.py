"""Each cell of a dense feature, and the ids of a sparse one, are looked at by themselves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ambry.ml.health import summaries
from ambry.ml.health.comparison import HealthReport, compare
from ambry.ml.health.report import CELLS_LISTED_MAX, render_health
from ambry.ml.health.summaries import TableSummary, summarise
from ambry.ml.health.thresholds import parse_thresholds
from ambry.ml.tables import NamedTable, table_of


def dense(array: Any, rows: int = 1_000_000) -> TableSummary:
    table = pa.table({"d": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))})
    return summarise(NamedTable("t", table.schema, iter(table.to_batches(max_chunksize=rows))))


def sparse(rows: list[list[tuple[int, int]]]) -> TableSummary:
    kind = pa.list_(pa.struct([("kinds", pa.int32()), ("value", pa.int32())]))
    cells = [[{"kinds": key, "value": value} for key, value in row] for row in rows]
    return summarise(table_of(pa.table({"d": pa.array(cells, kind)})))


def drawn(seed: int, rows: int, width: int) -> Any:
    return np.random.default_rng(seed).normal(size=(rows, width))


def test_one_cell_of_31_that_moved_is_told() -> None:
    """All cells were one bag: ten deviations of one of them were no fault."""
    before, after = drawn(1, 600, 31), drawn(2, 600, 31)
    after[:, 7] += 10
    assert {fault.partition(":")[0] for fault in compare(dense(before), dense(after)).faults} == {"d[7]"}


def test_columns_that_changed_places_are_told_and_a_report_stays_short() -> None:
    before = drawn(1, 300, 31) + np.arange(31)
    found = compare(dense(before), dense(before[:, ::-1]))
    assert len(found.faults) <= 11 and "more of its cells are not what they were" in found.faults[-1]
    assert found.comparisons[1].faults and (found.comparisons[1].distance or 0) > 0.9
    page = render_health(found).decode()
    assert f"{CELLS_LISTED_MAX} of its 31 cells are listed" in page and "d[0]" in page and "d[15]" not in page
    assert len(json.loads(found.encode())["comparisons"]) == 32


@pytest.mark.parametrize(("width", "draws"), [(31, 20), (500, 3)])
def test_cells_of_the_same_distribution_raise_no_alarm(width: int, draws: int) -> None:
    """Of normal, missing and rare values."""
    rows = 200
    for seed in range(draws):
        chance = np.random.default_rng(seed)
        tables = chance.normal(size=(2, rows, width))
        tables[:, :, 1::3] = chance.random(tables[:, :, 1::3].shape) < 0.1
        tables[:, :, 2::3][chance.random(tables[:, :, 2::3].shape) < 0.3] = np.nan
        found = compare(dense(tables[0]), dense(tables[1]), parse_thresholds("values_min = 40"))
        assert found.faults == [], seed


def test_one_cell_that_is_missing_is_told() -> None:
    before, after = drawn(1, 400, 31), drawn(2, 400, 31)
    after[:60, 3] = np.nan
    assert compare(dense(before), dense(after)).faults == [
        "d[3]: 15.0% is missing beside 0.0%, a rise of more than 5.0%"
    ]


def test_bounds_of_a_feature_are_those_of_its_cells() -> None:
    before, after = drawn(1, 300, 3), drawn(2, 300, 3) + 5

    def moved(thresholds: str) -> set[str]:
        found = compare(dense(before), dense(after), parse_thresholds(thresholds))
        return {each.name for each in found.comparisons if each.faults}

    wide = "distance_max = 1\npsi_max = inf"
    assert moved(f"[columns.d]\n{wide}") == set()
    assert moved(f'[columns."d[1]"]\n{wide}') == {"d[0]", "d[2]"}


def test_cells_are_those_of_numpy_however_the_table_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    array = drawn(3, 500, 6).reshape(500, 2, 3) + 1e6
    array[::7, 1, 1] = np.nan
    monkeypatch.setattr(summaries, "SAMPLE_MAX", 100)
    whole, cut = (dense(array, rows).columns for rows in (500, 37))
    assert [each.name for each in whole] == ["d", *(f"d[{place}]" for place in range(6))]
    for one, other in zip(whole[1:], cut[1:], strict=True):
        values = array.reshape(500, 6)[:, int(one.part[1:-1])]
        values = values[np.isfinite(values)]
        for found in (one, other):
            assert (found.count, found.missing) == (len(values), 500 - len(values))
            assert (found.mean, found.variance) == pytest.approx((values.mean(), values.var(ddof=1)), rel=1e-9)
            assert (found.minimum, found.maximum) == (values.min(), values.max())
        assert 80 <= len(one.sample) <= 100 and bool(np.array_equal(one.sample, other.sample))


def test_wide_features_stay_together_and_say_so() -> None:
    found = compare(dense(drawn(1, 100, 1_001)), dense(drawn(2, 100, 1_001)))
    assert [each.name for each in found.comparisons] == ["d"]
    assert found.notes == ["d: its 1,001 cells are compared together, and one that moves alone may not be seen"]
    assert found.notes[0] in render_health(found).decode()


def of_ids(before: list[list[tuple[int, int]]], after: list[list[tuple[int, int]]]) -> HealthReport:
    return compare(sparse(before), sparse(after))


def test_ids_of_a_sparse_feature_that_changed_are_told() -> None:
    """Every row went from A to C: the values, and how many there were, were what they had been."""
    found = of_ids([[(1, 1)]] * 300, [[(3, 1)]] * 300)
    assert {fault.partition(":")[0] for fault in found.faults} == {"d (ids of kinds)"}
    assert any("100.0% is out of vocabulary beside 0.0%" in fault for fault in found.faults)


def test_ids_of_a_large_vocabulary_raise_no_alarm() -> None:
    """Of the same distribution some are seen for the first time."""
    for seed in range(5):
        ids = np.minimum(np.random.default_rng(seed).zipf(1.5, size=(2, 300, 2)), 100_000)
        tables = [[[(int(key), 1) for key in row] for row in table] for table in ids]
        assert of_ids(*tables).faults == [], seed

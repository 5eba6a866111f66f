"""Columns in a few numbers, against numpy's own, whatever their form and however the table is cut."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ambry import AmbryClient, InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.health import summaries
from ambry.ml.health.summaries import TableSummary, summarise, summary_rows
from ambry.ml.snapshots.writing import write_snapshot
from ambry.ml.tables import NamedTable, open_table, table_of

CHANCE = np.random.default_rng(5)
TEXT = """\
age: {valType: INT}
actions: {valType: INT, dims: [kinds-1-0, seen-1-0]}
week: {valType: FLOAT, dims: [kinds-1-0, days-1-0]}
days: {type: discrete : {size: 7}}
seen: {type: discrete}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""


def summarised(rows: Any) -> TableSummary:
    return summarise(table_of(rows))


def test_numbers_are_those_of_numpy_however_the_table_is_cut() -> None:
    values = np.concatenate([CHANCE.normal(1e6, 3, 5_000), [np.nan, np.inf]])
    table = pa.table({"x": values})
    whole = summarise(table_of(table)).columns[0]
    cut = summarise(NamedTable("t", table.schema, iter(table.to_batches(max_chunksize=37)))).columns[0]
    finite = values[:5_000]
    for found in (whole, cut):
        assert (found.count, found.missing, found.nonzero) == (5_000, 2, 5_000)
        assert (found.mean, found.variance) == pytest.approx((finite.mean(), finite.var(ddof=1)), rel=1e-9)
        assert (found.minimum, found.maximum) == (finite.min(), finite.max())
        assert found.quantiles == pytest.approx(np.quantile(finite, summaries.QUANTILES))
        assert found.missing_rate == pytest.approx(2 / 5_002)


def test_of_many_numbers_a_sample_is_kept_that_is_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "SAMPLE_MAX", 2_000)
    table = pa.table({"x": np.arange(50_000)})
    found = [
        summarise(NamedTable("t", table.schema, iter(table.to_batches(max_chunksize=size)))).columns[0]
        for size in (500, 50_000)
    ]
    assert len(found[0].sample) == 2_000 and bool(np.array_equal(found[0].sample, found[1].sample))
    assert abs(float(found[0].sample.mean()) - 25_000) < 2_000


def test_every_kind_of_column() -> None:
    found = summarised(
        pa.table(
            {
                "flag": pa.array([True, False, None]),
                "day": pa.array([datetime(2026, 1, 1), datetime(2026, 1, 2), None]),
                "price": pa.array([Decimal("1.5"), Decimal("2.5"), None]),
                "country": pa.array(["de", "at", "de"]).dictionary_encode(),
                "raw": pa.array([b"x", None, b""]),
                "tags": pa.array([["a", "b"], [], None]),
                "none": pa.nulls(3),
                "time": pa.array([time(0, 0, 1), time(0, 0, 3), None], pa.time32("s")),
                "lasted": pa.array([timedelta(seconds=1), None, None], pa.duration("s")),
            }
        )
    )
    told = {each.name: each for each in found.columns}
    assert (told["flag"].mean, told["price"].mean, told["day"].count) == (0.5, 2.0, 2)
    assert told["country"].top == [("de", 2), ("at", 1)]
    assert (told["tags"].top, told["tags"].missing) == ([("a", 1), ("b", 1)], 1)
    assert (told["time"].mean, told["lasted"].mean) == (2.0, 1.0)
    assert (told["raw"].count, told["raw"].mean, told["raw"].missing) == (2, None, 1)
    assert (told["none"].count, told["none"].missing_rate) == (0, 1.0)
    assert found.rows == 3 and len(summary_rows(found.columns)) == len(told)
    assert all(each.plain()["column"] == each.name for each in found.columns)


def test_texts_beyond_a_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "TEXTS_MAX", 3)
    found = summarised(pd.DataFrame({"name": list("abcdeab")})).columns[0]
    assert (found.count, len(found.texts or ()), found.other_texts) == (7, 3, 2)


def test_a_snapshot_has_its_cells_counted_and_what_its_vocabulary_lacks(client: AmbryClient, name: str) -> None:
    metadata = FeatureMetadata.of([parse_definitions(TEXT, "n")])
    week = np.zeros((3, 3, 7), dtype=np.float32)
    week[0, 0, 0] = week[0, 1, 0] = week[1, 2, 6] = 1.0
    frame = {
        "member": [1, 2, 3],
        "age": [30, None, 40],
        "actions": [[(0, 1, 5), (1, 1, 7)], [(2, 9, 1)], []],
        "week": list(week),
    }
    urns = [f"urn:li:(n,{each},1,0)" for each in ("age", "actions", "week")]
    write_snapshot(
        client, name, frame, urns, metadata=metadata, entity="member", as_of=datetime(2026, 11, 27, tzinfo=UTC)
    )
    found = {each.name: each for each in summarise(open_table(client, name)).columns}
    # Columns that are dense may stand first in a snapshot.
    parts = ["actions (cells)", "actions (ids of kinds)", "actions (ids of seen)"]
    assert sorted(each for each in found if "[" not in each) == ["actions", *parts, "age", "week"]
    assert (found["week[0]"].count, found["week[0]"].nonzero, found["actions (ids of seen)"].mean) == (3, 1, 11 / 3)
    assert found["actions (ids of kinds)"].top == [("0", 1), ("1", 1), ("2", 1)]
    assert (found["actions"].count, found["actions"].out_of_vocabulary) == (3, 1)
    assert found["actions"].out_of_vocabulary_rate == pytest.approx(1 / 3)
    assert (found["actions (cells)"].mean, found["actions (cells)"].maximum) == (1.0, 2.0)
    assert (found["week"].count, found["week"].nonzero, found["week"].out_of_vocabulary) == (63, 3, 1)
    assert (found["age"].missing, found["age"].urn) == (1, urns[0])
    only = summarise(open_table(client, name), [urns[0]])
    assert [each.name for each in only.columns] == ["age"]
    with pytest.raises(InvalidRequest, match="no column 'pay'"):
        summarise(open_table(client, name), ["pay"])


def test_what_has_neither_numbers_nor_texts_is_counted() -> None:
    """One null among 1,000 bytes was 100 % missing."""
    spans = pa.array([(1, 2, 3), None], pa.month_day_nano_interval())
    found = summarised(
        pa.table(
            {
                "raw": [b"a", None],
                "spans": spans,
                "pairs": [{"a": 1}, None],
                "ids": pa.array([b"a" * 16] * 2, pa.uuid()),
            }
        )
    )
    assert [(each.name, each.kind, each.count, each.missing_rate) for each in found.columns] == [
        ("raw", "values", 1, 0.5),
        ("spans", "values", 1, 0.5),
        ("pairs", "values", 1, 0.5),
        ("ids", "values", 2, 0.0),
    ]


def test_views_runs_and_times_finer_than_a_millisecond() -> None:
    """Times of pandas were a traceback."""
    runs = pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"])
    times = pa.array([1_999_999, 3_000_000, None], pa.timestamp("ns"))
    views = pa.array([[1, None], None, [2]], pa.list_view(pa.int64()))
    told = {each.name: each for each in summarised(pa.table({"runs": runs, "times": times, "views": views})).columns}
    assert told["runs"].top == [("a", 2), ("b", 1)]
    assert (told["times"].mean, told["times"].missing) == (2.0, 1)
    assert (told["views"].mean, told["views"].missing) == (1.5, 2)


def test_names_that_end_like_cells_or_stand_twice() -> None:
    assert [each.name for each in summarised({"x (cells)": [1, 2]}).columns] == ["x (cells)"]
    cells = pa.array([[{"k": 1, "value": 2.0}]], pa.list_(pa.struct([("k", pa.int32()), ("value", pa.float64())])))
    with pytest.raises(InvalidRequest, match=r"has a column 'x \(cells\)', and the cells of a feature"):
        summarised(pa.table({"x": cells, "x (cells)": [1]}))
    with pytest.raises(InvalidRequest, match="two columns 'x'"):
        summarised(pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]))


@pytest.mark.parametrize("size", [1, 3, 100])
def test_numbers_at_the_end_of_floats_have_a_mean_and_what_has_no_float_is_none(size: int) -> None:
    table = pa.table({"x": [1.5e308, -1.5e308, 1.5e308, 0.0] * 2})
    found = summarise(NamedTable("t", table.schema, iter(table.to_batches(max_chunksize=size)))).columns[0]
    assert found.mean == pytest.approx(3.75e307, rel=1e-12) and found.variance is None
    assert found.quantiles[3] == pytest.approx(7.5e307)
    json.dumps(found.plain(), allow_nan=False)
    assert summary_rows([found])[0][4] == ""


def test_of_long_texts_the_beginning_is_kept() -> None:
    long = "a" * 10_000
    found = summarised({"x": [long, long, long + "b", "b"]}).columns[0]
    assert sorted(found.texts.values()) == [1, 1, 2] if found.texts is not None else False
    assert all(len(text) <= 200 for text, _ in found.top)

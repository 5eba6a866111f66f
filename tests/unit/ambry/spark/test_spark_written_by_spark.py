"""What Spark alone says of its files: types that lie as others, and a calendar in which old days are other ones."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from ambry.errors import InvalidRequest
from ambry.spark.columns import spark_arrow_schema
from ambry.spark.contents import ParquetStored
from tests.unit.ambry.spark.test_spark_contents import RangesOfBlobs, read, some_id

OLD = date(1500, 1, 1)
DAYS = {"d": pa.array([OLD, date(2026, 1, 1)]), "k": pa.array([1, 2])}


def stored(columns: dict[str, Any], metadata: dict[bytes, bytes]) -> tuple[ParquetStored, RangesOfBlobs]:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), sink)
    data = sink.getvalue()
    footer = parquet.read_metadata(io.BytesIO(data))
    return ParquetStored(some_id(1), footer, "a"), RangesOfBlobs({some_id(1): data})


@pytest.mark.parametrize(
    "metadata",
    [
        {b"org.apache.spark.version": b"4.3.0", b"org.apache.spark.legacyDateTime": b""},
        {b"org.apache.spark.version": b"3.5.1", b"org.apache.spark.legacyINT96": b""},
        {b"org.apache.spark.version": b"2.4.8"},
    ],
)
@pytest.mark.parametrize(
    "values",
    [
        [OLD, None],
        [[OLD], []],
        [{"d": OLD}, None],
        pa.array([[("k", OLD)], None], pa.map_(pa.string(), pa.date32())),
        pa.array([datetime(1899, 12, 31, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
    ],
)
def test_old_days_of_another_calendar_are_refused(metadata: dict[bytes, bytes], values: Any) -> None:
    """1500-01-01 was 1500-01-10."""
    file, client = stored({"d": values, "k": [1, 2]}, metadata)
    with pytest.raises(InvalidRequest, match=r"a: the column 'd' has dates before 1582.*CORRECTED"):
        read(file, client, ["d"])
    assert read(file, client, ["k"]).num_rows == 2
    assert all("d" not in piece.bounds and piece.bounds["k"] == (1, 2) for piece in file.pieces(["d"]))


@pytest.mark.parametrize("metadata", [{}, {b"org.apache.spark.version": b"4.3.0"}, {b"org.apache.spark.version": b"x"}])
def test_old_days_of_this_calendar_are_read(metadata: dict[bytes, bytes]) -> None:
    file, client = stored(DAYS, metadata)
    assert read(file, client, ["d"]).column("d").to_pylist() == [OLD, date(2026, 1, 1)]
    assert file.pieces(["d"])[0].bounds["d"] == (OLD, date(2026, 1, 1))


def test_days_that_both_calendars_have_are_read() -> None:
    file, client = stored({"d": [date(1582, 10, 15)]}, {b"org.apache.spark.legacyDateTime": b""})
    assert read(file, client, ["d"]).column("d").to_pylist() == [date(1582, 10, 15)]


@pytest.mark.parametrize(
    "kind",
    [
        "interval day to second",
        "variant",
        {"type": "array", "elementType": "interval year to month", "containsNull": True},
        {"type": "map", "keyType": "string", "valueType": "variant"},
        {"type": "struct", "fields": [{"name": "b", "type": "interval day"}]},
    ],
)
def test_types_that_spark_alone_knows_of_are_refused_by_their_names(kind: Any) -> None:
    """They were whole numbers and structs."""
    told = {"type": "struct", "fields": [{"name": "d", "type": kind}, {"name": "k", "type": "long"}]}
    file, _ = stored({"d": [1], "k": [2]}, {b"org.apache.spark.sql.parquet.row.metadata": json.dumps(told).encode()})
    with pytest.raises(InvalidRequest, match=r"the column 'd' is of the type (interval|variant).*keeps as int64"):
        spark_arrow_schema(file.schema, ["k", "d"])
    assert spark_arrow_schema(file.schema, ["k"]).names == ["k"]


@pytest.mark.parametrize(
    "said", [b"", b"[]", b"{", b'{"fields": 3}', b'{"fields": [3]}', b'{"fields": [{"name": "d", "type": 3}]}']
)
def test_what_is_no_schema_of_spark_says_nothing(said: bytes) -> None:
    file, _ = stored({"d": [1]}, {b"org.apache.spark.sql.parquet.row.metadata": said})
    assert spark_arrow_schema(file.schema, ["d"]).names == ["d"]
